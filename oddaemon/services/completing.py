"""The end of a download: an engine's own "complete" is a claim, not a fact. Files are looked at on disk before anything
is called ready."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime

from oddaemon.domain.cache import EntryFile, KeyKind, Replica, ReplicaState, moved, parse_key
from oddaemon.domain.errors import InvalidArgument, Unavailable
from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode, Retry
from oddaemon.domain.files import display_name
from oddaemon.domain.job import JobState, Signal
from oddaemon.domain.types import Bytes, EntryId, JobId, NodeId
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import FillStatus
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.board import Board
from oddaemon.services.checksums import Checksums, checksum_failure
from oddaemon.services.claims import fail, release, requeue, settle, wanted_by, wants_check
from oddaemon.services.entry_files import reported_files, total_size
from oddaemon.services.joint_wishes import unfinished, wanting
from oddaemon.services.materials import erase_secrets
from oddaemon.services.private_torrents import split_private
from oddaemon.services.replicas import Found, Replicas
from oddaemon.services.seed_wishes import SEEDING
from oddaemon.services.stopping import Stopper
from oddaemon.services.told import Told

log = logging.getLogger(__name__)

COMPLETABLE = frozenset({ReplicaState.FILLING, ReplicaState.REPLACED})
MORE_WANTED = Reason(code=ReasonCode.QUEUED, message="more of its files are wanted")


@dataclass(slots=True)
class Completer:
    """Makes a replica ready and completes its jobs, or sends it back for another attempt."""

    store: Store
    clock: Clock
    node: Callable[[NodeId | None], NodeClient]
    board: Board
    replicas: Replicas
    told: Told
    stopper: Stopper
    checksums: Checksums
    wake: Callable[[], None]

    async def completed(self, replica: Replica, status: FillStatus) -> None:
        """The engine says that every wanted file is there. If that is so, the replica is ready and its jobs complete;
        if not, the attempt has failed."""
        async with self.replicas.alone(replica.id):
            found = await self.replicas.load(replica)
            if found is None or found.replica.state not in COMPLETABLE:
                return
            if found.replica.state is ReplicaState.REPLACED:
                await self._returned(found, status)
                return
            try:
                if await split_private(self.replicas, self.clock, found, status):
                    found = await self.replicas.load(replica)
                if found is not None and found.replica.state is ReplicaState.FILLING:
                    await self._complete(found, status)
            except InvalidArgument as error:
                failure = Failure(code=FailureCode.ENGINE, message=f"the engine named an unsafe path: {error.message}")
                await self.stopper.attempt_failed(replica.id, failure, status.done)
        self.board.files_seen.pop(replica.id, None)
        self.wake()

    async def _returned(self, found: Found, status: FillStatus) -> None:
        """Its node was away, another replica was begun in its place, and it is complete: it becomes ready, if its files
        are right, and the other one goes."""
        replica, node = found.replica, self.node(found.replica.node_id)
        files = reported_files(await node.list_files(replica.engine, replica.id), found.files)
        wanted = frozenset[int]().union(*(wanted_by(job, files) for job in wanting(found.jobs)))
        declared = [file for file in files if file.index in wanted and file.failed is None]
        sizes = await node.verify(replica.id, [replace(file, ready=False) for file in declared])
        files = [file.made_ready(sizes[file.index]) if sizes.get(file.index) is not None and file in declared else file
                 for file in files]  # fmt: skip
        matches = await self.checksums.compare(replica, unfinished(found.jobs), files)
        if not declared or _short(declared, sizes) is not None or not all(matches.values()):
            # its bytes stay until the other one is ready
            await node.cancel(replica.engine, replica.id)
            return
        await self._store_ready(found, status, files, matches, {file.index for file in declared})
        await node.forget(replica.engine, replica.id)
        self.wake()

    async def _complete(self, found: Found, status: FillStatus) -> None:
        replica, node = found.replica, self.node(found.replica.node_id)
        reported = await node.list_files(replica.engine, replica.id)
        files = reported_files(reported, found.files)
        jobs = unfinished(found.jobs)
        wanted = frozenset[int]().union(*(wanted_by(job, files) for job in wanting(found.jobs)))
        if files and not self._was_asked_for(replica, files, wanted):
            await self._ask_again(found, files)
            return
        declared = [file for file in files if file.index in wanted and file.failed is None]
        failure = _nothing(files, wanted) if not declared else None
        if failure is None:
            sizes = await node.verify(replica.id, [replace(file, ready=False) for file in declared])
            failure = _short(declared, sizes)
        if failure is not None:
            await node.cancel(replica.engine, replica.id)
            await self.stopper.attempt_failed(replica.id, failure, status.done)
            return
        good = {file.index: sizes[file.index] for file in declared}
        files = [file.made_ready(good[file.index]) if file.index in good else file for file in files]
        matches = await self.checksums.compare(replica, jobs, files)
        if _deserves_another(found, matches):
            await self._once_more(found)
            return
        await self._store_ready(found, status, files, matches, good.keys())
        if status.engine_state != SEEDING:
            try:
                await node.forget(replica.engine, replica.id)
            except Unavailable as error:
                # the next comparison finds it and forgets it then
                log.info("forget not delivered", extra={"action": "forget_undelivered", "error": error.message})

    def _was_asked_for(self, replica: Replica, files: Sequence[EntryFile], wanted: frozenset[int]) -> bool:
        asked = self.told.selections.get(replica.id)
        return asked is None or wanted <= asked

    async def _ask_again(self, found: Found, files: Sequence[EntryFile]) -> None:
        """The engine ended before it heard of the whole selection: nobody's failed attempt, it starts again with it."""
        await self.node(found.replica.node_id).cancel(found.replica.engine, found.replica.id)

        def work(tx: Transaction) -> None:
            entry = tx.cache.entry(found.entry.id)
            if entry is not None:
                tx.cache.put_files(entry.id, files)
                tx.cache.update_entry(replace(entry, files_known=True, total_size=total_size(files)))
                settle(tx, entry.id, self.clock.now())

        await self.store.write(work)
        await self.stopper.to_waiting(found.replica.id, MORE_WANTED)

    async def _store_ready(
        self, found: Found, status: FillStatus, files: Sequence[EntryFile], matches: Mapping[JobId, bool],
        good: Set[int],
    ) -> None:  # fmt: skip
        replica = found.replica

        def work(tx: Transaction, noted: list[Replica]) -> None:
            at = self.clock.now()
            current = tx.cache.replica(replica.id)
            entry = tx.cache.entry(replica.entry_id)
            if current is None or entry is None or current.state not in COMPLETABLE:
                return
            # (a retried unit of work begins with the files as they were given)
            mine = _stand_aside(tx, noted, current, files, at, good)
            total = total_size([file for file in mine if file.ready])
            ready = replace(
                moved(current, ReplicaState.READY, at=at), done=total, wanted=total, attempts=0, error=None,
                next_try_at=None, progress_at=at,
            )  # fmt: skip
            tx.cache.put_files(entry.id, mine)
            tx.cache.update_replica(ready)
            noted.append(ready)
            name = (display_name(status.name) if status.name else None) or entry.name or files[0].path
            tx.cache.update_entry(
                replace(
                    entry, name=name, files_known=True, total_size=total_size(files), complete_at=at, last_used_at=at,
                )
            )  # fmt: skip
            erase_secrets(tx, entry.id, at_jobs=tx.jobs.of_entry(entry.id))
            for job in unfinished(tx.jobs.of_entry(entry.id)):
                if matches.get(job.id) is False:
                    fail(tx, job, checksum_failure(job), at)
                elif wants_check(job):
                    tx.jobs.update(replace(job, force=False))
            settle(tx, entry.id, at, verified=matches)
            _make_current(tx, entry.id, at)

        await self.replicas.write(work)
        self.told.selections.pop(replica.id, None)
        if status.engine_state != SEEDING:
            self.board.statuses.pop(replica.id, None)

    async def _once_more(self, found: Found) -> None:
        """None of the claimants' checksums matches: everything is fetched anew, once; a torrent is checked."""
        await self.node(found.replica.node_id).cancel(found.replica.engine, found.replica.id)

        def work(tx: Transaction, noted: list[Replica]) -> None:
            at = self.clock.now()
            current = tx.cache.replica(found.replica.id)
            if current is None or current.state is not ReplicaState.FILLING:
                return
            reason = Reason(code=ReasonCode.RETRY, message="the checksum does not match; fetching it anew, once")
            afresh = parse_key(found.entry.key).kind is not KeyKind.HASH
            again = replace(moved(current, ReplicaState.WAITING, at=at, reason=reason), afresh=afresh, handle=None)
            tx.cache.update_replica(again)
            noted.append(again)
            for job in unfinished(tx.jobs.of_entry(current.entry_id)):
                job = tx.jobs.update(replace(job, force=job.force or job.checksum is not None))
                if job.state is JobState.ACTIVE:
                    requeue(tx, job, Signal.YIELD, at, reason)

        await self.replicas.write(work)
        self.told.selections.pop(found.replica.id, None)
        self.board.statuses.pop(found.replica.id, None)


def _stand_aside(
    tx: Transaction, noted: list[Replica], ready: Replica, files: Sequence[EntryFile], at: datetime, good: Set[int]
) -> Sequence[EntryFile]:
    """One replica of an entry is ready: what was or is filled beside it goes, and so does a ready one that has not all
    of these files, under the same names. What only that one had is not ready any more. Answers the files."""
    others = [
        found for found in tx.cache.replicas_of(ready.entry_id)
        if found.id != ready.id and found.state is not ReplicaState.DELETING
    ]  # fmt: skip
    if not others:
        return files
    before = {file.index: file.disk_path for file in tx.cache.files(ready.entry_id) if file.ready}
    same = all(before.get(file.index) == file.disk_path for file in files if file.index in good)
    for other in others:
        if other.state in {ReplicaState.READY, ReplicaState.COPYING} and same:
            continue
        going = moved(other, ReplicaState.DELETING, at=at)
        tx.cache.update_replica(going)
        noted.append(going)
    return [replace(file, ready=file.index in good) for file in files]


def _deserves_another(found: Found, matches: Mapping[JobId, bool]) -> bool:
    """None of the claimants' checksums matches, this is no fresh generation for any of them, and nobody has the
    files that are there already: then they are not fetched anew in their place."""
    return (
        bool(matches)
        and not any(matches.values())
        and not any(job.force or job.state is JobState.COMPLETED for job in found.jobs)
    )


def _make_current(tx: Transaction, entry_id: EntryId, at: datetime) -> None:
    """A forced generation becomes the one that others join when it is complete; the old one stays for those who
    claim it. One whose checksums all failed replaces nothing."""
    entry = tx.cache.entry(entry_id)
    if entry is None or entry.current:
        return
    old = tx.cache.current_entry(entry.key)
    if old is not None:
        if all(job.state is JobState.FAILED for job in tx.jobs.of_entry(entry_id)):
            return
        tx.cache.update_entry(replace(old, current=False))
    tx.cache.update_entry(replace(entry, current=True))
    if old is not None:
        release(tx, old.id, at)


def _nothing(files: Sequence[EntryFile], wanted: frozenset[int]) -> Failure:
    failed = next((file.failed for file in files if file.index in wanted and file.failed), None)
    if failed:
        return Failure(code=FailureCode.NO_FILES, message=f"none of its files can be had: {failed}")
    if files:
        return Failure(code=FailureCode.BAD_SELECTION, message="the selection names none of its files")
    return Failure(code=FailureCode.NO_FILES, message="the download ended without a single file", retry=Retry.PASSING)


def _short(declared: Sequence[EntryFile], sizes: Mapping[int, Bytes | None]) -> Failure | None:
    """What is wrong with files that an engine calls complete."""
    for file in declared:
        size = sizes.get(file.index)
        if size is None:
            return Failure(
                code=FailureCode.SHORT_READ, message=f"{file.path} is not there or not complete", retry=Retry.PASSING
            )
        if file.size is not None and size < file.size:
            return Failure(
                code=FailureCode.SHORT_READ,
                message=f"{file.path} has {size} of {file.size} bytes",
                retry=Retry.PASSING,
            )
        if file.size is not None and size > file.size:
            return Failure(
                code=FailureCode.ORIGIN_CHANGED,
                message=f"{file.path} has {size} bytes and should have {file.size}",
                retry=Retry.AFRESH,
            )
    return None
