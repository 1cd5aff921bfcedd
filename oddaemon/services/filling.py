"""Starts, stops and deletes replicas on their nodes. The wish is stored before the node is asked, so that whatever was
being done when the process died is done again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from oddaemon.domain.admission import Limits
from oddaemon.domain.cache import CacheEntry, EntryFile, Replica, ReplicaState, moved
from oddaemon.domain.errors import (
    DeadlineExceeded,
    NoSpace,
    OpenDebridError,
    StorageFailed,
    StorageMissing,
    Unavailable,
)
from oddaemon.domain.events import JobStarted
from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode, Retry
from oddaemon.domain.job import Hold, Job, JobState, Signal, advance
from oddaemon.domain.retry import SPACE_WAIT, after_failure
from oddaemon.domain.selection import ALL
from oddaemon.domain.source import Source, SourceKind, parse_source, with_trackers
from oddaemon.domain.types import Bytes, BytesPerSecond, JobId, NodeId, ReplicaId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_client import Dispatch, NodeClient
from oddaemon.ports.store import Material, Store, Transaction
from oddaemon.services import ids
from oddaemon.services.board import Board
from oddaemon.services.claims import (
    at_rest,
    fail,
    job_event,
    live_replica,
    mark_missing,
    requeue,
    wanted_by,
    wants_check,
)
from oddaemon.services.materials import engine_options, with_credentials
from oddaemon.services.resolver import failure_from
from oddaemon.services.scheduler import Start
from oddaemon.services.seed_wishes import rival, seeders, wish_of

log = logging.getLogger(__name__)

T = TypeVar("T")

UNAVAILABLE_WAIT = Seconds(3)
ENGINE_AWAY = (ReasonCode.ENGINE_DOWN, UNAVAILABLE_WAIT)
PUT_OFF: Mapping[type[Unavailable], tuple[ReasonCode, Seconds]] = {
    StorageMissing: (ReasonCode.STORAGE_MISSING, UNAVAILABLE_WAIT),
    StorageFailed: (ReasonCode.STORAGE_FAILED, SPACE_WAIT),
    NoSpace: (ReasonCode.NO_SPACE, SPACE_WAIT),
}
"""What a start that is nobody's failed attempt waits for, and how long until it is tried again."""
TRACKERS = "trackers"
"""The option of aria2 that names further ones."""
MAX_NUMBERS = 100_000
"""More files than this no range of a selection names."""


def unfinished(jobs: Iterable[Job]) -> list[Job]:
    return [job for job in jobs if not job.finished]


def wanting(jobs: Iterable[Job]) -> list[Job]:
    """The claimants whose files a replica has to hold: those that are finished with it have theirs already."""
    return [job for job in jobs if job.state not in {JobState.FAILED, JobState.CANCELLED}]


def union_selection(
    jobs: Sequence[Job], files: Sequence[EntryFile], *, files_known: bool, can_select: bool
) -> Set[int] | None:
    """The files that a replica is to fill: what its queued and active claimants want. None: all of them.

    While the files are unknown, names cannot be told apart yet. An engine that can change a selection is then asked,
    by an empty set, to find out what there is and to wait; another one gets the numbers, if there are only numbers.
    """
    if files_known:
        wanted = frozenset[int]().union(*(wanted_by(job, files) for job in jobs))
        return None if len(wanted) == len(files) else wanted
    if any(job.selection == ALL for job in jobs):
        return None
    if can_select:
        return frozenset()
    numbers = [numbers_of(job.selection) for job in jobs]
    return None if None in numbers else frozenset[int]().union(*(found for found in numbers if found is not None))


def numbers_of(spec: str) -> frozenset[int] | None:
    """The indices that a selection names by number alone; None if it names anything else."""
    found: set[int] = set()
    for part in spec.split(","):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else True)):
            return None
        found |= set(range(int(first), min(int(last or first), int(first) + MAX_NUMBERS) + 1))
    return frozenset(found)


def loosest(limits: Iterable[BytesPerSecond | None]) -> BytesPerSecond | None:
    """The loosest of the claimants' speed limits; None, no limit, is looser than any."""
    found = list(limits)
    return None if not found or None in found else max(limit for limit in found if limit is not None)


Rates = tuple[BytesPerSecond | None, BytesPerSecond | None]
"""Down, up."""


def rates_of(jobs: Sequence[Job]) -> Rates:
    """Of those that are not paused; of all when every one is."""
    jobs = [job for job in jobs if job.hold is not Hold.USER] or jobs
    return loosest(job.max_rate_down for job in jobs), loosest(job.max_rate_up for job in jobs)


def source_for(entry: CacheEntry, jobs: Sequence[Job]) -> Source:
    """The first claimant's source; a public torrent is looked for at the trackers of all of them."""
    source = parse_source(jobs[0].source)
    if source.kind is SourceKind.URL or entry.owner is not None:
        return source
    named = [parse_source(job.source).trackers + tuple(job.options.get(TRACKERS, "").split(",")) for job in jobs]
    return with_trackers(source, (tracker for some in named for tracker in some))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A replica that the store says is being filled, and what its node has to be told."""

    replica: Replica
    order: Dispatch
    was_paused: bool


@dataclass(slots=True)
class Filler:
    """Everything that touches one replica on its node goes through its lock, one after the other."""

    store: Store
    clock: Clock
    node: Callable[[NodeId | None], NodeClient]
    board: Board
    limits: Callable[[], Limits]
    note: Callable[[Replica], None]
    """Told of every replica that was stored."""
    dispatched: dict[ReplicaId, Set[int] | None] = field(default_factory=dict)
    """The selection that each running replica was last given."""
    rates: dict[ReplicaId, Rates] = field(default_factory=dict)
    """The speed limits that each running replica was last given."""
    trackers: dict[ReplicaId, Set[str]] = field(default_factory=dict)
    """The trackers that each running torrent was last given."""
    seeding: dict[ReplicaId, Mapping[str, str]] = field(default_factory=dict)
    """For how long each was last asked to be seeded."""
    _locks: dict[ReplicaId, asyncio.Lock] = field(default_factory=dict)
    _handing_over: set[ReplicaId] = field(default_factory=set)

    @asynccontextmanager
    async def alone(self, replica_id: ReplicaId) -> AsyncIterator[None]:
        lock = self._locks.setdefault(replica_id, asyncio.Lock())
        async with lock:
            yield

    def is_busy(self, replica_id: ReplicaId) -> bool:
        lock = self._locks.get(replica_id)
        return replica_id in self._handing_over or (lock is not None and lock.locked())

    async def write(self, work: Callable[[Transaction, list[Replica]], T]) -> T:
        """A unit of work that appends every replica it stores to its list; they are noted after the commit."""
        noted: list[Replica] = []

        def whole(tx: Transaction) -> T:
            noted.clear()
            return work(tx, noted)

        answer = await self.store.write(whole)
        for replica in noted:
            self.note(replica)
        return answer

    # starting

    async def prepare(self, start: Start, active: Set[JobId]) -> Prepared | None:
        """Places the entry if it has no replica yet, and stores that the replica is being filled. What comes back is
        for `hand_over`; None: there is nothing to start any more."""

        def place(tx: Transaction) -> ReplicaId | None:
            entry = tx.cache.entry(start.work.entry_id)
            jobs = unfinished(tx.jobs.of_entry(start.work.entry_id))
            if entry is None or not jobs:
                return None
            found = live_replica(tx, entry.id)
            if found is not None:
                return found.id
            if tx.cache.replicas_of(entry.id):
                return None  # the old one is still being removed
            at = self.clock.now()
            replica = Replica(
                id=ids.new_replica_id(), entry_id=entry.id, node_id=start.node_id, engine=entry.engine,
                created_at=at, updated_at=at,
            )  # fmt: skip
            tx.cache.insert_replica(replica)
            return replica.id

        replica_id = start.work.replica_id or await self.store.write(place)
        if replica_id is None:
            return None
        self.board.placements[start.work.entry_id] = start.placement
        async with self.alone(replica_id):
            prepared = await self.write(lambda tx, noted: self._prepare(tx, noted, replica_id, active))
        if prepared is not None:
            self._handing_over.add(replica_id)
        return prepared

    async def hand_over(self, prepared: Prepared) -> None:
        """Gives a prepared replica to its engine, unless it was stopped or removed meanwhile."""
        replica_id = prepared.replica.id
        try:
            async with self.alone(replica_id):
                current = await self.store.read(lambda tx: tx.cache.replica(replica_id))
                if current is not None and current.state is ReplicaState.FILLING:
                    await self._dispatch(prepared)
        finally:
            self._handing_over.discard(replica_id)

    async def recover(self, replica_id: ReplicaId) -> None:
        """Hands a replica that should be filling to its engine again: after a restart of either."""
        async with self.alone(replica_id):
            await self.renew(replica_id)

    async def renew(self, replica_id: ReplicaId) -> None:
        """Gives a replica that should be filling to its engine, which does not work on it, with the wishes of now. The
        caller holds the replica's lock."""
        prepared = await self.write(lambda tx, noted: self._prepare(tx, noted, replica_id, frozenset(), again=True))
        if prepared is not None:
            await self._dispatch(prepared)
        else:
            await self._look_at_rest(replica_id)

    async def seed(self, replica_id: ReplicaId) -> None:
        """Gives a ready replica to its engine to be uploaded, if its files are what they were. Raises what the node
        raises."""

        def work(tx: Transaction) -> tuple[Dispatch, NodeId, list[EntryFile]] | None:
            replica = tx.cache.replica(replica_id)
            entry = tx.cache.entry(replica.entry_id) if replica is not None else None
            if replica is None or entry is None or replica.state is not ReplicaState.READY:
                return None
            jobs = seeders(tx.jobs.of_entry(entry.id))
            if not jobs:
                return None
            order = self._order(tx, replica, entry, jobs, tx.materials.of_replica(replica.id))
            if order.source.info_hash is None or rival(tx.jobs.by_info_hash(order.source.info_hash), entry.id):
                return None
            return order, replica.node_id, [file for file in tx.cache.files(entry.id) if file.ready]

        async with self.alone(replica_id):
            found = await self.store.read(work)
            if found is None:
                return
            order, node_id, files = found
            node = self.node(node_id)
            sizes = await node.verify(replica_id, files)
            if all(sizes.get(file.index) == file.size for file in files):
                self.rates[replica_id] = (order.max_rate_down, order.max_rate_up)
                self.seeding[replica_id] = wish_of(order.options)
                await node.dispatch(order)

    def _prepare(
        self, tx: Transaction, noted: list[Replica], replica_id: ReplicaId, active: Set[JobId], *, again: bool = False
    ) -> Prepared | None:
        at = self.clock.now()
        replica = tx.cache.replica(replica_id)
        entry = tx.cache.entry(replica.entry_id) if replica is not None else None
        if replica is None or entry is None or replica.state is ReplicaState.DELETING:
            return None
        if (replica.state is ReplicaState.FILLING) is not again:
            return None
        jobs = unfinished(tx.jobs.of_entry(entry.id))
        if not jobs:
            self._rest(tx, noted, replica, at)
            return None
        material = self._material(tx, replica, jobs)
        if material is not None and material.erased:
            self._fail(tx, noted, replica, jobs, _credentials_needed(jobs[0]), at)
            return None
        was_paused, was_ready = replica.state is ReplicaState.PAUSED, replica.state is ReplicaState.READY
        if not again:
            if replica.state in {ReplicaState.READY, ReplicaState.FAILED, ReplicaState.MISSING}:
                if was_ready:
                    replica = moved(replica, ReplicaState.WAITING, at=at)
                    if any(wants_check(job) for job in jobs):
                        replica = replace(replica, handle=None)
                replica = moved(replica, ReplicaState.WAITING, at=at)
            first = replica.progress_at is None or was_paused or was_ready
            replica = replace(
                moved(replica, ReplicaState.FILLING, at=at), progress_at=at if first else replica.progress_at,
                next_try_at=None,
            )  # fmt: skip
            tx.cache.update_replica(replica)
            noted.append(replica)
            if replica.afresh:
                self._give_up_files(tx, entry)
            for job in jobs:
                # it may have been paused since the plan was made
                if job.id in active and job.state is JobState.QUEUED and job.hold is not Hold.USER:
                    started = replace(advance(job, Signal.START, at=at), node_id=replica.node_id)
                    started = tx.jobs.update(started)
                    tx.events.add(job_event(JobStarted, started, at, engine=str(replica.engine)))
        return Prepared(replica=replica, order=self._order(tx, replica, entry, jobs, material), was_paused=was_paused)

    def _give_up_files(self, tx: Transaction, entry: CacheEntry) -> None:
        """What is on disk is of another version. Files that completed jobs have stay theirs; the rest goes."""
        files = tx.cache.files(entry.id)
        had = [wanted_by(job, files) for job in tx.jobs.of_entry(entry.id) if job.state is JobState.COMPLETED]
        theirs = frozenset[int]().union(*had)
        gone = [replace(file, ready=False) for file in files if file.ready and file.index not in theirs]
        if gone:
            tx.cache.put_files(entry.id, gone)

    def _rest(self, tx: Transaction, noted: list[Replica], replica: Replica, at: datetime) -> None:
        """Nobody waits for it any more: with files that completed jobs have it is ready, else it is paused."""
        if replica.state is not ReplicaState.FILLING:
            return
        rested = at_rest(tx, replica, at)
        if rested.state is ReplicaState.FILLING:
            rested = moved(rested, ReplicaState.PAUSED, at=at)
        tx.cache.update_replica(rested)
        noted.append(rested)

    def _material(self, tx: Transaction, replica: Replica, jobs: Sequence[Job]) -> Material | None:
        """The replica's material; the first claimant's is handed over when it has none or its secrets are erased."""
        own = tx.materials.of_replica(replica.id)
        if own is not None and not own.erased:
            return own
        for job in jobs:
            theirs = tx.materials.of_job(job.id)
            if theirs is not None and not theirs.erased:
                merged = replace(theirs, torrent=theirs.torrent or (own.torrent if own else None))
                tx.materials.put_for_replica(replica.id, merged)
                return merged
        return own

    def _order(
        self, tx: Transaction, replica: Replica, entry: CacheEntry, jobs: Sequence[Job], material: Material | None
    ) -> Dispatch:
        source = with_credentials(source_for(entry, jobs), material)
        files = tx.cache.files(entry.id) if entry.files_known else ()
        selection = union_selection(
            wanting(tx.jobs.of_entry(entry.id)),
            files,
            files_known=entry.files_known,
            can_select=self.can_select(replica),
        )
        return Dispatch(
            replica_id=replica.id,
            engine=replica.engine,
            source=source,
            options=engine_options(jobs[0].options, material),
            torrent=material.torrent if material is not None else None,
            selection=selection,
            # an engine that nobody named was chosen because the origin sent a file
            may_be_page=any(job.engine_wish is not None for job in jobs),
            max_rate_down=rates_of(jobs)[0],
            max_rate_up=rates_of(jobs)[1],
            handle=replica.handle,
            afresh=replica.afresh,
            keep=frozenset(file.disk_path for file in files if file.ready),
            # once: what is broken off later goes on from where it was
            recheck=replica.handle is None and any(wants_check(job) for job in jobs),
        )

    def can_select(self, replica: Replica) -> bool:
        node = self.board.nodes.get(replica.node_id)
        engines = node.engines if node is not None else ()
        return any(engine.name == replica.engine and engine.capabilities.get("select") for engine in engines)

    async def _dispatch(self, prepared: Prepared) -> None:
        replica, order = prepared.replica, prepared.order
        self.dispatched[replica.id] = order.selection
        self.rates[replica.id] = (order.max_rate_down, order.max_rate_up)
        self.trackers[replica.id] = frozenset(order.source.trackers)
        self.seeding[replica.id] = wish_of(order.options)
        node = self.node(replica.node_id)
        try:
            handle = await node.dispatch(order)
            if prepared.was_paused:
                await node.resume(replica.engine, replica.id)
        except Unavailable as error:
            if isinstance(error, DeadlineExceeded):
                await self.attempt_failed(replica.id, failure_from(error), Bytes(0))
            else:
                await self._put_off(replica.id, error)
            return
        except OpenDebridError as error:
            await self.attempt_failed(replica.id, failure_from(error), Bytes(0))
            return
        except Exception:
            log.exception("dispatch failed", extra={"action": "dispatch_crashed", "replica": str(replica.id)})
            failure = Failure(code=FailureCode.ENGINE, message="internal error, see the log", retry=Retry.PASSING)
            await self.attempt_failed(replica.id, failure, Bytes(0))
            return

        def keep(tx: Transaction, noted: list[Replica]) -> None:
            current = tx.cache.replica(replica.id)
            if current is not None and (current.handle != handle or current.afresh):
                current = replace(current, handle=handle, afresh=False)
                tx.cache.update_replica(current)
                noted.append(current)

        await self.write(keep)

    # ends of attempts

    async def attempt_failed(self, replica_id: ReplicaId, failure: Failure, done: Bytes) -> None:
        """The attempt is over: waits, holds or fails by the failure's kind. The caller holds the replica's lock."""
        limits = self.limits()

        def work(tx: Transaction, noted: list[Replica]) -> list[int]:
            at = self.clock.now()
            replica = tx.cache.replica(replica_id)
            if replica is None or replica.state is not ReplicaState.FILLING:
                return []
            verdict = after_failure(replica, failure, done=done, limits=limits, at=at)
            after = at_rest(tx, verdict.replica, at) if verdict.final else verdict.replica
            tx.cache.update_replica(after)
            noted.append(after)
            jobs = unfinished(tx.jobs.of_entry(replica.entry_id))
            for job in jobs:
                if verdict.final:
                    fail(tx, job, failure, at)
                elif job.state is JobState.ACTIVE:
                    hold = Hold.DISK if verdict.held else None
                    requeue(tx, self.board.with_figures(job), Signal.YIELD, at, verdict.replica.reason, hold)
                elif job.hold is not Hold.USER:
                    tx.jobs.update(replace(job, reason=verdict.replica.reason, updated_at=at))
            return [job.number for job in jobs]

        facts = {"replica": str(replica_id), "code": str(failure.code), "problem": failure.message}
        for number in await self.write(work):
            log.info("attempt failed", extra={"action": "attempt_failed", "job": number, **facts})
        self._stopped(replica_id)
        await self._look_at_rest(replica_id)

    def _fail(
        self,
        tx: Transaction,
        noted: list[Replica],
        replica: Replica,
        jobs: Sequence[Job],
        failure: Failure,
        at: datetime,
    ) -> None:
        if replica.state is ReplicaState.READY or replica.state is ReplicaState.MISSING:
            replica = moved(replica, ReplicaState.WAITING, at=at)
        failed = at_rest(tx, replace(moved(replica, ReplicaState.FAILED, at=at), error=failure), at)
        tx.cache.update_replica(failed)
        noted.append(failed)
        for job in jobs:
            fail(tx, job, failure, at)

    async def to_waiting(self, replica_id: ReplicaId, reason: Reason) -> None:
        """Back to the queue without a failed attempt. The caller holds the replica's lock and stopped the engine."""
        await self._to_waiting(replica_id, reason, None, None)

    async def _put_off(self, replica_id: ReplicaId, error: Unavailable) -> None:
        """The node, its engine or its disk is away: nobody's failed attempt."""
        code, wait = next((found for kind, found in PUT_OFF.items() if isinstance(error, kind)), ENGINE_AWAY)
        until = self.clock.now() + timedelta(seconds=wait)
        reason = Reason(code=code, message=error.message, retry_at=until)
        hold = Hold.DISK if code is ReasonCode.NO_SPACE else None
        await self._to_waiting(replica_id, reason, hold, until)

    async def stop(self, replica_id: ReplicaId, reason: Reason | None, *, hold: Hold | None = None) -> None:
        """Stops a running replica, keeping its bytes; its running jobs go back to the queue with the reason. Without a
        reason (no claimant may run) it is paused."""
        async with self.alone(replica_id):
            replica = await self.store.read(lambda tx: tx.cache.replica(replica_id))
            if replica is None or replica.state is not ReplicaState.FILLING:
                return
            node = self.node(replica.node_id)
            try:
                if reason is None:
                    await node.pause(replica.engine, replica_id)
                else:
                    await node.cancel(replica.engine, replica_id)
            except Unavailable as error:
                # an engine that is down transfers nothing, and the next comparison stops what it brings back
                log.info("stop not delivered", extra={"action": "stop_undelivered", "error": error.message})
            if reason is None:
                await self._to_paused(replica_id)
            else:
                await self._to_waiting(replica_id, reason, hold, None)

    async def _to_paused(self, replica_id: ReplicaId) -> None:
        def work(tx: Transaction, noted: list[Replica]) -> None:
            at = self.clock.now()
            replica = tx.cache.replica(replica_id)
            if replica is None or replica.state is not ReplicaState.FILLING:
                return
            entry = tx.cache.entry(replica.entry_id)
            if entry is not None and not unfinished(tx.jobs.of_entry(entry.id)):
                self._rest(tx, noted, self._with_progress(replica), at)
                return
            replica = self._with_progress(moved(replica, ReplicaState.PAUSED, at=at))
            tx.cache.update_replica(replica)
            noted.append(replica)
            for job in tx.jobs.of_entry(replica.entry_id):
                if job.state is JobState.ACTIVE:
                    requeue(tx, self.board.with_figures(job), Signal.YIELD, at, None)

        await self.write(work)
        self._stopped(replica_id)
        await self._look_at_rest(replica_id)

    async def rest(self, replica_id: ReplicaId) -> None:
        """The last job that waited for it is gone while it did not run."""

        def rested(tx: Transaction) -> Replica | None:
            replica = tx.cache.replica(replica_id)
            if replica is None or replica.state in {ReplicaState.FILLING, ReplicaState.READY, ReplicaState.DELETING}:
                return None
            if unfinished(tx.jobs.of_entry(replica.entry_id)):
                return None
            after = at_rest(tx, replica, self.clock.now())
            return None if after is replica else after

        def work(tx: Transaction, noted: list[Replica]) -> None:
            replica = rested(tx)
            if replica is not None:
                tx.cache.update_replica(replica)
                noted.append(replica)

        async with self.alone(replica_id):
            if await self.store.read(rested) is not None:
                await self.write(work)
                await self._look_at_rest(replica_id)

    async def _look_at_rest(self, replica_id: ReplicaId) -> None:
        """What an engine was broken off at may have lost some of what was ready."""

        def look_up(tx: Transaction) -> tuple[Replica, Sequence[EntryFile]] | None:
            replica = tx.cache.replica(replica_id)
            if replica is None or replica.state is not ReplicaState.READY:
                return None
            return replica, [file for file in tx.cache.files(replica.entry_id) if file.ready]

        found = await self.store.read(look_up)
        if found is None:
            return
        replica, files = found
        try:
            sizes = await self.node(replica.node_id).verify(replica.id, files)
        except OpenDebridError as error:
            # nothing follows from a disk that cannot be looked at
            log.info("cannot look at a replica", extra={"action": "verify_failed", "error": error.message})
            return
        bad = {file.index for file in files if sizes.get(file.index) != file.size}

        def work(tx: Transaction, noted: list[Replica]) -> None:
            current, entry = tx.cache.replica(replica_id), tx.cache.entry(replica.entry_id)
            if current is None or entry is None or current.state is not ReplicaState.READY:
                return
            mark_missing(tx, entry, current, bad, self.clock.now())
            noted += [now for now in [tx.cache.replica(replica_id)] if now is not None]

        if bad:
            await self.write(work)

    async def _to_waiting(
        self, replica_id: ReplicaId, reason: Reason, hold: Hold | None, until: datetime | None
    ) -> None:
        def work(tx: Transaction, noted: list[Replica]) -> None:
            at = self.clock.now()
            replica = tx.cache.replica(replica_id)
            if replica is None or replica.state is not ReplicaState.FILLING:
                return
            replica = moved(self._with_progress(replica), ReplicaState.WAITING, at=at, reason=reason)
            replica = replace(replica, next_try_at=until)
            tx.cache.update_replica(replica)
            noted.append(replica)
            for job in tx.jobs.of_entry(replica.entry_id):
                if job.state is JobState.ACTIVE:
                    requeue(tx, self.board.with_figures(job), Signal.YIELD, at, reason, hold)

        await self.write(work)
        self._stopped(replica_id)

    def _with_progress(self, replica: Replica) -> Replica:
        status = self.board.statuses.get(replica.id)
        return replica if status is None else replace(replica, done=max(replica.done, status.done))

    def _stopped(self, replica_id: ReplicaId) -> None:
        self.board.statuses.pop(replica_id, None)
        self.dispatched.pop(replica_id, None)
        self.rates.pop(replica_id, None)
        self.trackers.pop(replica_id, None)
        self.seeding.pop(replica_id, None)

    # deleting

    async def delete(self, replica_id: ReplicaId) -> Bytes:
        """Ends the engine's work, deletes the directory, then the row, and the entry with its last replica. Tried again
        by the reconciler until it succeeds."""
        async with self.alone(replica_id):
            replica = await self.store.read(lambda tx: tx.cache.replica(replica_id))
            if replica is None or replica.state is not ReplicaState.DELETING:
                return Bytes(0)
            freed = await self.node(replica.node_id).delete(replica.engine, replica_id)

            def work(tx: Transaction) -> None:
                tx.cache.delete_replica(replica_id)
                # an add meanwhile has joined the entry: it gets a new replica
                if not tx.cache.replicas_of(replica.entry_id) and not tx.jobs.of_entry(replica.entry_id):
                    tx.cache.delete_entry(replica.entry_id)

            await self.store.write(work)
            self.board.forget(replica_id, replica.entry_id)
            self._stopped(replica_id)
        self._locks.pop(replica_id, None)
        return freed


def _credentials_needed(job: Job) -> Failure:
    return Failure(
        code=FailureCode.CREDENTIALS_NEEDED,
        message="the credentials it was fetched with were erased when it was complete",
        hint=f"odctl retry {job.number} -O …, or add it again with them",
    )
