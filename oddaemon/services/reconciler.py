"""Compares what is wanted with what is, repeatedly and from the store alone, and does what is missing: places, starts,
stops, follows, recovers and deletes. Events and wishes only wake it; the comparison is the truth.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from oddaemon.domain.admission import Limits, allowance
from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.errors import OpenDebridError, StoreError, Unavailable
from oddaemon.domain.events import Event, JobChanged, JobWaiting
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.job import Hold, Job, JobState, Signal, advance
from oddaemon.domain.retry import waits
from oddaemon.domain.types import Bytes, EngineName, EntryId, JobId, NodeId, ReplicaId, Seconds, UserId
from oddaemon.domain.user import UserLimits
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import ClaimRow, Store, Transaction
from oddaemon.services.at_work import AtWork
from oddaemon.services.board import Board
from oddaemon.services.checksums import Checksums, to_verify
from oddaemon.services.claims import job_event, requeue, settle
from oddaemon.services.filling import Filler
from oddaemon.services.following import Follower
from oddaemon.services.node_watch import NodeWatch
from oddaemon.services.replicas import Replicas
from oddaemon.services.scheduler import Schedule, Scheduler, Work
from oddaemon.services.steps import Steps
from oddaemon.services.stopping import Stopper
from oddaemon.services.stored import Figures, over_storage, own_limits

log = logging.getLogger(__name__)

TICK = Seconds(1)
"""Between two looks when nothing runs."""
POLL_EACH = Seconds(0.004)
"""Between two looks at what runs, for each download that runs: about 2 % of a core whatever their number."""
POLL_AT_MOST = Seconds(0.2)
POLL_AT_LEAST = Seconds(4)
BREATH = Seconds(0.02)
"""Between two rounds that follow one another at once: wishes that arrive together share a plan."""
NEWS_SHARE = 10
"""An engine with news is asked after one part in so many of the time that it would be asked after otherwise."""
FULL_PASS = Seconds(15)
"""Between two plans when nothing has woken the reconciler."""
PLAN_SHARE = 20
"""A plan may take one part in so many of the time: with 10,000 jobs waiting they come further apart."""
PLAN_CHEAP = Seconds(0.01)
"""One that takes no longer may take half of the time, and so on up to PLAN_SHARE: few jobs wait for nothing."""
NEVER = Seconds(-1e9)
FLUSH = Seconds(30)
"""Between two writes of mere progress."""
MEASURED_IN = Seconds(10)
"""For no longer is the size of a download waited for before the next of unknown size may begin."""
STALL_CODES = frozenset({ReasonCode.NO_SEEDS, ReasonCode.STALLED})


@dataclass(slots=True)
class Reconciler:
    """One per controller. `publish` is for events that are not rows."""

    store: Store
    clock: Clock
    nodes: Callable[[], Sequence[NodeClient]]
    board: Board
    view: AtWork
    watch: NodeWatch
    steps: Steps
    scheduler: Scheduler
    replicas: Replicas
    filler: Filler
    stopper: Stopper
    checksums: Checksums
    follower: Follower
    limits: Callable[[], Limits]
    publish: Callable[[Sequence[Event]], None]
    gone: Callable[[Sequence[ReplicaId]], None] = lambda _: None
    """Told of replicas whose files are no longer what links say: who serves them has to look again."""
    last_tick: Seconds = Seconds(0)
    """When the loop last came round, on the monotonic clock: what a watchdog looks at."""
    _polled_at: Seconds = NEVER
    _news: bool = False
    """An engine has something to tell."""
    _verifying: set[EntryId] = field(default_factory=set)
    """Ready entries of which a checksum is being computed."""
    _deleting: set[ReplicaId] = field(default_factory=set)
    _undeleted: dict[ReplicaId, str] = field(default_factory=dict)
    """Why a deletion is still to be carried out: told once, not with every attempt."""
    _flushed: dict[ReplicaId, Bytes] = field(default_factory=dict)
    _flushed_at: Seconds = Seconds(0)
    _due_at: datetime | None = None
    """When the next wait between attempts, or the next hold, ends."""
    _dirty: bool = True
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _planned_at: Seconds = NEVER
    _plan_cost: Seconds = Seconds(0)
    """Of this process's CPU."""
    _freed: dict[ReplicaId, asyncio.Future[Bytes]] = field(default_factory=dict)

    # what others call

    def replan(self) -> None:
        """A plan is due at the next round; never waits."""
        self._dirty = True

    def wake(self, entry_id: EntryId | None = None) -> None:
        """Something changed; never waits."""
        if entry_id is not None:
            self.view.reselect.add(entry_id)
        self._dirty = True
        self._woken.set()

    def news(self) -> None:
        """An engine has something to tell; never waits."""
        self._news = True
        self._woken.set()

    def note(self, replica: Replica) -> None:
        """A replica was stored."""
        self.view.note(replica)
        if replica.state in {ReplicaState.MISSING, ReplicaState.DELETING}:
            self.gone([replica.id])
        self._dirty = True

    async def settled(self, replica_ids: Sequence[ReplicaId]) -> Mapping[ReplicaId, Bytes]:
        """Waits until these replicas, stored as being deleted, are gone; the bytes that each freed."""
        waits = {found: asyncio.get_running_loop().create_future() for found in replica_ids}
        self._freed.update(waits)
        for found, wait in waits.items():
            if await self.store.read(lambda tx, found=found: tx.cache.replica(found)) is None and not wait.done():  # type: ignore[misc]
                wait.set_result(Bytes(0))
        self.wake()
        try:
            return {found: await wait for found, wait in waits.items()}
        finally:
            for found in waits:
                self._freed.pop(found, None)

    def would_run(
        self, engine: EngineName, size: Bytes | None, wish: NodeId | None = None
    ) -> tuple[NodeId | None, str]:
        """Where a download of this size would go now, and a sentence on why, or on why nowhere. `wish`: the only node
        that may take it."""
        rooms = self.watch.rooms()
        for replica in self.view.filling():
            if replica.node_id in rooms:
                rooms[replica.node_id].take(replica.engine, self.view.remaining(replica))
        node_id, why, reason = self.scheduler.choose(engine, size, rooms, self.limits(), wish)
        return node_id, why or reason.message

    async def leave(self) -> None:
        """Says that no node takes work any more; `run` has ended."""
        try:
            await self.watch.leave()
        except OpenDebridError as error:
            log.warning("the end is not on record", extra={"action": "leave_failed", "error": error.message})

    # the loop

    async def run(self) -> None:
        """Until cancelled. A round that fails is logged, and the next one follows."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take_stock(), name="take stock")
            while True:
                try:
                    await self._round(group)
                except OpenDebridError as error:
                    log.warning("round failed", extra={"action": "reconcile_failed", "error": error.message})
                except Exception:
                    log.exception("round failed", extra={"action": "reconcile_crashed"})
                self.last_tick = self.clock.monotonic()
                await self._wait()

    async def _take_stock(self) -> None:
        """Directories that no replica owns are told of and left alone: the store may have been restored from an older
        backup, and what they hold is somebody's."""
        for node in self.nodes():
            try:
                found = set(await node.inventory())
            except Unavailable as error:
                log.info("no inventory", extra={"action": "inventory_failed", "error": error.message})
                continue
            owned = await self._owned()
            self.board.strays[node.node_id] = len(found - owned)
            if found - owned:
                names = [str(one) for one in found - owned]
                facts = {"action": "strays", "node": node.node_id, "directories": names}
                log.warning("directories without an owner", extra=facts)

    async def _owned(self) -> set[ReplicaId]:
        """Every replica of the store, which may have to come back first."""
        while True:
            try:
                return await self.store.read(lambda tx: {replica.id for replica in tx.cache.all_replicas()})
            except StoreError as error:
                log.warning("the store cannot be asked", extra={"action": "stock_failed", "error": error.message})
                await self.clock.sleep(Seconds(TICK))

    async def _wait(self) -> None:
        """Until something wakes it, a tick at the most. What came while a plan had to be put off waits for its time."""
        if self._dirty:
            due = self._planned_at + self._plan_rest() - self.clock.monotonic()
            await asyncio.sleep(min(TICK, max(due, BREATH)))
            return
        pause = float(self._poll_every())
        if self._news:
            await asyncio.sleep(min(pause, max(BREATH, self._polled_at + self._poll_after() - self.clock.monotonic())))
            return
        if self._due_at is not None:
            pause = min(pause, max(BREATH, (self._due_at - self.clock.now()).total_seconds()))
        try:
            async with asyncio.timeout(pause):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _round(self, group: asyncio.TaskGroup) -> None:
        self._woken.clear()
        now = self.clock.monotonic()
        for node in self.nodes():
            if node.node_id not in self.board.nodes:
                await self.watch.look_at(node)
            elif self.watch.due(node):
                # beside the loop: an engine that does not answer holds up nothing else
                group.create_task(self.watch.look_at(node), name=f"look at {node.node_id}")
        if now - self._polled_at >= self._poll_after():
            self._polled_at, self._news = now, False
            await self.follower.follow(group)
        if self._plan_due(now):
            self._dirty = False
            await self._plan(group)
            self._planned_at = self.clock.monotonic()
        self._reap(group)
        if now - self._flushed_at >= FLUSH:
            self._flushed_at = now
            await self._flush()

    def _poll_every(self) -> Seconds:
        """A few downloads are looked at often, so that their end is seen at once; a thousand every few seconds."""
        filling = len(self.view.filling())
        return Seconds(min(max(POLL_AT_MOST, filling * POLL_EACH), POLL_AT_LEAST)) if filling else TICK

    def _poll_after(self) -> Seconds:
        return Seconds(self._poll_every() * (1 / NEWS_SHARE if self._news else 0.9))

    def _plan_due(self, now: Seconds) -> bool:
        age = now - self._planned_at
        if self._dirty or (self._due_at is not None and self._due_at <= self.clock.now()):
            return age >= min(self._plan_rest(), FULL_PASS)
        return age >= FULL_PASS

    def _plan_rest(self) -> Seconds:
        return Seconds(self._plan_cost * min(PLAN_SHARE, self._plan_cost / PLAN_CHEAP))

    # planning

    async def _plan(self, group: asyncio.TaskGroup) -> None:
        # what waits for a slow disk, or for its turn on a busy machine, costs nobody else anything
        now, began = self.clock.now(), time.process_time()
        await self._end_holds(now)
        claims = await self._look()
        if await self._settle_ready(group):
            claims = await self._look()
        self._due_at = await self._next_due(now)
        for replica in self._idle():
            self.steps.spawn(group, replica.id, self.stopper.rest(replica.id), "rest")
        limits = self.limits()
        works = self._works(now)
        over = await self._over_storage(claims, limits)
        schedule = self.scheduler.plan(claims, works, self.watch.rooms(), limits, own=self.view.own, over=over)
        await self._mark(claims, works, schedule)
        self._show(claims, schedule)
        self._plan_cost = Seconds(time.process_time() - began)
        for start in schedule.starts:
            key = start.work.replica_id
            if key is None or not self.replicas.is_busy(key):
                prepared = await self.filler.prepare(start, schedule.active)
                if prepared is not None:
                    step = self.steps.guarded(prepared.replica.id, self.filler.hand_over(prepared), "start")
                    group.create_task(step, name=f"start {prepared.replica.id}")
        for entry_id in schedule.stop:
            replica_id = works[entry_id].replica_id
            if replica_id is not None:
                self.steps.spawn(group, replica_id, self.stopper.stop(replica_id, None), "pause")
        if schedule.starts:
            self._woken.set()

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

    async def _next_due(self, now: datetime) -> datetime | None:
        held = await self.store.read(lambda tx: tx.jobs.next_hold_end(now))
        waits = [found.next_try_at for found in self.view.replicas.values() if found.next_try_at is not None]
        return min((time for time in [held, *waits] if time is not None and time > now), default=None)

    async def _settle_ready(self, group: asyncio.TaskGroup) -> bool:
        """Unfinished jobs of ready replicas: they complete, or want more files than are there. Checksums are computed
        beside the loop."""
        self._verifying.clear()
        ready = [
            found
            for found in self.view.replicas.values()
            if found.state is ReplicaState.READY and found.entry_id in self.view.by_entry
        ]
        if not ready:
            return False
        await self.store.write(lambda tx: [settle(tx, found.entry_id, self.clock.now()) for found in ready])
        for found in ready:
            entry_id = found.entry_id
            if await self.store.read(
                lambda tx, entry_id=entry_id: to_verify(tx.jobs.of_entry(entry_id), tx.cache.files(entry_id))  # type: ignore[misc]
            ):
                self._verifying.add(entry_id)
                if not self.replicas.is_busy(found.id):
                    self.steps.spawn(group, found.id, self.checksums.check_ready(entry_id), "verify")
        return True

    async def _end_holds(self, now: datetime) -> None:
        ending = await self.store.read(lambda tx: tx.jobs.holds_ending(now))
        if not ending:
            return

        def work(tx: Transaction) -> None:
            for job in tx.jobs.holds_ending(now):
                freed = tx.jobs.update(replace(job, hold=Hold.NONE, hold_until=None, reason=None, updated_at=now))
                tx.events.add(job_event(JobChanged, freed, now, hold="none"))

        await self.store.write(work)

    def _idle(self) -> list[Replica]:
        """What waits or pauses although no job waits for it."""
        still = {ReplicaState.WAITING, ReplicaState.PAUSED, ReplicaState.MISSING}
        return [
            found
            for found in self.view.replicas.values()
            if found.state in still and found.entry_id not in self.view.by_entry
        ]

    def _works(self, now: datetime) -> dict[EntryId, Work]:
        current: dict[EntryId, Replica] = {}
        leaving: set[EntryId] = set()
        for replica in self.view.replicas.values():
            if replica.state is ReplicaState.DELETING:
                leaving.add(replica.entry_id)
            else:
                current[replica.entry_id] = replica
        works: dict[EntryId, Work] = {}
        for entry_id, claims in self.view.by_entry.items():
            found = current.get(entry_id)
            if found is not None:
                works[entry_id] = self._work_of(found, now, claims[0].info_hash)
                continue
            blocked = None
            if entry_id in leaving:
                blocked = Reason(code=ReasonCode.REMOVING, message="an earlier copy is still being removed")
            sizes = [claim.size for claim in claims if claim.size is not None]
            works[entry_id] = Work(
                entry_id=entry_id, engine=claims[0].engine, remaining=max(sizes, default=None), blocked=blocked,
                info_hash=claims[0].info_hash,
            )  # fmt: skip
        return works

    def _work_of(self, replica: Replica, now: datetime, info_hash: str | None) -> Work:
        blocked = None
        if waits(replica.next_try_at, replica.updated_at, now):
            blocked = replica.reason or Reason(code=ReasonCode.RETRY, message="waits before the next attempt")
        if replica.entry_id in self._verifying:
            blocked = Reason(code=ReasonCode.QUEUED, message="its checksum is being computed")
        return Work(
            entry_id=replica.entry_id,
            engine=replica.engine,
            remaining=self.view.remaining(replica),
            replica_id=replica.id,
            node_id=replica.node_id,
            running=replica.state is ReplicaState.FILLING,
            unmeasured=self._is_unmeasured(replica, now),
            blocked=blocked,
            last_resort=replica.reason is not None and replica.reason.code in STALL_CODES,
            info_hash=info_hash,
        )

    def _is_unmeasured(self, replica: Replica, now: datetime) -> bool:
        status = self.board.statuses.get(replica.id)
        fresh = 0 <= (now - replica.updated_at).total_seconds() < MEASURED_IN
        return fresh and (status is None or (status.total is None and not status.done))

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
        self.board.reasons = schedule.reasons
        self.board.positions = schedule.positions
        self.publish(
            [
                JobWaiting(at=at, job_id=claim.job_id, job_number=claim.number, user_id=claim.user_id)
                for claim in claims
                if before.get(claim.job_id) != schedule.reasons.get(claim.job_id)
            ]
        )

    # deleting, and keeping the figures

    def _reap(self, group: asyncio.TaskGroup) -> None:
        for replica in list(self.view.replicas.values()):
            if replica.state is ReplicaState.DELETING and replica.id not in self._deleting:
                self._deleting.add(replica.id)
                self.gone([replica.id])
                group.create_task(self._delete(replica.id), name=f"delete {replica.id}")

    async def _delete(self, replica_id: ReplicaId) -> None:
        try:
            freed = await self.stopper.delete(replica_id)
        except OpenDebridError as error:
            if self._undeleted.get(replica_id) != error.message:
                self._undeleted[replica_id] = error.message
                facts = {"action": "delete_failed", "replica": str(replica_id), "error": error.message}
                log.warning("not deleted yet, and tried again", extra=facts)
            await self.clock.sleep(TICK)
        except Exception:
            log.exception("not deleted yet", extra={"action": "delete_crashed", "replica": str(replica_id)})
            await self.clock.sleep(TICK)
        else:
            self._undeleted.pop(replica_id, None)
            self.view.replicas.pop(replica_id, None)
            waiting = self._freed.get(replica_id)
            if waiting is not None and not waiting.done():
                waiting.set_result(freed)
        finally:
            self._deleting.discard(replica_id)
            self.wake()

    async def _flush(self) -> None:
        """Progress goes to the store now and then, for sorting and for the time after a restart."""
        changed = [
            (replica, status)
            for replica_id, status in self.board.statuses.items()
            if (replica := self.view.replicas.get(replica_id)) is not None
            and replica.state is ReplicaState.FILLING
            and self._flushed.get(replica_id) != status.done
        ]
        if not changed:
            return
        self._flushed = {replica.id: status.done for replica, status in changed}
        figures = [
            (claim.job_id, *self.board.job_done.get(claim.job_id, (status.done, status.total)))
            for replica, status in changed
            for claim in self.view.by_entry.get(replica.entry_id, ())
        ]

        def work(tx: Transaction) -> None:
            at = self.clock.now()
            for replica, status in changed:
                current = tx.cache.replica(replica.id)
                if current is None or current.state is not ReplicaState.FILLING:
                    continue
                progressed = status.done > current.done
                tx.cache.update_replica(
                    replace(
                        current, done=max(current.done, status.done), wanted=status.total or current.wanted,
                        progress_at=at if progressed else current.progress_at,
                        attempts=0 if progressed else current.attempts,
                    )
                )  # fmt: skip
            tx.jobs.record_progress(figures)

        await self.store.write(work)

    def stalled_for(self) -> Seconds:
        """How long ago the loop last came round."""
        return Seconds(self.clock.monotonic() - self.last_tick) if self.last_tick else Seconds(0)
