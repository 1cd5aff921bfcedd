"""DownloadService: what users ask of jobs. It stores the wish and answers; the reconciler does the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from oddaemon.domain.admission import Allowance, Limits, allowance
from oddaemon.domain.cache import CacheEntry, ReplicaState
from oddaemon.domain.errors import NotAllowed, WrongState
from oddaemon.domain.events import JobChanged, JobCreated
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.job import Hold, Job, JobState, Signal, advance, can
from oddaemon.domain.types import Bytes, EngineName, EntryId, JobId, LinkId, Seconds
from oddaemon.domain.user import Principal, Scope, require
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store, Transaction
from oddaemon.services import dry_runs
from oddaemon.services.claims import (
    claimants,
    drop,
    give_up,
    job_event,
    join,
    live_replica,
    release,
    requeue,
    revived,
    revoke_links,
    settle,
)
from oddaemon.services.discretion import Discretion
from oddaemon.services.hits import HitChecker, OnDisk
from oddaemon.services.job_changes import changed_job
from oddaemon.services.job_limits import check_limits
from oddaemon.services.job_views import JobViews
from oddaemon.services.next_tries import hurried, no_retry, waits_for_a_try
from oddaemon.services.orders import Order, OrderReader
from oddaemon.services.seed_wishes import seeders, without_seeding
from oddaemon.services.selectors import own
from oddaemon.services.standing import check_stands
from oddaemon.services.views import AddOrder, JobView, Removed


@dataclass(slots=True)
class DownloadService:
    """`wake(entry_id)` tells the reconciler that something changed; it never waits. `revoke` makes links dead on their
    node and answers when they are."""

    store: Store
    clock: Clock
    views_of: JobViews
    reader: OrderReader
    hits: HitChecker
    discretion: Discretion
    limits: Callable[[], Limits]
    wake: Callable[[EntryId | None], None]
    revoke: Callable[[Collection[LinkId]], Awaitable[None]]

    async def add(
        self, who: Principal, order: AddOrder, *, dry_run: bool = False, id: JobId | None = None
    ) -> JobView:  # fmt: skip
        """The stored job: durable when this returns. Nothing on the network is waited for. With an `id` the job has
        that; if the caller has such a job, it was added before, and nothing is. A dry run tells of what is here only
        what the caller may know.

        Raises InvalidSource, InvalidOption, InvalidSelection, InvalidArgument, Unsupported and LimitExceeded; then
        nothing was stored.
        """
        require(who, Scope.JOBS)
        read = await self.reader.read(who, order)
        if id is not None:
            read = replace(read, job=replace(read.job, id=id))
        on_disk = await self.hits.check(read.key) if read.key is not None and not read.force else None

        def work(tx: Transaction) -> JobView:
            at = self.clock.now()
            known = None if id is None else tx.jobs.get(id)
            if known is not None:
                return self.views_of.one(tx, own(tx, who, known.id))
            check_stands(tx, who, at)
            told = self._as_known(tx, who, read) if dry_run else read
            job = self._insert(tx, told, on_disk, at)
            check_limits(tx, job, self.limits())
            return self.views_of.one(tx, job)

        view = await dry_runs.write(self.store, work, dry_run=dry_run)
        if not dry_run and not view.job.finished:
            self.wake(view.job.entry_id)
        return view

    def _as_known(self, tx: Transaction, who: Principal, read: Order) -> Order:
        """Without its key where the caller may not know of what is there."""
        key, job = read.key, read.job
        if key is None or self.discretion.may_know_of(tx, who, key):
            return read
        job = replace(job, engine=key.engine, cache_key=key.full, name=job.name or read.name, size=read.size)
        return replace(read, key=None, job=job)

    def _insert(self, tx: Transaction, read: Order, on_disk: OnDisk | None, at: datetime) -> Job:
        """The new job: a claim on the entry of its key where it has one, and completed where all that it wants is
        there."""
        job = replace(read.job, number=tx.jobs.take_number(), created_at=at, updated_at=at)
        tx.events.add(job_event(JobCreated, job, at, kind=str(job.kind)))
        if read.key is None:
            job = tx.jobs.insert(job)
        else:
            job = join(
                tx, job, read.key, at=at, name=read.name, size=read.size, files=read.files,
                on_disk=None if on_disk is None else on_disk.good, new=True,
            )  # fmt: skip
        if read.material is not None:
            tx.materials.put_for_job(job.id, read.material)
        if read.key is not None:
            if on_disk is not None:
                self.hits.record(tx, on_disk, at)
            if job.entry_id is not None and job.checksum is None and not job.finished:
                there = on_disk is not None and job.entry_id in on_disk.good
                settled = [done for done in settle(tx, job.entry_id, at, there=there) if done.id == job.id]
                job = settled[0] if settled else tx.jobs.get(job.id) or job
        return job

    def _allowance(self, tx: Transaction, job: Job) -> Allowance:
        owner = tx.users.get(job.user_id)
        return allowance(self.limits(), None if owner is None else owner.limits)

    async def pause(
        self, who: Principal, job_id: JobId, *, duration: Seconds | None = None, dry_run: bool = False
    ) -> JobView:
        """Held until resumed, or for `duration`. Pausing a paused job changes only how long. Raises WrongState for a
        finished job."""

        def work(tx: Transaction, job: Job, at: datetime) -> Job:
            if job.finished:
                hint = f"odctl cancel {job.number} ends its seeding" if seeders([job]) else ""
                raise WrongState(f"job {job.number} is {job.state}: there is nothing to pause", hint=hint)
            until = None if not duration else at + timedelta(seconds=duration)
            reason = Reason(code=ReasonCode.PAUSED, message="paused")
            if until is not None:
                reason = Reason(
                    code=ReasonCode.PAUSED_UNTIL, message=f"paused until {until:%Y-%m-%d %H:%M} UTC", retry_at=until
                )
            if can(job, Signal.YIELD):
                job = advance(self.views_of.board.with_figures(job), Signal.YIELD, at=at)
            job = tx.jobs.update(replace(job, hold=Hold.USER, hold_until=until, reason=reason, updated_at=at))
            tx.events.add(job_event(JobChanged, job, at, hold=str(job.hold)))
            return job

        return await self._change(who, job_id, work, dry_run)

    async def resume(self, who: Principal, job_id: JobId, *, dry_run: bool = False) -> JobView:
        """Undoes a pause, and makes a job that waits between attempts try now. Raises WrongState for a finished job."""

        def work(tx: Transaction, job: Job, at: datetime) -> Job:
            if job.finished:
                raise WrongState(
                    f"job {job.number} is {job.state}: there is nothing to resume",
                    hint=f"odctl retry {job.number}" if can(job, Signal.RETRY) else "",
                )
            return hurried(tx, replace(job, hold=Hold.NONE, hold_until=None), at)

        return await self._change(who, job_id, work, dry_run)

    async def cancel(self, who: Principal, job_id: JobId, *, dry_run: bool = False) -> JobView:
        """Gives the claim up, and its links are dead when this returns; of a completed job that is seeded, the seeding.
        Cancelling a cancelled job changes nothing; raises WrongState for any other completed one."""
        dead: list[LinkId] = []

        def work(tx: Transaction, job: Job, at: datetime) -> Job:
            if job.state is JobState.CANCELLED:
                return job
            if seeders([job]):
                ended = tx.jobs.update(replace(without_seeding(job), updated_at=at))
                tx.events.add(job_event(JobChanged, ended, at))
                return ended
            if job.state is JobState.COMPLETED:
                raise WrongState(
                    f"job {job.number} is completed: there is nothing to cancel", hint=f"odctl rm {job.number}"
                )
            dead[:] = revoke_links(tx, job, at)
            return give_up(tx, self.views_of.board.with_figures(job), at)

        view = await self._change(who, job_id, work, dry_run)
        if dead and not dry_run:
            await self.revoke(dead)
        return view

    async def retry(
        self, who: Principal, job_id: JobId, *, node: str = "", engine: str = "",
        options: Mapping[str, str] | None = None, now: bool = False, dry_run: bool = False,
    ) -> JobView:  # fmt: skip
        """A failed or cancelled job is queued again, its count of attempts anew. `options` bring credentials that were
        erased. With `now` a job that waits for its next try has it at once, as it is. Raises WrongState for any other
        job, Unsupported for another engine once there is content, and LimitExceeded as `add` does."""
        require(who, Scope.JOBS)
        seen = await self.hits.check_job(lambda tx: own(tx, who, job_id))

        def work(tx: Transaction, job: Job, at: datetime) -> Job:
            if not can(job, Signal.RETRY):
                if now and not (node or engine or options) and waits_for_a_try(tx, job):
                    return hurried(tx, job, at)
                raise no_retry(tx, job)
            if engine and engine != job.engine and job.entry_id is not None:
                _give_way(tx, job, at)
                job = replace(job, entry_id=None, cache_key=None, node_id=None)
            wish = EngineName(engine) if engine else job.engine_wish
            if options or node or engine:
                job, material = self.reader.reread(
                    replace(job, engine_wish=wish), options or {}, node, tx.materials.of_job(job.id),
                    to_admin=who.is_admin,
                )
                if material is not None:
                    tx.materials.put_for_job(job.id, material)
            job = requeue(tx, job, Signal.RETRY, at, None)
            if job.entry_id is not None:
                self.hits.record(tx, seen, at)
                replica = live_replica(tx, job.entry_id)
                if replica is not None and replica.state is ReplicaState.FAILED:
                    tx.cache.update_replica(revived(replica, at))
                settle(tx, job.entry_id, at, there=job.entry_id in seen.good)
            job = tx.jobs.get(job.id) or job
            check_limits(tx, job, self.limits())
            return job

        return await self._change(who, job_id, work, dry_run)

    async def remove(self, who: Principal, job_id: JobId, *, keep_data: bool, dry_run: bool = False) -> Removed:
        """The job is gone when this returns, its links are dead; its files go when no one else claims them.

        `keep_data` keeps the files of a finished entry until clean-up or `cache rm`. Raises NotAllowed for that to a
        user whose storage is limited: what nobody claims is charged to nobody.
        """
        require(who, Scope.JOBS)
        dead: list[LinkId] = []

        def work(tx: Transaction) -> Removed:
            at = self.clock.now()
            job = own(tx, who, job_id)
            if keep_data and not who.is_admin and self._allowance(tx, job).storage:
                raise NotAllowed(
                    "your storage is limited, and data without a job would not count", hint="leave out --keep-data"
                )
            view = self.views_of.one(tx, job)
            freed = self._would_free(tx, job) if not keep_data else Bytes(0)
            dead[:] = drop(tx, job, at, keep_data=keep_data)
            return Removed(view=view, freed=freed)

        removed = await dry_runs.write(self.store, work, dry_run=dry_run)
        if dead and not dry_run:
            await self.revoke(dead)
        if not dry_run:
            self.wake(removed.view.job.entry_id)
        return removed

    def _would_free(self, tx: Transaction, job: Job) -> Bytes:
        """The bytes of the entry's replicas when this job is its last claim and nothing keeps it."""
        entry: CacheEntry | None = tx.cache.entry(job.entry_id) if job.entry_id is not None else None
        if entry is None or entry.pinned or entry.kept:
            return Bytes(0)
        if any(other.id != job.id for other in claimants(tx, entry.id)):
            return Bytes(0)
        replicas = tx.cache.replicas_of(entry.id)
        # the store hears of progress only now and then
        live = [self.views_of.board.statuses.get(replica.id) for replica in replicas]
        done = [*(replica.done for replica in replicas), *(status.done for status in live if status is not None)]
        ready = sum(file.size or 0 for file in tx.cache.files(entry.id) if file.ready)
        return Bytes(max([ready, *done], default=0))

    async def set(self, who: Principal, job_id: JobId, changes: Sequence[str], *, dry_run: bool = False) -> JobView:
        """`key=value`, `key+=value`, `key-=value` for name, priority, tags, rate_down, rate_up, position and
        seed_ratio. Raises InvalidArgument naming the key, and then nothing has changed."""

        def work(tx: Transaction, job: Job, at: datetime) -> Job:
            changed = changed_job(tx, self.reader, job, changes)
            job = tx.jobs.update(replace(changed, updated_at=at))
            tx.events.add(job_event(JobChanged, job, at))
            return job

        return await self._change(who, job_id, work, dry_run)

    async def _change(
        self, who: Principal, job_id: JobId, work: Callable[[Transaction, Job, datetime], Job], dry_run: bool
    ) -> JobView:
        require(who, Scope.JOBS)

        def whole(tx: Transaction) -> JobView:
            return self.views_of.one(tx, work(tx, own(tx, who, job_id), self.clock.now()))

        view = await dry_runs.write(self.store, whole, dry_run=dry_run)
        if not dry_run:
            self.wake(view.job.entry_id)
        return view


def _give_way(tx: Transaction, job: Job, at: datetime) -> None:
    """The job leaves its entry for another engine's."""
    entry_id = job.entry_id
    if entry_id is None:
        return
    tx.jobs.update(replace(job, entry_id=None))
    release(tx, entry_id, at)
