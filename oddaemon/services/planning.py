"""Who may run now, and why the others wait: planned from the store alone, and carried out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from oddaemon.domain.admission import Limits, NodeWish, Places, allowance, node_offline
from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.errors import OpenDebridError, StorageMissing, StoreError
from oddaemon.domain.events import Event, JobChanged, JobWaiting
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.job import Hold, Job, JobState, Signal, advance
from oddaemon.domain.types import Bytes, EngineName, EntryId, JobId, NodeId, Seconds, UserId
from oddaemon.domain.user import UserLimits
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import ClaimRow, Store, Transaction
from oddaemon.services.at_work import AtWork
from oddaemon.services.board import Board
from oddaemon.services.checksums import Checksums, to_verify
from oddaemon.services.claims import fail, job_event, requeue, settle
from oddaemon.services.filling import Filler
from oddaemon.services.hits import HitChecker, OnDisk
from oddaemon.services.node_watch import NodeWatch
from oddaemon.services.replicas import Replicas
from oddaemon.services.scheduler import Schedule, Scheduler, Start, Work
from oddaemon.services.steps import Steps
from oddaemon.services.stopping import Stopper
from oddaemon.services.stored import Figures, largest_of_user, never_fits, over_storage, own_limits
from oddaemon.services.takeover import Takeover
from oddaemon.services.works import reserve_copies, works_of

LOOK_SECONDS = Seconds(2)
"""For a disk to answer what it has of ready files: everybody's next steps wait for it."""
STARTS = 500
"""So many are stored in one unit of work: others have their turn with the store between them."""
LOOK_AGAIN = timedelta(seconds=5)
"""After nobody could look at ready files."""


def batched(starts: Sequence[Start], size: int) -> Iterator[Sequence[Start]]:
    for first in range(0, len(starts), size):
        yield starts[first : first + size]


@dataclass(slots=True)
class Planner:
    """`publish` is for events that are not rows."""

    store: Store
    clock: Clock
    board: Board
    view: AtWork
    watch: NodeWatch
    steps: Steps
    scheduler: Scheduler
    replicas: Replicas
    filler: Filler
    stopper: Stopper
    checksums: Checksums
    hits: HitChecker
    takeover: Takeover
    limits: Callable[[], Limits]
    publish: Callable[[Sequence[Event]], None]
    due_at: datetime | None = None
    """When the next wait between attempts, or the next hold, ends."""
    cost: Seconds = Seconds(0)
    """What the last plan took of this process's CPU."""
    _blocked: dict[EntryId, Reason] = field(default_factory=dict)
    """Ready entries that are not begun again: of which a checksum is being computed, or whose disk does not answer."""

    async def plan(self, group: asyncio.TaskGroup) -> bool:
        """One plan, carried out; whether anything was started."""
        # what waits for a slow disk, or for its turn on a busy machine, costs nobody else anything
        now, began = self.clock.now(), time.process_time()
        await self._end_holds(now)
        claims = await self._look()
        if await self.takeover.due():
            claims = await self._look()
        if await self._settle_ready(group):
            claims = await self._look()
        limits = self.limits()
        over = await self._over_storage(claims, limits)
        if await self._fail_what_never_fits(claims, over, limits):
            claims = await self._look()
        self.due_at = await self._next_due(now)
        for replica in self.view.idle():
            self.steps.spawn(group, replica.id, self.stopper.rest(replica.id), "rest")
        works = works_of(self.view, now, self._blocked, self.watch.is_past_grace)
        rooms = self.watch.rooms()
        reserve_copies(self.view, rooms)
        schedule = self.scheduler.plan(claims, works, rooms, limits, own=self.view.own, over=over)
        await self._mark(claims, works, schedule)
        self._show(claims, schedule)
        self.cost = Seconds(time.process_time() - began)
        for some in batched(schedule.starts, STARTS):
            free = [
                start for start in some
                if start.work.replica_id is None or not self.replicas.is_busy(start.work.replica_id)
            ]  # fmt: skip
            for prepared in await self.filler.prepare(free, schedule.active) if free else ():
                step = self.steps.guarded(prepared.replica.id, self.filler.hand_over(prepared), "start")
                group.create_task(step, name=f"start {prepared.replica.id}")
        for entry_id in schedule.stop:
            replica_id = works[entry_id].replica_id
            if replica_id is not None:
                self.steps.spawn(group, replica_id, self.stopper.stop(replica_id, None), "pause")
        return bool(schedule.starts)

    async def _look(self) -> Sequence[ClaimRow]:
        def work(tx: Transaction) -> tuple[Sequence[ClaimRow], Sequence[Replica], Mapping[UserId, UserLimits]]:
            return tx.jobs.claims(), tx.cache.replicas_at_work(), own_limits(tx)

        claims, replicas, self.view.own = await self.store.read(work)
        self.view.renew(claims, replicas)
        return claims

    async def _over_storage(self, claims: Sequence[ClaimRow], limits: Limits) -> Mapping[JobId, Reason]:
        own = self.view.own
        users = {claim.user_id for claim in claims}
        users = {user for user in users if allowance(limits, own.get(user)).storage}
        if not users:
            return {}
        live: dict[UserId, dict[JobId, Figures]] = {user: {} for user in users}
        for claim in claims:
            if claim.active and claim.user_id in users:
                figures = self.board.figures(claim.job_id, claim.entry_id)
                if figures is not None:
                    live[claim.user_id][claim.job_id] = Figures(done=figures[0], size=figures[1])
        return await self.store.read(lambda tx: over_storage(tx, users, own, limits, live))

    async def _fail_what_never_fits(
        self, claims: Sequence[ClaimRow], over: Mapping[JobId, Reason], limits: Limits
    ) -> bool:
        """Jobs that wait for more room than their user may ever have. Whether there were some."""
        if not over:
            return False
        there = {found.entry_id: found.done for found in self.view.replicas.values()}
        asked = [
            claim.job_id for claim in claims
            if claim.job_id in over and not claim.active and claim.hold is not Hold.USER
            and (claim.size or there.get(claim.entry_id, Bytes(0)))
            > largest_of_user(limits, self.view.own.get(claim.user_id), 1)
        ]  # fmt: skip
        if not asked:
            return False

        def work(tx: Transaction) -> int:
            failed = 0
            for job_id in asked:
                job = tx.jobs.get(job_id)
                failure = never_fits(tx, job, limits) if job is not None and job.state is JobState.QUEUED else None
                if job is not None and failure is not None:
                    fail(tx, job, failure, self.clock.now())
                    failed += 1
            return failed

        return await self.store.write(work) > 0

    async def _next_due(self, now: datetime) -> datetime | None:
        held = await self.store.read(lambda tx: tx.jobs.next_hold_end(now))
        waits = [found.next_try_at for found in self.view.replicas.values() if found.next_try_at is not None]
        waits += [reason.retry_at for reason in self._blocked.values() if reason.retry_at is not None]
        return min((time for time in [held, *waits] if time is not None and time > now), default=None)

    async def _settle_ready(self, group: asyncio.TaskGroup) -> bool:
        """Unfinished jobs of ready replicas: they complete, or want more files than are there. Checksums are computed
        beside the loop."""
        self._blocked.clear()
        ready = [
            found
            for found in self.view.replicas.values()
            if found.state is ReplicaState.READY and found.entry_id in self.view.by_entry
        ]
        if not ready:
            return False
        seen = await asyncio.gather(*(self._look_at(found) for found in ready))

        def work(tx: Transaction) -> None:
            at = self.clock.now()
            for found, on_disk in zip(ready, seen, strict=True):
                if on_disk is not None:
                    self.hits.record(tx, on_disk, at)
                settle(tx, found.entry_id, at, there=on_disk is not None and found.entry_id not in on_disk.bad)

        await self.store.write(work)
        for found in ready:
            entry_id = found.entry_id
            if entry_id in self._blocked:
                continue
            if await self.store.read(
                lambda tx, entry_id=entry_id: to_verify(tx.jobs.of_entry(entry_id), tx.cache.files(entry_id))  # type: ignore[misc]
            ):
                self._blocked[entry_id] = Reason(code=ReasonCode.QUEUED, message="its checksum is being computed")
                if not self.replicas.is_busy(found.id):
                    self.steps.spawn(group, found.id, self.checksums.check_ready(entry_id), "verify")
        return True

    async def _look_at(self, replica: Replica) -> OnDisk | None:
        """What is there of its files; None, and a reason to wait, when nobody can look. Nothing completes unseen."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await self.hits.look(replica.entry_id)
        except TimeoutError:
            message, code = "the disk with its files does not answer", ReasonCode.STORAGE_FAILED
        except StoreError:
            raise
        except StorageMissing as error:
            message, code = error.message, ReasonCode.STORAGE_MISSING
        except OpenDebridError as error:
            message, code = error.message, ReasonCode.NODE_OFFLINE
        again = self.clock.now() + LOOK_AGAIN
        self._blocked[replica.entry_id] = Reason(code=code, message=message, retry_at=again)
        return None

    async def _end_holds(self, now: datetime) -> None:
        ending = await self.store.read(lambda tx: tx.jobs.holds_ending(now))
        if not ending:
            return

        def work(tx: Transaction) -> None:
            for job in tx.jobs.holds_ending(now):
                freed = replace(job, hold=Hold.NONE, hold_until=None, reason=None, next_try_at=None, updated_at=now)
                freed = tx.jobs.update(freed)
                tx.events.add(job_event(JobChanged, freed, now, hold="none"))

        await self.store.write(work)

    async def _mark(self, claims: Sequence[ClaimRow], works: Mapping[EntryId, Work], schedule: Schedule) -> None:
        """Jobs that join what runs become active; jobs whose replica does not run are not."""
        starting = {start.work.entry_id for start in schedule.starts}
        joining = [
            claim for claim in claims
            if claim.job_id in schedule.active and not claim.active and works[claim.entry_id].running
        ]  # fmt: skip
        leaving = [
            claim for claim in claims
            if claim.active and claim.job_id not in schedule.active and claim.entry_id not in starting
        ]  # fmt: skip
        if not joining and not leaving:
            return

        def work(tx: Transaction) -> None:
            at = self.clock.now()
            for claim in joining:
                job = tx.jobs.get(claim.job_id)
                if job is not None and job.state is JobState.QUEUED and job.hold is not Hold.USER:
                    self._join_running(tx, job, at)
            for claim in leaving:
                job = tx.jobs.get(claim.job_id)
                if job is not None and job.state is JobState.ACTIVE:
                    job = self.board.with_figures(job)
                    requeue(tx, job, Signal.YIELD, at, schedule.reasons.get(claim.job_id))

        await self.store.write(work)
        self.view.reselect |= {claim.entry_id for claim in joining}

    def _join_running(self, tx: Transaction, job: Job, at: datetime) -> None:
        replicas = tx.cache.replicas_of(job.entry_id) if job.entry_id is not None else ()
        running = next((found for found in replicas if found.state is ReplicaState.FILLING), None)
        if running is None:
            return
        started = tx.jobs.update(replace(advance(job, Signal.START, at=at), node_id=running.node_id))
        tx.events.add(job_event(JobChanged, started, at, joined=True))

    def _show(self, claims: Sequence[ClaimRow], schedule: Schedule) -> None:
        """Why each waiting job waits; watchers are told of what changed."""
        before, at = self.board.reasons, self.clock.now()
        self.board.reasons = {**schedule.reasons, **self._away(claims)}
        self.board.positions = schedule.positions
        self.publish(
            [
                JobWaiting(at=at, job_id=claim.job_id, job_number=claim.number, user_id=claim.user_id)
                for claim in claims
                if before.get(claim.job_id) != self.board.reasons.get(claim.job_id)
            ]
        )

    def _away(self, claims: Sequence[ClaimRow]) -> dict[JobId, Reason]:
        """Running jobs of nodes that cannot be reached keep their state, and say so."""
        offline = {node.id: node_offline(node) for node in self.board.nodes.values() if not node.online}
        if not offline:
            return {}
        there = {found.entry_id: found.node_id for found in self.view.filling() if found.node_id in offline}
        return {
            claim.job_id: offline[there[claim.entry_id]]
            for claim in claims if claim.active and claim.entry_id in there
        }  # fmt: skip

    def would_run(
        self, engine: EngineName, size: Bytes | None, wish: NodeId | None = None
    ) -> tuple[NodeId | None, str]:
        """Where a download of this size would go now, and a sentence on why, or on why nowhere. `wish`: the only node
        that may take it."""
        rooms = self.watch.rooms()
        for replica in self.view.filling():
            if replica.node_id in rooms:
                rooms[replica.node_id].take(replica.engine, self.view.remaining(replica))
        reserve_copies(self.view, rooms)
        node_id, why, reason = self.scheduler.choose(engine, size, Places(rooms, self.limits()), NodeWish(wish))
        return node_id, why or reason.message
