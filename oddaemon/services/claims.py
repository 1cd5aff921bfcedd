"""How jobs, entries and replicas hang together: the steps that every service takes inside its own unit of work.

Plain functions of a transaction. A state changes only through `domain.job.advance` and `domain.cache.moved`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from oddaemon.domain.cache import (
    CacheEntry,
    CacheKey,
    EntryFile,
    KeyKind,
    Replica,
    ReplicaState,
    at_work,
    is_hit,
    moved,
    parse_key,
)
from oddaemon.domain.errors import InvalidSelection
from oddaemon.domain.events import (
    CacheHit,
    Event,
    JobCancelled,
    JobChanged,
    JobCompleted,
    JobFailed,
    JobQueued,
    JobRemoved,
)
from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode
from oddaemon.domain.job import Hold, Job, JobState, Signal, advance
from oddaemon.domain.selection import select
from oddaemon.domain.types import Bytes, EntryId, JobId, LinkId
from oddaemon.ports.store import Material, Transaction
from oddaemon.services import ids


def job_event(kind: type[Event], job: Job, at: datetime, /, **data: object) -> Event:
    return kind(at=at, job_id=job.id, job_number=job.number, user_id=job.user_id, node_id=job.node_id, data=data)


def wanted_by(job: Job, files: Sequence[EntryFile]) -> frozenset[int]:
    """Indices of the files that the job wants; empty when its selection names none of them."""
    try:
        return select(job.selection, files)
    except InvalidSelection:
        return frozenset()


def with_figures(job: Job, files: Sequence[EntryFile], wanted: Collection[int]) -> Job:
    """The job with the sizes of its selection."""
    chosen = [file for file in files if file.index in wanted and file.failed is None]
    known = bool(chosen) and all(file.size is not None for file in chosen)
    size = Bytes(sum(file.size or 0 for file in chosen)) if known else job.size
    failed = sum(1 for file in files if file.index in wanted and file.failed is not None)
    return replace(job, size=size, files_total=len(files), files_selected=len(wanted), files_failed=failed)


def live_replica(tx: Transaction, entry_id: EntryId) -> Replica | None:
    """The entry's replica that its unfinished jobs go by: see domain.cache.at_work."""
    return at_work(tx.cache.replicas_of(entry_id))


def ready_elsewhere(tx: Transaction, replica: Replica) -> list[Replica]:
    """Other replicas of the same entry that are ready."""
    return [
        found for found in tx.cache.replicas_of(replica.entry_id)
        if found.id != replica.id and found.state is ReplicaState.READY
    ]  # fmt: skip


def entry_to_join(tx: Transaction, job: Job, key: CacheKey, at: datetime) -> CacheEntry:
    """The entry that an add of this key joins, created if need be. A forced URL gets a generation of its own, unless
    one is still being filled."""
    current = tx.cache.current_entry(key.full)
    if current is not None and (not job.force or key.kind is KeyKind.HASH):
        return current
    generations = tx.cache.generations(key.full)
    unfinished = next((found for found in reversed(generations) if found.complete_at is None), None)
    if unfinished is not None:
        return unfinished
    entry = CacheEntry(
        id=ids.new_entry_id(),
        key=key.full,
        generation=max((found.generation for found in generations), default=0) + 1,
        engine=key.engine,
        created_at=at,
        current=current is None,
        owner=key.owner,
        last_used_at=at,
    )
    tx.cache.insert_entry(entry)
    return entry


def join(
    tx: Transaction, job: Job, key: CacheKey, *, at: datetime, name: str | None = None, size: Bytes | None = None,
    files: Sequence[EntryFile] = (), on_disk: Mapping[EntryId, bool] | None = None, new: bool = False,
) -> Job:  # fmt: skip
    """Makes the job a claim on the entry of its key, in this transaction. A `new` job is inserted by that.

    `on_disk` tells, by entry, whether its ready files were just seen on disk: only such an entry can be a hit.
    `files` are what the source itself tells (an uploaded torrent).
    """
    entry = stored = entry_to_join(tx, job, key, at)
    if files and not entry.files_known:
        tx.cache.put_files(entry.id, files)
        entry = replace(entry, files_known=True, total_size=Bytes(sum(file.size or 0 for file in files)))
    entry = replace(entry, name=entry.name or name, kept=False)
    replica = live_replica(tx, entry.id)
    job = replace(
        job,
        entry_id=entry.id,
        engine=key.engine,
        cache_key=key.full,
        # nothing to check where nothing is ready, nor what is being filled
        force=job.force and (key.kind is not KeyKind.HASH or _is_ready(replica)),
        reason=job.reason if job.hold is Hold.USER else None,
        attempts=0,
        next_try_at=None,
        name=job.name if job.renamed else entry.name or job.name,
        size=job.size or size,
        updated_at=at,
        engine_state=None,
    )
    if replica is not None:
        if replica.state is ReplicaState.FAILED:
            tx.cache.update_replica(revived(replica, at))
        job = replace(job, node_id=replica.node_id)
    if on_disk is not None and on_disk.get(entry.id) and not wants_check(job):
        found = tx.cache.files(entry.id)
        if is_hit(found, wanted_by(job, found), files_known=entry.files_known) and job.checksum is None:
            if entry != stored:
                tx.cache.update_entry(entry)
            tx.cache.touch(entry.id, at, hit=True)
            tx.events.add(job_event(CacheHit, job, at, key=key.full))
            return complete(tx, replace(job, cache_hit=True), found, at, new=new)
    if (used := replace(entry, last_used_at=at)) != stored:
        tx.cache.update_entry(used)
    return tx.jobs.insert(job) if new else tx.jobs.update(job)


def revived(replica: Replica, at: datetime) -> Replica:
    """A failed replica that is tried again because someone asked: the count starts anew."""
    waiting = moved(replica, ReplicaState.WAITING, at=at)
    return replace(waiting, attempts=0, next_try_at=None, error=None, progress_at=at)


def _is_ready(replica: Replica | None) -> bool:
    return replica is not None and replica.state is ReplicaState.READY


def wants_check(job: Job) -> bool:
    """Whether the job waits for its torrent to be checked piece by piece and repaired. Those who have the content keep
    it meanwhile: its files stay ready."""
    return (
        job.force
        and job.entry_id is not None
        and job.cache_key is not None
        and parse_key(job.cache_key).kind is KeyKind.HASH
    )


def at_rest(tx: Transaction, replica: Replica, at: datetime) -> Replica:
    """A replica that nobody waits for any more: with files that are ready it is ready, whatever it was doing. Beside
    another one that is ready it goes."""
    if replica.state is not ReplicaState.READY and ready_elsewhere(tx, replica):
        return moved(replica, ReplicaState.DELETING, at=at)
    if not any(file.ready for file in tx.cache.files(replica.entry_id)):
        return replica
    if replica.state is ReplicaState.READY:
        return replica
    return replace(moved(replica, ReplicaState.READY, at=at), attempts=0, next_try_at=None, error=None)


def complete(tx: Transaction, job: Job, files: Sequence[EntryFile], at: datetime, *, new: bool = False) -> Job:
    """The job's files are there and verified. A `new` job is inserted as completed."""
    wanted = wanted_by(job, files)
    job = with_figures(advance(job, Signal.COMPLETE, at=at), files, wanted)
    job = replace(job, done=job.size or Bytes(0), force=False)
    job = tx.jobs.insert(job) if new else tx.jobs.update(job)
    had = job.files_selected - job.files_failed
    tx.events.add(job_event(JobCompleted, job, at, hit=job.cache_hit, files=had, of=job.files_selected))
    return job


def fail(tx: Transaction, job: Job, failure: Failure, at: datetime) -> Job:
    job = tx.jobs.update(advance(job, Signal.FAIL, at=at, failure=failure))
    tx.events.add(job_event(JobFailed, job, at, code=str(failure.code), message=failure.message))
    return job


def requeue(
    tx: Transaction, job: Job, signal: Signal, at: datetime, reason: Reason | None, hold: Hold | None = None
) -> Job:
    """Back to the queue, with the reason that people see."""
    job = advance(job, signal, at=at, reason=reason)
    job = tx.jobs.update(job if hold is None else replace(job, hold=hold))
    data = {} if reason is None else {"reason": str(reason.code), "message": reason.message}
    tx.events.add(job_event(JobQueued, job, at, **data))
    return job


def put_off(tx: Transaction, job: Job, why: Reason) -> None:
    """One that is queued stays so, after a look at its source that failed: its log tells of each."""
    job = tx.jobs.update(job)
    tx.events.add(job_event(JobQueued, job, job.updated_at, reason=str(why.code), message=why.message))


def claimants(tx: Transaction, entry_id: EntryId) -> Sequence[Job]:
    """Jobs that claim the entry: all but the cancelled."""
    return [job for job in tx.jobs.of_entry(entry_id) if job.state is not JobState.CANCELLED]


def settle(
    tx: Transaction, entry_id: EntryId, at: datetime, *, verified: Mapping[JobId, bool] | None = None,
    there: bool = True,
) -> Sequence[Job]:  # fmt: skip
    """Completes every unfinished job whose files are ready, held or not, and keeps the sizes of the others true. None
    completes unless the ready files are `there`: seen on the disk a moment ago.

    A job that asked for a checksum completes only when `verified` says that it matches, one that asked for a check only
    after that. Answers the jobs that it completed.
    """
    entry = tx.cache.entry(entry_id)
    if entry is None or not entry.files_known:
        return ()
    files = tx.cache.files(entry_id)
    done: list[Job] = []
    for job in tx.jobs.unfinished_of(entry_id):
        wanted = wanted_by(job, files)
        if not wanted:
            failure = Failure(
                code=FailureCode.BAD_SELECTION,
                message=f"no file matches {job.selection!r}",
                hint=f"odctl files {job.number} lists them; odctl select {job.number} …, then odctl retry {job.number}",
            )
            fail(tx, job, failure, at)
        elif job.checksum is not None and len(wanted) != 1:
            failure = Failure(
                code=FailureCode.CHECKSUM,
                message=f"a checksum is of one file, and {len(wanted)} are selected",
                hint=f"odctl files {job.number} lists them; odctl select {job.number} …, then odctl retry {job.number}",
            )
            fail(tx, job, failure, at)
        elif (
            there
            and is_hit(files, wanted, files_known=True)
            and not wants_check(job)
            and (job.checksum is None or (verified or {}).get(job.id))
        ):
            named = replace(job, name=entry.name) if entry.name and not job.renamed else job
            done.append(complete(tx, named, files, at))
        else:
            changed = with_figures(job, files, wanted)
            if not job.renamed and entry.name:
                changed = replace(changed, name=entry.name)
            if changed != job:
                tx.jobs.update(changed)
                tx.events.add(job_event(JobChanged, changed, at))
    return done


def mark_missing(
    tx: Transaction, entry: CacheEntry, replica: Replica, bad: Collection[int], at: datetime
) -> Sequence[Job]:
    """Ready files are gone or of another size, with the disk present: they are filled again, and the completed jobs
    that want them go back to the queue. Answers those jobs. Where another replica has them that can be reached, this
    one goes, and no job notices."""
    if replica.state is ReplicaState.READY and any(_is_online(tx, found) for found in ready_elsewhere(tx, replica)):
        tx.cache.update_replica(moved(replica, ReplicaState.DELETING, at=at))
        return []
    reason = Reason(
        code=ReasonCode.FILES_MISSING,
        message=f"{len(bad)} of its files are gone from the disk or were changed; fetching them again",
    )
    files = tx.cache.files(entry.id)
    changed = [replace(file, ready=False) for file in files if file.index in bad]
    tx.cache.put_files(entry.id, changed)
    if replica.state is ReplicaState.READY:
        missing = moved(replica, ReplicaState.MISSING, at=at, reason=reason)
        # what is gone needs its room again, and has its time to come
        left = Bytes(sum(file.size or 0 for file in files if file.ready and file.index not in bad))
        tx.cache.update_replica(replace(missing, done=left, progress_at=at, attempts=0, next_try_at=None))
    tx.cache.update_entry(replace(entry, complete_at=None))
    return [
        requeue(tx, job, Signal.REFILL, at, reason)
        for job in tx.jobs.of_entry(entry.id)
        if job.state is JobState.COMPLETED and wanted_by(job, files) & set(bad)
    ]


def _is_online(tx: Transaction, replica: Replica) -> bool:
    node = tx.nodes.get(replica.node_id)
    return node is not None and node.online


def release(tx: Transaction, entry_id: EntryId, at: datetime) -> bool:
    """Lets the entry go when no claim is left and nothing keeps it: its replicas are to be deleted, and the entry with
    the last of them. Answers whether it goes."""
    entry = tx.cache.entry(entry_id)
    if entry is None or entry.pinned or entry.kept or claimants(tx, entry_id):
        return False
    discard(tx, entry, at)
    return True


def discard(tx: Transaction, entry: CacheEntry, at: datetime) -> None:
    """Marks every replica for deletion; an entry without any goes at once."""
    replicas = tx.cache.replicas_of(entry.id)
    for replica in replicas:
        if replica.state is not ReplicaState.DELETING:
            tx.cache.update_replica(moved(replica, ReplicaState.DELETING, at=at))
    files = [replace(file, ready=False) for file in tx.cache.files(entry.id) if file.ready]
    if files:
        tx.cache.put_files(entry.id, files)
    heir = _heir(tx, entry) if entry.current else None
    if entry.complete_at is not None or heir is not None:
        tx.cache.update_entry(replace(entry, complete_at=None, current=entry.current and heir is None))
    if heir is not None:
        tx.cache.update_entry(replace(heir, current=True))
    if not replicas:
        tx.cache.delete_entry(entry.id)


def _heir(tx: Transaction, entry: CacheEntry) -> CacheEntry | None:
    """The generation that adds join when this one goes: the newest that is complete, else the newest."""
    others = [found for found in tx.cache.generations(entry.key) if found.id != entry.id]
    staying = [found for found in others if live_replica(tx, found.id) is not None]
    return max(staying, key=lambda found: (found.complete_at is not None, found.generation), default=None)


def revoke_links(tx: Transaction, job: Job, at: datetime) -> list[LinkId]:
    """The job's links that lived until now."""
    dead = [link.id for link in tx.links.of_job(job.id) if link.revoked_at is None]
    tx.links.revoke(dead, at)
    return dead


def drop(tx: Transaction, job: Job, at: datetime, *, keep_data: bool) -> list[LinkId]:
    """Removes the job: its claim ends, and with the last claim the content, unless `keep_data` keeps what is complete.
    Its links that lived until now are revoked and answered: the file servers have to be told."""
    dead = revoke_links(tx, job, at)
    tx.jobs.delete(job.id)
    tx.events.add(job_event(JobRemoved, job, at))
    if job.entry_id is not None:
        entry = tx.cache.entry(job.entry_id)
        if keep_data and entry is not None and entry.complete_at is not None:
            tx.cache.update_entry(replace(entry, kept=True))
        release(tx, job.entry_id, at)
    return dead


def give_up(tx: Transaction, job: Job, at: datetime) -> Job:
    """Cancels the job: its claim ends, and with the last claim the content. Its material stays for a retry."""
    entry_id = job.entry_id
    job = replace(advance(job, Signal.CANCEL, at=at), entry_id=None, node_id=None, cache_hit=False)
    job = tx.jobs.update(job)
    tx.events.add(job_event(JobCancelled, job, at))
    if entry_id is not None:
        keep_material(tx, job, entry_id)
        release(tx, entry_id, at)
    return job


def keep_material(tx: Transaction, job: Job, entry_id: EntryId) -> None:
    """A torrent that was learned with the replica goes on serving the job that gives its claim up."""
    if tx.materials.of_job(job.id) is not None:
        return
    replica = live_replica(tx, entry_id)
    material = tx.materials.of_replica(replica.id) if replica is not None else None
    if material is not None and material.torrent is not None:
        tx.materials.put_for_job(job.id, Material(torrent=material.torrent))
