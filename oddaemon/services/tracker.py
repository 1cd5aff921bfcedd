"""Applies what engines report: replica and job transitions and their events, each in one unit of work.

An engine's own "complete" is a claim, not a fact: files are looked at on disk before anything is called ready.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from oddaemon.domain.admission import Limits, human_time
from oddaemon.domain.cache import CacheEntry, EntryFile, KeyKind, Replica, ReplicaState, is_hit, moved, parse_key
from oddaemon.domain.errors import InvalidArgument, NotFound, Unavailable
from oddaemon.domain.events import CacheHit
from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode, Retry
from oddaemon.domain.files import SafeRelativePath, content_type_of, display_name, display_path
from oddaemon.domain.job import Job, JobState, Signal
from oddaemon.domain.selection import ALL
from oddaemon.domain.types import Bytes, EntryId, JobId, NodeId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import FillFile, FillStatus
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Material, Store, Transaction
from oddaemon.services.board import Board
from oddaemon.services.claims import (
    distinct_paths,
    fail,
    job_event,
    join,
    release,
    requeue,
    settle,
    wanted_by,
    wants_check,
    with_figures,
)
from oddaemon.services.filling import Filler
from oddaemon.services.joint_wishes import rates_of, source_for, unfinished, union_selection, wanting
from oddaemon.services.replicas import Replicas
from oddaemon.services.stopping import Stopper
from oddaemon.services.stored import too_large
from oddaemon.services.told import Told

log = logging.getLogger(__name__)

SEEDING = "seeding"
MORE_WANTED = Reason(code=ReasonCode.QUEUED, message="more of its files are wanted")


def entry_file(file: FillFile, known: EntryFile | None) -> EntryFile:
    """An engine's file for the store. Its path is for people only; its place on disk has to be a safe relative path.
    Raises InvalidArgument for an engine that names an unsafe place."""
    disk_path = str(SafeRelativePath.parse(file.disk_path)) if file.disk_path else ""
    path = display_path(file.path)
    if known is not None and known.disk_path == disk_path and known.ready:
        return replace(known, failed=file.failed)
    return EntryFile(
        index=file.index,
        path=path,
        disk_path=disk_path,
        size=file.size,
        content_type=file.content_type or content_type_of(path),
        failed=file.failed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A replica with what belongs to it, as one consistent view."""

    replica: Replica
    entry: CacheEntry
    jobs: Sequence[Job]
    files: Mapping[int, EntryFile]


@dataclass(slots=True)
class Tracker:
    store: Store
    clock: Clock
    node: Callable[[NodeId | None], NodeClient]
    board: Board
    replicas: Replicas
    told: Told
    filler: Filler
    stopper: Stopper
    limits: Callable[[], Limits]
    wake: Callable[[], None]
    files_seen: dict[object, int] = field(default_factory=dict)
    """The `files_rev` of each replica whose file list is stored."""

    async def _load(self, replica: Replica) -> _Found | None:
        def work(tx: Transaction) -> _Found | None:
            current = tx.cache.replica(replica.id)
            entry = tx.cache.entry(replica.entry_id)
            if current is None or entry is None:
                return None
            files = {file.index: file for file in tx.cache.files(entry.id)}
            return _Found(replica=current, entry=entry, jobs=tx.jobs.of_entry(entry.id), files=files)

        return await self.store.read(work)

    # while it runs

    async def files_changed(self, replica: Replica, status: FillStatus) -> None:
        """The engine knows something new about the files: names, sizes, or which are finished. Jobs whose files are all
        there complete now, whoever else still waits."""
        async with self.replicas.alone(replica.id):
            found = await self._load(replica)
            if found is None or found.replica.state is not ReplicaState.FILLING:
                return
            node = self.node(replica.node_id)
            reported = await node.list_files(replica.engine, replica.id)
            if not reported:
                return
            files = distinct_paths([entry_file(file, found.files.get(file.index)) for file in reported])
            finished = {file.index for file in reported if file.finished and file.disk_path}
            candidates = [file for file in files if file.index in finished and not file.ready]
            sizes = await node.verify(replica.id, candidates) if candidates else {}
            ready = {file.index for file in candidates if file.size is not None and sizes.get(file.index) == file.size}
            files = [replace(file, ready=True) if file.index in ready else file for file in files]
            # before anything is settled: nobody else's job may complete with a private torrent's files
            split = await self._split_private(found, status)

            def work(tx: Transaction) -> None:
                at = self.clock.now()
                entry = tx.cache.entry(found.entry.id)
                current = tx.cache.replica(replica.id)
                if entry is None or current is None or current.state is not ReplicaState.FILLING:
                    return
                tx.cache.put_files(entry.id, files)
                name = entry.name or (display_name(status.name) if status.name else None)
                tx.cache.update_entry(replace(entry, files_known=True, name=name, total_size=_total(files)))
                settle(tx, entry.id, at)

            await self.store.write(work)
            self.files_seen[replica.id] = status.files_rev
            if split:
                # begun with everybody's trackers: begins again with its owner's own
                await self.node(replica.node_id).cancel(replica.engine, replica.id)
            else:
                await self._follow_selection(replica)
        self.wake()

    async def figures(self, replica: Replica) -> None:
        """Progress of each job's own selection, for jobs that want different files of one download."""
        found = await self._load(replica)
        if found is None:
            return
        jobs = unfinished(found.jobs)
        files = [found.files[index] for index in sorted(found.files)]
        wanted = {job.id: wanted_by(job, files) for job in jobs}
        if len(set(wanted.values())) < 2:
            for job in jobs:
                self.board.job_done.pop(job.id, None)
            return
        reported = await self.node(replica.node_id).list_files(replica.engine, replica.id)
        done = {file.index: file.done for file in reported}
        self.board.file_progress[replica.id] = {file.index: file for file in reported}
        for job in jobs:
            figure = Bytes(sum(done.get(index, 0) for index in wanted[job.id]))
            self.board.job_done[job.id] = (figure, with_figures(job, files, wanted[job.id]).size)

    async def selection_changed(self, replica: Replica) -> None:
        """A claimant came, went or selected other files."""
        async with self.replicas.alone(replica.id):
            await self._follow_selection(replica)

    async def _follow_selection(self, replica: Replica) -> None:
        found = await self._load(replica)
        if found is None or found.replica.state is not ReplicaState.FILLING:
            return
        await self.follow_limits(replica, unfinished(found.jobs))
        await self._follow_trackers(found)
        jobs = wanting(found.jobs)
        if not jobs or not found.entry.files_known:
            return
        can_select = self.board.can_select(replica)
        files = [found.files[index] for index in sorted(found.files)]
        selection = union_selection(jobs, files, files_known=True, can_select=can_select)
        if self.told.selections.get(replica.id) != selection and can_select:
            await self.node(replica.node_id).select(replica.engine, replica.id, selection)
            self.told.selections[replica.id] = selection

    async def follow_limits(self, replica: Replica, jobs: Sequence[Job]) -> None:
        """The loosest of the claimants' speed limits holds, also when one of them changes or leaves."""
        rates = rates_of(jobs)
        if jobs and self.told.rates.get(replica.id, rates) != rates:
            node = self.node(replica.node_id)
            await node.limit(replica.engine, replica.id, down=rates[0], up=rates[1])
            self.told.rates[replica.id] = rates

    async def _follow_trackers(self, found: _Found) -> None:
        """A torrent is looked for at the trackers of those who join it too. aria2 takes no new ones while it runs
        (measured on 1.36, with the metadata and with the content): it begins again from the bytes that are there."""
        replica, jobs = found.replica, unfinished(found.jobs)
        given = self.told.trackers.get(replica.id)
        if given is None or not jobs or given >= set(source_for(found.entry, jobs).trackers):
            return
        await self.node(replica.node_id).cancel(replica.engine, replica.id)
        await self.filler.renew(replica.id)

    async def _split_private(self, found: _Found, status: FillStatus) -> bool:
        """A torrent that turns out to be private: the first claimant keeps the replica, every other user starts on
        their own. Whether anybody left; also when its owner has another copy and joins that."""
        if not status.private or found.entry.owner is not None:
            return False

        def work(tx: Transaction, noted: list[Replica]) -> bool:
            at = self.clock.now()
            entry = tx.cache.entry(found.entry.id)
            if entry is None or entry.owner is not None:
                return False
            jobs = tx.jobs.of_entry(entry.id)
            if not jobs:
                return False
            owner = jobs[0].user_id
            key = parse_key(entry.key)
            mine = key.private_to(owner)
            others = tx.cache.generations(mine.full)
            has_one = tx.cache.current_entry(mine.full) is not None
            generation = max((found.generation for found in others), default=0) + 1
            tx.cache.update_entry(
                replace(entry, key=mine.full, owner=owner, generation=generation, current=entry.current and not has_one)
            )
            left = False
            for job in jobs:
                if job.user_id == owner and not has_one:
                    tx.jobs.update(replace(job, cache_key=mine.full))
                    continue
                left = True
                reason = Reason(code=ReasonCode.QUEUED, message="a private torrent: downloaded for you alone")
                if job.state is JobState.ACTIVE:
                    job = requeue(tx, job, Signal.YIELD, at, reason)
                if job.finished:
                    # a retry finds its own copy
                    tx.jobs.update(replace(job, entry_id=None, cache_key=None, node_id=None, updated_at=at))
                else:
                    join(tx, replace(job, entry_id=None), key.private_to(job.user_id), at=at)
            if release(tx, entry.id, at):
                noted += tx.cache.replicas_of(entry.id)
            return left

        left = await self.replicas.write(work)
        if left:
            log.info("private torrent split", extra={"action": "private_split", "replica": str(found.replica.id)})
        return left

    async def too_large(self, replica: Replica, size: Bytes) -> None:
        """All that is wanted is more than one download, or all that a user stores, may be. Each job answers for its own
        selection; while the files are unknown, for everything."""
        limits = self.limits()
        found = await self._load(replica)
        if found is None:
            return
        files = [found.files[index] for index in sorted(found.files)]
        if not found.entry.files_known and any(job.selection != ALL for job in unfinished(found.jobs)):
            # one that ended at once told of its files and of its end together
            reported = await self.node(replica.node_id).list_files(replica.engine, replica.id)
            files = [entry_file(file, None) for file in reported]

        def work(tx: Transaction) -> tuple[Failure | None, bool]:
            """Why the jobs failed that are too large, and whether others are left."""
            at, jobs = self.clock.now(), tx.jobs.of_entry(replica.entry_id)
            sharers = len({job.user_id for job in jobs if job.state is not JobState.CANCELLED})
            last: Failure | None = None
            for job in unfinished(jobs):
                selected = with_figures(job, files, wanted_by(job, files)).size if files else None
                owner = tx.users.get(job.user_id)
                its = size if selected is None else selected
                failure = too_large(job, its, limits, None if owner is None else owner.limits, sharers)
                if failure is not None:
                    fail(tx, job, failure, at)
                    last = failure
            return last, any(not job.finished for job in tx.jobs.of_entry(replica.entry_id))

        async with self.replicas.alone(replica.id):
            failure, others = await self.store.write(work)
            if failure is not None and others:
                await self._follow_selection(replica)
        if failure is not None and not others:
            await self._end(replica, failure, Bytes(0))
        elif failure is not None:
            self.wake()

    async def failed(self, replica: Replica, status: FillStatus) -> None:
        failure = status.failure or Failure(
            code=FailureCode.ENGINE, message="the engine gave no reason", retry=Retry.PASSING
        )
        await self._end(replica, failure, status.done)

    async def no_progress(self, replica: Replica, idle: Seconds) -> None:
        failure = Failure(code=FailureCode.NO_PROGRESS, message=f"not one byte came for {human_time(idle)}")
        await self._end(replica, failure, Bytes(0))

    async def _end(self, replica: Replica, failure: Failure, done: Bytes) -> None:
        async with self.replicas.alone(replica.id):
            try:
                await self.node(replica.node_id).cancel(replica.engine, replica.id)
            except Unavailable as error:
                log.info("cancel not delivered", extra={"action": "cancel_undelivered", "error": error.message})
            await self.stopper.attempt_failed(replica.id, failure, done)
        self.files_seen.pop(replica.id, None)
        self.wake()

    # the end

    async def completed(self, replica: Replica, status: FillStatus) -> None:
        """The engine says that every wanted file is there. If that is so, the replica is ready and its jobs complete;
        if not, the attempt has failed."""
        async with self.replicas.alone(replica.id):
            found = await self._load(replica)
            if found is None or found.replica.state is not ReplicaState.FILLING:
                return
            try:
                if await self._split_private(found, status):
                    found = await self._load(replica)
                if found is not None and found.replica.state is ReplicaState.FILLING:
                    await self._complete(found, status)
            except InvalidArgument as error:
                failure = Failure(code=FailureCode.ENGINE, message=f"the engine named an unsafe path: {error.message}")
                await self.stopper.attempt_failed(replica.id, failure, status.done)
        self.files_seen.pop(replica.id, None)
        self.wake()

    async def _complete(self, found: _Found, status: FillStatus) -> None:
        replica, node = found.replica, self.node(found.replica.node_id)
        reported = await node.list_files(replica.engine, replica.id)
        files = distinct_paths([entry_file(file, found.files.get(file.index)) for file in reported])
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
        files = [replace(file, size=good[file.index], ready=True) if file.index in good else file for file in files]
        matches = await self._checksums(replica, jobs, files)
        if self._deserves_another(found, matches):
            await self._once_more(found)
            return
        await self._store_ready(found, status, files, matches)
        if status.engine_state != SEEDING:
            try:
                await node.forget(replica.engine, replica.id)
            except Unavailable as error:
                # the next comparison finds it and forgets it then
                log.info("forget not delivered", extra={"action": "forget_undelivered", "error": error.message})

    def _deserves_another(self, found: _Found, matches: Mapping[JobId, bool]) -> bool:
        """None of the claimants' checksums matches, this is no fresh generation for any of them, and nobody has the
        files that are there already: then they are not fetched anew in their place."""
        return (
            bool(matches)
            and not any(matches.values())
            and not any(job.force or job.state is JobState.COMPLETED for job in found.jobs)
        )

    def _was_asked_for(self, replica: Replica, files: Sequence[EntryFile], wanted: frozenset[int]) -> bool:
        asked = self.told.selections.get(replica.id)
        return asked is None or wanted <= asked

    async def _ask_again(self, found: _Found, files: Sequence[EntryFile]) -> None:
        """The engine ended before it heard of the whole selection: nobody's failed attempt, it starts again with it."""
        await self.node(found.replica.node_id).cancel(found.replica.engine, found.replica.id)

        def work(tx: Transaction) -> None:
            entry = tx.cache.entry(found.entry.id)
            if entry is not None:
                tx.cache.put_files(entry.id, files)
                tx.cache.update_entry(replace(entry, files_known=True, total_size=_total(files)))
                settle(tx, entry.id, self.clock.now())

        await self.store.write(work)
        await self.stopper.to_waiting(found.replica.id, MORE_WANTED)

    async def _store_ready(
        self, found: _Found, status: FillStatus, files: Sequence[EntryFile], matches: Mapping[JobId, bool]
    ) -> None:
        replica = found.replica

        def work(tx: Transaction, noted: list[Replica]) -> None:
            at = self.clock.now()
            current = tx.cache.replica(replica.id)
            entry = tx.cache.entry(replica.entry_id)
            if current is None or entry is None or current.state is not ReplicaState.FILLING:
                return
            total = _total([file for file in files if file.ready])
            ready = replace(
                moved(current, ReplicaState.READY, at=at), done=total, wanted=total, attempts=0, error=None,
                next_try_at=None, progress_at=at,
            )  # fmt: skip
            tx.cache.put_files(entry.id, files)
            tx.cache.update_replica(ready)
            noted.append(ready)
            name = (display_name(status.name) if status.name else None) or entry.name or files[0].path
            tx.cache.update_entry(
                replace(
                    entry, name=name, files_known=True, total_size=_total(files), complete_at=at, last_used_at=at,
                )
            )  # fmt: skip
            self._erase_secrets(tx, replica, at_jobs=tx.jobs.of_entry(entry.id))
            for job in unfinished(tx.jobs.of_entry(entry.id)):
                if matches.get(job.id) is False:
                    fail(tx, job, _checksum_failure(job), at)
                elif wants_check(job):
                    tx.jobs.update(replace(job, force=False))
            settle(tx, entry.id, at, verified=matches)
            self._make_current(tx, entry.id, at)

        await self.replicas.write(work)
        self.told.selections.pop(replica.id, None)
        if status.engine_state != SEEDING:
            self.board.statuses.pop(replica.id, None)

    def _make_current(self, tx: Transaction, entry_id: EntryId, at: datetime) -> None:
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

    def _erase_secrets(self, tx: Transaction, replica: Replica, *, at_jobs: Sequence[Job]) -> None:
        tx.materials.erase_secrets(replica.id)
        for job in at_jobs:
            theirs = tx.materials.of_job(job.id)
            if theirs is not None and theirs.secrets is not None:
                tx.materials.put_for_job(job.id, Material(torrent=theirs.torrent, erased=True))

    # checksums

    async def _checksums(
        self, replica: Replica, jobs: Sequence[Job], files: Sequence[EntryFile]
    ) -> Mapping[JobId, bool]:
        """Whether each job that asked for a checksum has it. One digest per algorithm is computed."""
        digests: dict[tuple[str, str], str] = {}
        matches: dict[JobId, bool] = {}
        for job in jobs:
            if job.checksum is None:
                continue
            wanted = [file for file in files if file.index in wanted_by(job, files) and file.ready]
            algorithm, _, expected = job.checksum.partition("=")
            if len(wanted) != 1:
                continue  # nothing to compare: settling it fails it
            place = (wanted[0].disk_path, algorithm)
            if place not in digests:
                node = self.node(replica.node_id)
                try:
                    digests[place] = await node.checksum(replica.id, wanted[0].disk_path, algorithm)
                except NotFound:
                    digests[place] = ""
            matches[job.id] = digests[place] == expected
        return matches

    async def check_ready(self, entry_id: EntryId) -> None:
        """Jobs with a checksum that joined an entry whose files are ready."""

        def look_up(tx: Transaction) -> _Found | None:
            entry = tx.cache.entry(entry_id)
            ready = [found for found in tx.cache.replicas_of(entry_id) if found.state is ReplicaState.READY]
            if entry is None or not ready:
                return None
            files = {file.index: file for file in tx.cache.files(entry_id)}
            return _Found(replica=ready[0], entry=entry, jobs=tx.jobs.of_entry(entry_id), files=files)

        first = await self.store.read(look_up)
        if first is None:
            return
        async with self.replicas.alone(first.replica.id):
            found = await self.store.read(look_up)
            if found is not None:
                await self._verify_ready(found)
        self.wake()

    async def _verify_ready(self, found: _Found) -> None:
        files = list(found.files.values())
        matches = await self._checksums(found.replica, to_verify(found.jobs, files), files)
        trusted = any(matches.values()) or any(job.finished and job.checksum for job in found.jobs)

        def work(tx: Transaction) -> None:
            at = self.clock.now()
            for job in unfinished(tx.jobs.of_entry(found.entry.id)):
                verdict = matches.get(job.id)
                if verdict and job.started_at is None:
                    # it only waited for this look at what was there
                    tx.jobs.update(replace(job, cache_hit=True))
                    tx.cache.touch(found.entry.id, at, hit=True)
                    tx.events.add(job_event(CacheHit, job, at, key=found.entry.key))
                if verdict is not False:
                    continue
                if trusted:
                    fail(tx, job, _checksum_failure(job), at)
                else:
                    # nobody's checksum matches what is here: one fresh generation
                    join(tx, replace(job, entry_id=None, force=True), parse_key(found.entry.key), at=at)
            settle(tx, found.entry.id, at, verified=matches)
            release(tx, found.entry.id, at)

        await self.store.write(work)

    async def _once_more(self, found: _Found) -> None:
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


def to_verify(jobs: Sequence[Job], files: Sequence[EntryFile]) -> list[Job]:
    """Those that wait for nothing any more but their checksum."""
    return [
        job
        for job in unfinished(jobs)
        if job.checksum is not None
        and not wants_check(job)
        and is_hit(files, wanted_by(job, files), files_known=True)
    ]


def _total(files: Sequence[EntryFile]) -> Bytes:
    return Bytes(sum(file.size or 0 for file in files))


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


def _checksum_failure(job: Job) -> Failure:
    return Failure(
        code=FailureCode.CHECKSUM,
        message=f"the file does not have the checksum {job.checksum}",
    )
