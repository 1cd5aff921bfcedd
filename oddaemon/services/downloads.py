"""DownloadService: what users ask of jobs. It stores the wish and answers; the reconciler does the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from oddaemon.domain.admission import Allowance, Limits, allowance
from oddaemon.domain.cache import CacheEntry, EntryFile, Replica, ReplicaState
from oddaemon.domain.errors import (
    InvalidArgument,
    InvalidSelection,
    LimitExceeded,
    NotAllowed,
    NotFound,
    Unavailable,
    WrongState,
)
from oddaemon.domain.events import JobChanged, JobCreated
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.job import Hold, Job, JobState, Signal, advance, can
from oddaemon.domain.query import LIVE_SORT_FIELDS, SortKey, parse_filter, parse_sort
from oddaemon.domain.selection import NONE, edit, normalise
from oddaemon.domain.types import Bytes, EngineName, EntryId, JobId, JobNumber, LinkId, NodeId, ReplicaId, Seconds
from oddaemon.domain.user import Principal, Scope, require
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import Peer
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Page, Query, Store, Transaction
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
    wanted_by,
    with_figures,
)
from oddaemon.services.discretion import Discretion
from oddaemon.services.folders import FolderItem, level
from oddaemon.services.hits import HitChecker, OnDisk
from oddaemon.services.job_changes import Change, changed_job, only_set
from oddaemon.services.job_views import JobViews
from oddaemon.services.orders import MAX_PRIORITY, OrderReader
from oddaemon.services.probing import Prober
from oddaemon.services.seed_wishes import SEED_RATIO, seeders, without_seeding
from oddaemon.services.selectors import Found, find
from oddaemon.services.standing import check_stands
from oddaemon.services.stored import check_room, too_large
from oddaemon.services.views import AddOrder, FileView, JobView, ProbeView, Removed, Selected
from oddaemon.services.while_standing import while_it_stands

OLD = timedelta(days=7)
"""Finished jobs older than this are listed only when asked for."""
MAX_PAGE = 200
MAX_FILES_PAGE = 1000
"""The option of engines that seed."""


@dataclass(slots=True)
class DownloadService:
    """`wake(entry_id)` tells the reconciler that something changed; it never waits. `revoke` makes links dead on their
    node and answers when they are."""

    store: Store
    clock: Clock
    node: Callable[[NodeId | None], NodeClient]
    views_of: JobViews
    reader: OrderReader
    hits: HitChecker
    prober: Prober
    discretion: Discretion
    limits: Callable[[], Limits]
    wake: Callable[[EntryId | None], None]
    revoke: Callable[[Collection[LinkId]], Awaitable[None]]

    # adding

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
        read = self.reader.read(who, order)
        if id is not None:
            read = replace(read, job=replace(read.job, id=id))
        on_disk = await self.hits.check(read.key) if read.key is not None and not read.force else None

        def work(tx: Transaction) -> JobView:
            at = self.clock.now()
            known = None if id is None else tx.jobs.get(id)
            if known is not None:
                return self.views_of.one(tx, own(tx, who, known.id))
            check_stands(tx, who, at)
            job = replace(read.job, number=tx.jobs.take_number(), created_at=at, updated_at=at)
            tx.events.add(job_event(JobCreated, job, at, kind=str(job.kind)))
            key = read.key
            if dry_run and key is not None and not self.discretion.may_know_of(tx, who, key):
                job = replace(job, engine=key.engine, cache_key=key.full, name=job.name or read.name, size=read.size)
                key = None
            if key is None:
                job = tx.jobs.insert(job)
            else:
                job = join(
                    tx, job, key, at=at, name=read.name, size=read.size, files=read.files,
                    on_disk=None if on_disk is None else on_disk.good, new=True,
                )  # fmt: skip
            if read.material is not None:
                tx.materials.put_for_job(job.id, read.material)
            if key is not None:
                if on_disk is not None:
                    self.hits.record(tx, on_disk, at)
                if job.entry_id is not None and job.checksum is None and not job.finished:
                    settled = [done for done in settle(tx, job.entry_id, at) if done.id == job.id]
                    job = settled[0] if settled else tx.jobs.get(job.id) or job
            self._check_limits(tx, job)
            if dry_run:
                raise _DryRun(self.views_of.one(tx, job))
            return self.views_of.one(tx, job)

        try:
            view = await self.store.write(work)
        except _DryRun as dry:
            return dry.view
        if not view.job.finished:
            self.wake(view.job.entry_id)
        return view

    def _check_limits(self, tx: Transaction, job: Job) -> None:
        """Whether the job's user may have it, as it is stored now. Raises LimitExceeded, which undoes the work."""
        limits, owner = self.limits(), tx.users.get(job.user_id)
        own = None if owner is None else owner.limits
        most = allowance(limits, own).jobs
        if most and not job.finished and tx.jobs.count_unfinished(job.user_id) > most:
            raise LimitExceeded(
                f"you have {most} unfinished downloads, and that is the limit",
                hint="wait for one to end, or remove one: odctl rm JOB", limit=most,
            )  # fmt: skip
        if job.size is not None and not job.finished:
            sharers = {other.user_id for other in claimants(tx, job.entry_id)} if job.entry_id is not None else ()
            failure = too_large(job, job.size, limits, own, max(1, len(sharers)))
            if failure is not None:
                raise LimitExceeded(failure.message, hint="choose fewer of its files: --files 1,3-5")
        check_room(tx, job, limits)

    def _allowance(self, tx: Transaction, job: Job) -> Allowance:
        owner = tx.users.get(job.user_id)
        return allowance(self.limits(), None if owner is None else owner.limits)

    # looking

    def _query(
        self, who: Principal, filter_text: str, sort: str, offset: int, limit: int, include_old: bool
    ) -> Query:  # fmt: skip
        require(who, Scope.READ)
        keys = parse_sort(sort)
        live = any(key.field in LIVE_SORT_FIELDS for key in keys)
        return Query(
            terms=parse_filter(filter_text),
            sort=keys or (SortKey(field="id", descending=True),),
            offset=max(0, offset),
            limit=min(limit or 100, MAX_PAGE),
            user_id=None if who.is_admin else who.user_id,
            finished_since=None if include_old else self.clock.now() - OLD,
            live=self.views_of.board.sortable() if live else {},
        )

    async def page(
        self,
        who: Principal,
        *,
        filter: str,
        sort: str,
        offset: int,
        limit: int,
        include_old: bool,
    ) -> Page[JobView]:
        """Raises InvalidFilter."""
        query = self._query(who, filter, sort, offset, limit, include_old)

        def work(tx: Transaction) -> Page[JobView]:
            page = tx.jobs.page(query)
            return Page(rows=self.views_of.of(tx, page.rows), total=page.total)

        return await self.store.read(work)

    async def numbers(
        self,
        who: Principal,
        *,
        filter: str,
        sort: str,
        offset: int,
        limit: int,
        include_old: bool,
    ) -> Page[JobNumber]:
        """Raises InvalidFilter."""
        query = self._query(who, filter, sort, offset, limit, include_old)
        return await self.store.read(lambda tx: tx.jobs.page_numbers(query))

    async def views(self, who: Principal, numbers: Collection[int]) -> Sequence[JobView]:
        """The jobs of these numbers; missing and foreign ones are left out."""
        require(who, Scope.READ)

        def work(tx: Transaction) -> Sequence[JobView]:
            jobs = [job for job in tx.jobs.by_numbers(numbers) if visible(who, job)]
            return self.views_of.of(tx, jobs)

        return await self.store.read(work)

    async def pick(
        self,
        who: Principal,
        ids: Sequence[str],
        *,
        filter: str = "",
        all_jobs: bool = False,
    ) -> Sequence[Selected]:
        """What each id names, in the order given; with a filter or `all_jobs`, every job of the caller that matches."""
        require(who, Scope.READ)
        if filter or all_jobs:
            query = replace(self._query(who, filter, "id", 0, MAX_PAGE, True), limit=1_000_000, user_id=who.user_id)
            page = await self.store.read(lambda tx: tx.jobs.page(query))
            return [Selected(id=str(job.number), job=job) for job in page.rows]

        def work(tx: Transaction) -> Sequence[Selected]:
            answers: list[Selected] = []
            for text in ids:
                found: Found = find(tx, who, text)
                answers += [
                    Selected(id=text if len(found.jobs) == 1 else str(job.number), job=job) for job in found.jobs
                ]
                answers += [Selected(id=name, error=error) for name, error in found.errors]
            return answers

        return await self.store.read(work)

    async def get(self, who: Principal, id: str, *, engine: str = "") -> JobView:
        """With an `engine` only a job of that one. Raises NotFound."""
        require(who, Scope.READ)
        only = self.engine(engine) if engine else None

        def work(tx: Transaction) -> JobView:
            job = named(tx, who, id)
            if only not in (None, job.engine):
                raise NotFound(f"there is no job {id[:80]!r} of {only}", hint="odctl ls shows your jobs")
            return self.views_of.one(tx, job)

        return await self.store.read(work)

    def engine(self, name: str) -> EngineName:
        """The engine of that name. Raises NotFound."""
        known = self.reader.option_specs()
        if name not in known:
            raise NotFound(f"there is no engine {name[:40]!r}", hint=f"engines here: {', '.join(sorted(known))}")
        return EngineName(name)

    # wishes

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
            return _hurried(tx, replace(job, hold=Hold.NONE, hold_until=None), at)

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
        seen = await self._on_disk(lambda tx: own(tx, who, job_id))

        def work(tx: Transaction, job: Job, at: datetime) -> Job:
            if not can(job, Signal.RETRY):
                if now and not (node or engine or options) and _waits_for_a_try(tx, job):
                    return _hurried(tx, job, at)
                raise _no_retry(tx, job)
            if engine and engine != job.engine and job.entry_id is not None:
                give_way(tx, job, at)
                job = replace(job, entry_id=None, cache_key=None, node_id=None)
            wish = EngineName(engine) if engine else job.engine_wish
            if options or node or engine:
                job, material = self.reader.reread(
                    replace(job, engine_wish=wish), options or {}, node, tx.materials.of_job(job.id)
                )
                if material is not None:
                    tx.materials.put_for_job(job.id, material)
            job = requeue(tx, job, Signal.RETRY, at, None)
            if job.entry_id is not None:
                self.hits.record(tx, seen, at)
                replica = live_replica(tx, job.entry_id)
                if replica is not None and replica.state is ReplicaState.FAILED:
                    tx.cache.update_replica(revived(replica, at))
                settle(tx, job.entry_id, at)
            job = tx.jobs.get(job.id) or job
            self._check_limits(tx, job)
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
            if dry_run:
                raise _DryRemoval(Removed(view=view, freed=freed))
            return Removed(view=view, freed=freed)

        try:
            removed = await self.store.write(work)
        except _DryRemoval as dry:
            return dry.removed
        if dead:
            await self.revoke(dead)
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
            more: dict[str, Change] = {"position": partial(_to_the_top, tx), "seed_ratio": self._seed_ratio}
            changed = changed_job(job, changes, more)
            job = tx.jobs.update(replace(changed, updated_at=at))
            tx.events.add(job_event(JobChanged, job, at))
            return job

        return await self._change(who, job_id, work, dry_run)

    def _seed_ratio(self, job: Job, operator: str, value: str) -> Job:
        only_set("seed_ratio", operator)
        if job.state is JobState.ACTIVE:
            raise WrongState(
                f"job {job.number} is active: what it seeds is settled when it starts",
                hint=f"odctl pause {job.number}, set it, and odctl resume {job.number}",
            )
        others = {key: kept for key, kept in job.options.items() if key != SEED_RATIO}
        if value.strip().lower() in ("", "0", "none"):
            return replace(job, options=others)
        job, _ = self.reader.reread(job, {SEED_RATIO: value}, "", None)
        return job

    async def _on_disk(self, job: Callable[[Transaction], Job]) -> OnDisk:
        """What is there now of the job's ready files: a job completes with none that are gone."""
        entry_id = (await self.store.read(job)).entry_id
        return OnDisk() if entry_id is None else await self.hits.check_entry(entry_id)

    async def _change(
        self, who: Principal, job_id: JobId, work: Callable[[Transaction, Job, datetime], Job], dry_run: bool
    ) -> JobView:
        require(who, Scope.JOBS)

        def whole(tx: Transaction) -> JobView:
            view = self.views_of.one(tx, work(tx, own(tx, who, job_id), self.clock.now()))
            if dry_run:
                raise _DryRun(view)
            return view

        try:
            view = await self.store.write(whole)
        except _DryRun as dry:
            return dry.view
        self.wake(view.job.entry_id)
        return view

    async def probe(
        self, who: Principal, source: str, *, torrent: bytes | None, engine: str, options: Mapping[str, str],
        deadline: Seconds, on: NodeId | None = None,
    ) -> ProbeView:  # fmt: skip
        """What the source would yield and where it would go; stores nothing. It makes the daemon go and look: who may
        only read may not, and it ends within a second of the caller's access."""
        require(who, Scope.JOBS)
        probing = self.prober.probe(
            who, source, torrent=torrent, engine=engine, options=options, deadline=deadline, on=on
        )
        return await while_it_stands(self.store, self.clock, who, probing)

    # files

    def _files(self, tx: Transaction, job: Job) -> Sequence[EntryFile]:
        return tx.cache.files(job.entry_id) if job.entry_id is not None else ()

    async def files(self, who: Principal, id: str, *, offset: int, limit: int) -> Page[FileView]:
        """The job's files, as far as they are known, with the bytes of each as they are now. Raises NotFound."""
        await self._ask_progress((await self.get(who, id)).job)

        def work(tx: Transaction) -> Page[FileView]:
            job = named(tx, who, id)
            return self._file_page(tx, job, offset, limit)

        return await self.store.read(work)

    async def browse(
        self, who: Principal, id: str, path: str, *, offset: int, limit: int
    ) -> Page[tuple[FolderItem, FileView | None]]:
        """What lies in one folder of the job, folders first; with a file what `files` says of it. An empty path is the
        top. Raises NotFound, also for what is no folder."""
        await self._ask_progress((await self.get(who, id)).job)

        def work(tx: Transaction) -> Page[tuple[FolderItem, FileView | None]]:
            job = named(tx, who, id)
            files = self._files(tx, job)
            items = level(files, path)
            rows = items[offset : offset + limit]
            shown = iter(self._file_views(job, files, [item.file for item in rows if item.file is not None]))
            pairs = [(item, next(shown) if item.file is not None else None) for item in rows]
            return Page(rows=pairs, total=len(items))

        return await self.store.read(work)

    def _file_page(self, tx: Transaction, job: Job, offset: int, limit: int) -> Page[FileView]:
        files = self._files(tx, job)
        page = files[max(0, offset) : max(0, offset) + min(limit or MAX_FILES_PAGE, MAX_FILES_PAGE)]
        return Page(rows=self._file_views(job, files, page), total=len(files))

    def _file_views(self, job: Job, files: Sequence[EntryFile], shown: Sequence[EntryFile]) -> list[FileView]:
        wanted = wanted_by(job, files)
        progress = self._file_progress(job)
        return [
            FileView(
                job=job.number,
                file=file,
                selected=file.index in wanted,
                done=(file.size or Bytes(0)) if file.ready else progress.get(file.index, Bytes(0)),
            )
            for file in shown
        ]

    async def _ask_progress(self, job: Job) -> None:
        """What runs is asked for its files; when it does not answer, what was known last is shown."""
        board = self.views_of.board
        replica_id = board.replica_of.get(job.entry_id) if job.entry_id is not None else None
        if job.state is not JobState.ACTIVE or replica_id is None or job.engine is None:
            return
        with contextlib.suppress(Unavailable):
            found = await self.node(job.node_id).list_files(job.engine, replica_id)
            board.file_progress[replica_id] = {file.index: file for file in found}

    def _file_progress(self, job: Job) -> Mapping[int, Bytes]:
        board = self.views_of.board
        replica_id: ReplicaId | None = board.replica_of.get(job.entry_id) if job.entry_id is not None else None
        found = board.file_progress.get(replica_id) if replica_id is not None else None
        return {} if found is None else {index: file.done for index, file in found.items()}

    async def select(self, who: Principal, id: str, selection: str) -> Page[FileView]:
        """Changes which files the job wants. Before the files are known the selection is kept and applied then.

        Raises InvalidSelection when it names no file, and LimitExceeded when it adds files that are too much.
        """
        require(who, Scope.JOBS)
        touched: list[EntryId] = []
        seen = await self._on_disk(lambda tx: named(tx, who, id))

        def work(tx: Transaction) -> Page[FileView]:
            at = self.clock.now()
            self.hits.record(tx, seen, at)
            job = named(tx, who, id)
            files = self._files(tx, job)
            spec = edit(job.selection, files, selection) if files else normalise(selection)
            if spec == NONE or (files and not wanted_by(replace(job, selection=spec), files)):
                raise InvalidSelection(
                    f"{selection!r} leaves no file of job {job.number}, and a job wants at least one",
                    hint=f"odctl pause {job.number} stops it for now, odctl cancel {job.number} for good",
                )
            if files and job.checksum is not None and len(wanted_by(replace(job, selection=spec), files)) != 1:
                raise InvalidSelection(
                    f"job {job.number} has a checksum, which is of one file", hint="add it again without one"
                )
            if job.state in {JobState.FAILED, JobState.CANCELLED}:
                job = tx.jobs.update(replace(job, selection=spec, updated_at=at))
                tx.events.add(job_event(JobChanged, job, at))
                return self._file_page(tx, job, 0, 0)
            changed = replace(job, selection=spec, updated_at=at)
            if files:
                changed = with_figures(changed, files, wanted_by(changed, files))
            if job.state is JobState.COMPLETED and not all(
                file.ready or file.failed is not None for file in files if file.index in wanted_by(changed, files)
            ):
                changed = requeue(tx, changed, Signal.GROW, at, None)
            else:
                changed = tx.jobs.update(changed)
                tx.events.add(job_event(JobChanged, changed, at))
            if changed.entry_id is not None:
                touched.append(changed.entry_id)
                settle(tx, changed.entry_id, at)
            if wanted_by(changed, files) - wanted_by(job, files):
                self._check_limits(tx, tx.jobs.get(changed.id) or changed)
            return self._file_page(tx, changed, 0, 0)

        page = await self.store.write(work)
        self.wake(touched[-1] if touched else None)
        return page

    async def peers(self, who: Principal, id: str) -> Sequence[Peer]:
        """Connected peers of a running torrent; empty for anything else. Raises NotFound."""
        job, replica_id = await self._at_work(who, id)
        if replica_id is None or job.engine is None:
            return ()
        return await self.node(job.node_id).peers(job.engine, replica_id)

    async def engine_raw(self, who: Principal, id: str) -> Mapping[str, str | int | float | bool]:
        """What the engine itself says of an unfinished job's download, without secrets; empty when it says nothing.
        Raises NotFound."""
        job, replica_id = await self._at_work(who, id)
        if replica_id is None or job.engine is None:
            return {}
        return await self.node(job.node_id).raw_status(job.engine, replica_id)

    async def _at_work(self, who: Principal, id: str) -> tuple[Job, ReplicaId | None]:
        """The job, and what its engine knows its download by while there is one."""
        job = (await self.get(who, id)).job
        known = job.entry_id is not None and not job.finished
        return job, self.views_of.board.replica_of.get(job.entry_id) if known and job.entry_id is not None else None


class _DryRun(Exception):
    """Undoes the unit of work after the answer is known."""

    def __init__(self, view: JobView) -> None:
        self.view = view


class _DryRemoval(Exception):
    def __init__(self, removed: Removed) -> None:
        self.removed = removed


def visible(who: Principal, job: Job) -> bool:
    return who.is_admin or job.user_id == who.user_id


def own(tx: Transaction, who: Principal, job_id: JobId) -> Job:
    """The job, if it is the caller's or the caller is an admin. A stranger's job looks like none."""
    job = tx.jobs.get(job_id)
    if job is None or not visible(who, job):
        raise NotFound("no such job", hint="odctl ls shows your jobs")
    return job


def named(tx: Transaction, who: Principal, text: str) -> Job:
    """The one job that an id names. Raises NotFound, or InvalidArgument when it names several."""
    found = find(tx, who, text)
    if found.errors:
        raise found.errors[0][1]
    if len(found.jobs) != 1:
        raise InvalidArgument(f"{text!r} names {len(found.jobs)} jobs; one is needed", field="id")
    return found.jobs[0]


def give_way(tx: Transaction, job: Job, at: datetime) -> None:
    """The job leaves its entry for another engine's."""
    entry_id = job.entry_id
    if entry_id is None:
        return
    tx.jobs.update(replace(job, entry_id=None))
    release(tx, entry_id, at)


def _to_the_top(tx: Transaction, job: Job, operator: str, value: str) -> Job:
    """Before every other job of its user that waits: by a priority above theirs."""
    only_set("position", operator)
    if value.strip().lower() != "top":
        raise InvalidArgument(f"{value[:40]!r} is no position", field="position", hint="position=top, or a priority")
    highest = SortKey(field="priority", descending=True)
    query = Query(terms=parse_filter("state=queued"), sort=(highest,), limit=2, user_id=job.user_id)
    priority = max((other.priority + 1 for other in tx.jobs.page(query).rows if other.id != job.id), default=0)
    if priority > MAX_PRIORITY:
        raise InvalidArgument(
            f"another of these jobs has the highest priority, {MAX_PRIORITY}", field="position",
            hint="lower that one's: odctl set JOB priority=normal",
        )  # fmt: skip
    return replace(job, priority=max(job.priority, priority))


def _waiting_replica(tx: Transaction, job: Job) -> Replica | None:
    replica = live_replica(tx, job.entry_id) if job.entry_id is not None else None
    return replica if replica is not None and replica.state is ReplicaState.WAITING else None


def _waits_for_a_try(tx: Transaction, job: Job) -> bool:
    if job.state is not JobState.QUEUED or job.hold is Hold.USER:
        return False
    replica = _waiting_replica(tx, job)
    return job.next_try_at is not None or (replica is not None and replica.next_try_at is not None)


def _hurried(tx: Transaction, job: Job, at: datetime) -> Job:
    """The job, and what it waits for, without a time before which nothing is tried."""
    job = tx.jobs.update(replace(job, reason=None, next_try_at=None, updated_at=at))
    replica = _waiting_replica(tx, job)
    if replica is not None:
        tx.cache.update_replica(replace(replica, next_try_at=None, reason=None, updated_at=at))
    tx.events.add(job_event(JobChanged, job, at, hold=str(job.hold)))
    return job


def _no_retry(tx: Transaction, job: Job) -> WrongState:
    """Why a job cannot be tried again, and what can be done with it instead."""
    if job.state is JobState.QUEUED and job.hold is Hold.USER:
        return WrongState(f"job {job.number} is paused", hint=f"odctl resume {job.number}")
    if _waits_for_a_try(tx, job):
        return WrongState(
            f"job {job.number} waits for its next try", hint=f"odctl retry --now {job.number} lets it come at once"
        )
    if job.state is JobState.QUEUED:
        return WrongState(
            f"job {job.number} waits for its turn, not for a next try", hint=f"odctl show {job.number} says why"
        )
    return WrongState(f"job {job.number} is {job.state}: only failed and cancelled jobs can be tried again")
