"""Ends work on replicas: attempts that failed, stops for a while, deletion. What is on its way is done again after a
restart: the store says so until the engine has stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from oddaemon.domain.admission import Limits
from oddaemon.domain.cache import OUT_OF_USE, EntryFile, Replica, ReplicaState, moved
from oddaemon.domain.errors import NodeUnavailable, NoSpace, OpenDebridError, StorageFailed, StorageMissing, Unavailable
from oddaemon.domain.failure import Failure, Reason, ReasonCode
from oddaemon.domain.job import Hold, Job, JobState, Signal
from oddaemon.domain.retry import SPACE_WAIT, after_failure
from oddaemon.domain.types import Bytes, NodeId, ReplicaId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.board import Board
from oddaemon.services.claims import at_rest, fail, mark_missing, requeue
from oddaemon.services.joint_wishes import unfinished
from oddaemon.services.replicas import Replicas
from oddaemon.services.told import Told

log = logging.getLogger(__name__)

UNAVAILABLE_WAIT = Seconds(3)
SHUN = SPACE_WAIT
"""For so long a node that refused one start is passed over for others that can be had."""
ENGINE_AWAY = (ReasonCode.ENGINE_DOWN, UNAVAILABLE_WAIT)
PUT_OFF: Mapping[type[Unavailable], tuple[ReasonCode, Seconds]] = {
    NodeUnavailable: (ReasonCode.NODE_OFFLINE, UNAVAILABLE_WAIT),
    StorageMissing: (ReasonCode.STORAGE_MISSING, UNAVAILABLE_WAIT),
    StorageFailed: (ReasonCode.STORAGE_FAILED, SPACE_WAIT),
    NoSpace: (ReasonCode.NO_SPACE, SPACE_WAIT),
}
"""What a start that is nobody's failed attempt waits for, and how long until it is tried again."""


@dataclass(slots=True)
class Stopper:
    """Takes a replica away from its engine, and its jobs back to the queue or to their end."""

    store: Store
    clock: Clock
    node: Callable[[NodeId | None], NodeClient]
    board: Board
    replicas: Replicas
    told: Told
    limits: Callable[[], Limits]

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
        for number in await self.replicas.write(work):
            log.info("attempt failed", extra={"action": "attempt_failed", "job": number, **facts})
        self._stopped(replica_id)
        await self.look_at_rest(replica_id)

    async def put_off(self, replica_id: ReplicaId, error: Unavailable) -> None:
        """The node, its engine or its disk is away: nobody's failed attempt."""
        code, wait = next((found for kind, found in PUT_OFF.items() if isinstance(error, kind)), ENGINE_AWAY)
        until = self.clock.now() + timedelta(seconds=wait)
        replica = await self.store.read(lambda tx: tx.cache.replica(replica_id))
        if replica is not None:
            why = Reason(code=code, message=f"node {replica.node_id} could not take the last one: {error.message}")
            self.board.shunned[replica.node_id] = Seconds(self.clock.monotonic() + SHUN), why
        reason = Reason(code=code, message=error.message, retry_at=until)
        hold = Hold.DISK if code is ReasonCode.NO_SPACE else None
        await self.to_waiting(replica_id, reason, hold=hold, until=until)

    async def stop(self, replica_id: ReplicaId, reason: Reason | None, *, hold: Hold | None = None) -> None:
        """Stops a running replica, keeping its bytes; its running jobs go back to the queue with the reason. Without a
        reason (no claimant may run) it is paused."""
        async with self.replicas.alone(replica_id):
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
                await self.to_waiting(replica_id, reason, hold=hold)

    async def _to_paused(self, replica_id: ReplicaId) -> None:
        def work(tx: Transaction, noted: list[Replica]) -> None:
            at = self.clock.now()
            replica = tx.cache.replica(replica_id)
            if replica is None or replica.state is not ReplicaState.FILLING:
                return
            entry = tx.cache.entry(replica.entry_id)
            if entry is not None and not unfinished(tx.jobs.of_entry(entry.id)):
                lay_to_rest(tx, noted, self._with_progress(replica), at)
                return
            replica = self._with_progress(moved(replica, ReplicaState.PAUSED, at=at))
            tx.cache.update_replica(replica)
            noted.append(replica)
            for job in tx.jobs.of_entry(replica.entry_id):
                if job.state is JobState.ACTIVE:
                    requeue(tx, self.board.with_figures(job), Signal.YIELD, at, None)

        await self.replicas.write(work)
        self._stopped(replica_id)
        await self.look_at_rest(replica_id)

    async def rest(self, replica_id: ReplicaId) -> None:
        """The last job that waited for it is gone while it did not run."""

        def rested(tx: Transaction) -> Replica | None:
            replica = tx.cache.replica(replica_id)
            if replica is None or replica.state in {ReplicaState.FILLING, ReplicaState.READY, *OUT_OF_USE}:
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

        async with self.replicas.alone(replica_id):
            if await self.store.read(rested) is not None:
                await self.replicas.write(work)
                await self.look_at_rest(replica_id)

    async def look_at_rest(self, replica_id: ReplicaId) -> None:
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
            await self.replicas.write(work)

    async def to_waiting(
        self, replica_id: ReplicaId, reason: Reason, *, hold: Hold | None = None, until: datetime | None = None
    ) -> None:
        """Back to the queue without a failed attempt. The caller holds the replica's lock and stopped the engine."""

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

        await self.replicas.write(work)
        self._stopped(replica_id)

    def _with_progress(self, replica: Replica) -> Replica:
        status = self.board.statuses.get(replica.id)
        return replica if status is None else replace(replica, done=max(replica.done, status.done))

    def _stopped(self, replica_id: ReplicaId) -> None:
        self.board.statuses.pop(replica_id, None)
        self.told.forget(replica_id)

    async def delete(self, replica_id: ReplicaId) -> Bytes:
        """Ends the engine's work, deletes the directory, then the row, and the entry with its last replica. Tried again
        by the reconciler until it succeeds."""
        async with self.replicas.alone(replica_id):
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
        self.replicas.forget(replica_id)
        return freed


def lay_to_rest(tx: Transaction, noted: list[Replica], replica: Replica, at: datetime) -> None:
    """Nobody waits for it any more: with files that completed jobs have it is ready, else it is paused."""
    if replica.state is not ReplicaState.FILLING:
        return
    rested = at_rest(tx, replica, at)
    if rested.state is ReplicaState.FILLING:
        rested = moved(rested, ReplicaState.PAUSED, at=at)
    tx.cache.update_replica(rested)
    noted.append(rested)


def fail_for_good(
    tx: Transaction, noted: list[Replica], replica: Replica, jobs: Sequence[Job], failure: Failure, at: datetime
) -> None:
    """No attempt can help: the replica fails, and its jobs with it."""
    if replica.state is ReplicaState.READY or replica.state is ReplicaState.MISSING:
        replica = moved(replica, ReplicaState.WAITING, at=at)
    failed = at_rest(tx, replace(moved(replica, ReplicaState.FAILED, at=at), error=failure), at)
    tx.cache.update_replica(failed)
    noted.append(failed)
    for job in jobs:
        fail(tx, job, failure, at)
