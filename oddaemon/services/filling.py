"""Starts replicas on their nodes, to be filled or seeded. The wish is stored before the node is asked, so that whatever
was being done when the process died is done again."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from oddaemon.domain.cache import OUT_OF_USE, CacheEntry, EntryFile, Replica, ReplicaState, at_work, moved
from oddaemon.domain.errors import DeadlineExceeded, OpenDebridError, Unavailable
from oddaemon.domain.events import JobStarted
from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.domain.job import Hold, Job, JobState, Signal, advance
from oddaemon.domain.types import Bytes, EntryId, Handle, JobId, NodeId, ReplicaId
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_client import Dispatch, NodeClient
from oddaemon.ports.store import Store, Transaction
from oddaemon.services import ids
from oddaemon.services.board import Board
from oddaemon.services.claims import job_event, wanted_by, wants_check
from oddaemon.services.joint_wishes import order_for, unfinished
from oddaemon.services.materials import credentials_needed, material_for
from oddaemon.services.replicas import Replicas
from oddaemon.services.resolver import failure_from
from oddaemon.services.scheduler import Start
from oddaemon.services.seed_wishes import rival, seeders
from oddaemon.services.stopping import Stopper, fail_for_good, lay_to_rest
from oddaemon.services.together import Together
from oddaemon.services.told import Told

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A replica that the store says is being filled, and what its node has to be told."""

    replica: Replica
    order: Dispatch
    was_paused: bool


@dataclass(frozen=True, slots=True)
class Known:
    """An entry with what belongs to it, as the store has it."""

    entry: CacheEntry
    jobs: Sequence[Job]
    replicas: Sequence[Replica]
    material: bool
    """Whether a job brings something that its source needs."""


@dataclass(slots=True)
class Begun:
    """What a unit of work begins, to be stored together at its end: thousands may start at once."""

    new: list[Replica] = field(default_factory=list)
    changed: list[Replica] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)

    def store(self, tx: Transaction) -> None:
        tx.cache.insert_replicas(self.new)
        tx.cache.update_replicas(self.changed)
        engines = {replica.entry_id: replica.engine for replica in (*self.new, *self.changed)}
        for job in tx.jobs.update_all(self.jobs):
            engine = engines[job.entry_id] if job.entry_id is not None else ""
            tx.events.add(job_event(JobStarted, job, job.updated_at, engine=str(engine)))


def loaded(tx: Transaction, entry_ids: Sequence[EntryId]) -> Mapping[EntryId, Known]:
    """Of the entries that there are; read together, however many they are."""
    entries, replicas = tx.cache.entries(entry_ids), tx.cache.replicas_of_all(entry_ids)
    jobs = tx.jobs.of_entries(entry_ids)
    bring = tx.materials.jobs_with([job.id for some in jobs.values() for job in some])
    return {
        entry_id: Known(
            entry, jobs.get(entry_id, ()), replicas[entry_id], any(job.id in bring for job in jobs.get(entry_id, ()))
        )
        for entry_id, entry in entries.items()
    }


@dataclass(slots=True)
class Filler:
    """Gives a replica to its engine, with what its claimants want of it."""

    store: Store
    clock: Clock
    node: Callable[[NodeId | None], NodeClient]
    board: Board
    replicas: Replicas
    told: Told
    stopper: Stopper
    is_gone: Callable[[NodeId], bool] = lambda _: False
    """Whether a node has been away for so long that nothing is waited for that is there."""
    _current: Together[ReplicaId, Replica] = field(init=False)
    _kept: Together[tuple[ReplicaId, Handle], Replica] = field(init=False)

    def __post_init__(self) -> None:
        self._current, self._kept = Together(self._read), Together(self._keep)

    async def _read(self, replica_ids: Collection[ReplicaId]) -> Mapping[ReplicaId, Replica]:
        return await self.store.read(lambda tx: tx.cache.replicas_with(replica_ids))

    async def prepare(self, starts: Sequence[Start], active: Set[JobId]) -> list[Prepared]:
        """Places each entry that has no replica yet, and stores that the replica is being filled; all in one unit of
        work, for thousands may start together. What comes back is for `hand_over`; what is left out has nothing to
        start any more."""
        async with contextlib.AsyncExitStack() as stack:
            for start in starts:
                if start.work.replica_id is not None:
                    await stack.enter_async_context(self.replicas.alone(start.work.replica_id))

            def work(tx: Transaction, noted: list[Replica]) -> list[Prepared]:
                known, begun = loaded(tx, [start.work.entry_id for start in starts]), Begun()
                found = [
                    self._begin(tx, noted, begun, start, known[start.work.entry_id], active)
                    for start in starts if start.work.entry_id in known
                ]  # fmt: skip
                begun.store(tx)
                return [prepared for prepared in found if prepared is not None]

            begun = await self.replicas.write(work)
        for prepared in begun:
            self.replicas.reserve(prepared.replica.id)
            self.board.placements[prepared.replica.entry_id] = prepared.replica.placement
        return begun

    def _begin(
        self, tx: Transaction, noted: list[Replica], begun: Begun, start: Start, known: Known, active: Set[JobId]
    ) -> Prepared | None:
        asked = start.work.replica_id
        if asked is not None:
            replica = next((found for found in known.replicas if found.id == asked), None)
        else:
            replica = self._place(start, known)
        if replica is None:
            return None
        return self._prepare(tx, noted, begun, replica, known, active, placement=start.placement)

    def _place(self, start: Start, known: Known) -> Replica | None:
        """The replica to be filled, a new one if need be; not stored."""
        if not unfinished(known.jobs):
            return None
        found = at_work(known.replicas)
        if found is not None and not (found.state is ReplicaState.READY and self.is_gone(found.node_id)):
            return found
        if any(old.state is ReplicaState.DELETING and not self.is_gone(old.node_id) for old in known.replicas):
            return None  # the old one is still being removed
        at = self.clock.now()
        for old in known.replicas:
            if old.state is ReplicaState.REPLACED and old.node_id == start.node_id:
                # it goes on from its own bytes
                return replace(moved(old, ReplicaState.WAITING, at=at), placement="")
        return Replica(
            id=ids.new_replica_id(), entry_id=known.entry.id, node_id=start.node_id, engine=known.entry.engine,
            created_at=at, updated_at=at,
        )  # fmt: skip

    async def hand_over(self, prepared: Prepared) -> None:
        """Gives a prepared replica to its engine, unless it was stopped or removed meanwhile."""
        replica_id = prepared.replica.id
        try:
            async with self.replicas.alone(replica_id):
                current = await self._current.ask(replica_id)
                if current is not None and current.state is ReplicaState.FILLING:
                    await self._dispatch(prepared)
        finally:
            self.replicas.release(replica_id)

    async def recover(self, replica_id: ReplicaId) -> None:
        """Hands a replica that should be filling to its engine again: after a restart of either."""
        async with self.replicas.alone(replica_id):
            await self.renew(replica_id)

    async def renew(self, replica_id: ReplicaId) -> None:
        """Gives a replica that should be filling to its engine, which does not work on it, with the wishes of now. The
        caller holds the replica's lock."""

        def work(tx: Transaction, noted: list[Replica]) -> Prepared | None:
            replica = tx.cache.replica(replica_id)
            known = loaded(tx, [replica.entry_id]).get(replica.entry_id) if replica is not None else None
            if replica is None or known is None:
                return None
            return self._prepare(tx, noted, Begun(), replica, known, frozenset(), again=True)

        prepared = await self.replicas.write(work)
        if prepared is not None:
            await self._dispatch(prepared)
        else:
            await self.stopper.look_at_rest(replica_id)

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
            material = tx.materials.of_replica(replica.id)
            order = order_for(tx, replica, entry, jobs, material, can_select=self.board.can_select(replica))
            if order.source.info_hash is None or rival(tx.jobs.by_info_hash(order.source.info_hash), entry.id):
                return None
            return order, replica.node_id, [file for file in tx.cache.files(entry.id) if file.ready]

        async with self.replicas.alone(replica_id):
            found = await self.store.read(work)
            if found is None:
                return
            order, node_id, files = found
            node = self.node(node_id)
            sizes = await node.verify(replica_id, files)
            if all(sizes.get(file.index) == file.size for file in files):
                self.told.to_seed(order)
                await node.dispatch(order)

    def _prepare(
        self, tx: Transaction, noted: list[Replica], begun: Begun, replica: Replica, known: Known,
        active: Set[JobId], *, again: bool = False, placement: str = "",
    ) -> Prepared | None:  # fmt: skip
        at, entry = self.clock.now(), known.entry
        if replica.state in OUT_OF_USE or (replica.state is ReplicaState.FILLING) is not again:
            return None
        jobs = unfinished(known.jobs)
        if not jobs:
            lay_to_rest(tx, noted, replica, at)
            return None
        is_new = all(replica.id != old.id for old in known.replicas)
        if is_new and (known.material or known.replicas):
            tx.cache.insert_replica(replica)
            is_new = False
        material = None if is_new else material_for(tx, replica, jobs)
        if material is not None and material.erased:
            fail_for_good(tx, noted, replica, jobs, credentials_needed(jobs[0]), at)
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
                next_try_at=None, placement=replica.placement or placement,
            )  # fmt: skip
            (begun.new if is_new else begun.changed).append(replica)
            noted.append(replica)
            if replica.afresh:
                _give_up_files(tx, entry)
            for job in jobs:
                # it may have been paused since the plan was made
                if job.id in active and job.state is JobState.QUEUED and job.hold is not Hold.USER:
                    begun.jobs.append(replace(advance(job, Signal.START, at=at), node_id=replica.node_id))
        order = order_for(
            tx, replica, entry, jobs, material, can_select=self.board.can_select(replica), claims=known.jobs
        )
        return Prepared(replica=replica, order=order, was_paused=was_paused)

    async def _dispatch(self, prepared: Prepared) -> None:
        replica, order = prepared.replica, prepared.order
        self.told.to_fill(order)
        node = self.node(replica.node_id)
        try:
            handle = await node.dispatch(order)
            if prepared.was_paused:
                await node.resume(replica.engine, replica.id)
        except Unavailable as error:
            if isinstance(error, DeadlineExceeded):
                await self.stopper.attempt_failed(replica.id, failure_from(error), Bytes(0))
            else:
                await self.stopper.put_off(replica.id, error)
            return
        except OpenDebridError as error:
            await self.stopper.attempt_failed(replica.id, failure_from(error), Bytes(0))
            return
        except Exception:
            log.exception("dispatch failed", extra={"action": "dispatch_crashed", "replica": str(replica.id)})
            failure = Failure(code=FailureCode.ENGINE, message="internal error, see the log", retry=Retry.PASSING)
            await self.stopper.attempt_failed(replica.id, failure, Bytes(0))
            return

        await self._kept.ask((replica.id, handle))

    async def _keep(self, told: Collection[tuple[ReplicaId, Handle]]) -> Mapping[tuple[ReplicaId, Handle], Replica]:
        """Stores under which handles engines know replicas."""

        def work(tx: Transaction, noted: list[Replica]) -> None:
            there = tx.cache.replicas_with([replica_id for replica_id, _ in told])
            for replica_id, handle in told:
                current = there.get(replica_id)
                if current is not None and (current.handle != handle or current.afresh):
                    noted.append(replace(current, handle=handle, afresh=False))
            tx.cache.update_replicas(noted)

        await self.replicas.write(work)
        return {}


def _give_up_files(tx: Transaction, entry: CacheEntry) -> None:
    """What is on disk is of another version. Files that completed jobs have stay theirs; the rest goes."""
    files = tx.cache.files(entry.id)
    had = [wanted_by(job, files) for job in tx.jobs.of_entry(entry.id) if job.state is JobState.COMPLETED]
    theirs = frozenset[int]().union(*had)
    gone = [replace(file, ready=False) for file in files if file.ready and file.index not in theirs]
    if gone:
        tx.cache.put_files(entry.id, gone)
