"""The files of a job: looked at, and chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from oddaemon.domain.admission import Limits
from oddaemon.domain.cache import EntryFile
from oddaemon.domain.errors import InvalidSelection
from oddaemon.domain.events import JobChanged
from oddaemon.domain.job import Job, JobState, Signal
from oddaemon.domain.selection import NONE, edit, normalise
from oddaemon.domain.types import Bytes, EntryId
from oddaemon.domain.user import Principal, Scope, require
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Page, Store, Transaction
from oddaemon.services.claims import job_event, requeue, settle, wanted_by, with_figures
from oddaemon.services.engine_reports import EngineReports
from oddaemon.services.folders import FolderItem, level
from oddaemon.services.hits import HitChecker
from oddaemon.services.job_finder import JobFinder
from oddaemon.services.job_limits import check_limits
from oddaemon.services.selectors import named
from oddaemon.services.views import FileView

MAX_FILES_PAGE = 1000


@dataclass(slots=True)
class JobFiles:
    """`wake(entry_id)` tells the reconciler that something changed; it never waits."""

    store: Store
    clock: Clock
    jobs: JobFinder
    reports: EngineReports
    hits: HitChecker
    limits: Callable[[], Limits]
    wake: Callable[[EntryId | None], None]

    async def files(self, who: Principal, id: str, *, offset: int, limit: int) -> Page[FileView]:
        """The job's files, as far as they are known, with the bytes of each as they are now. Raises NotFound."""
        await self.reports.ask_progress((await self.jobs.get(who, id)).job)

        def work(tx: Transaction) -> Page[FileView]:
            job = named(tx, who, id)
            return self._file_page(tx, job, offset, limit)

        return await self.store.read(work)

    async def browse(
        self, who: Principal, id: str, path: str, *, offset: int, limit: int
    ) -> Page[tuple[FolderItem, FileView | None]]:
        """What lies in one folder of the job, folders first; with a file what `files` says of it. An empty path is the
        top. Raises NotFound, also for what is no folder."""
        await self.reports.ask_progress((await self.jobs.get(who, id)).job)

        def work(tx: Transaction) -> Page[tuple[FolderItem, FileView | None]]:
            job = named(tx, who, id)
            files = _known(tx, job)
            items = level(files, path)
            rows = items[offset : offset + limit]
            shown = iter(self._file_views(job, files, [item.file for item in rows if item.file is not None]))
            pairs = [(item, next(shown) if item.file is not None else None) for item in rows]
            return Page(rows=pairs, total=len(items))

        return await self.store.read(work)

    async def select(self, who: Principal, id: str, selection: str) -> Page[FileView]:
        """Changes which files the job wants. Before the files are known the selection is kept and applied then.

        Raises InvalidSelection when it names no file, and LimitExceeded when it adds files that are too much.
        """
        require(who, Scope.JOBS)
        touched: list[EntryId] = []
        seen = await self.hits.check_job(lambda tx: named(tx, who, id))

        def work(tx: Transaction) -> Page[FileView]:
            at = self.clock.now()
            self.hits.record(tx, seen, at)
            job = named(tx, who, id)
            files = _known(tx, job)
            spec = _edited(job, files, selection)
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
                check_limits(tx, tx.jobs.get(changed.id) or changed, self.limits())
            return self._file_page(tx, changed, 0, 0)

        page = await self.store.write(work)
        self.wake(touched[-1] if touched else None)
        return page

    def _file_page(self, tx: Transaction, job: Job, offset: int, limit: int) -> Page[FileView]:
        files = _known(tx, job)
        page = files[max(0, offset) : max(0, offset) + min(limit or MAX_FILES_PAGE, MAX_FILES_PAGE)]
        return Page(rows=self._file_views(job, files, page), total=len(files))

    def _file_views(self, job: Job, files: Sequence[EntryFile], shown: Sequence[EntryFile]) -> list[FileView]:
        wanted = wanted_by(job, files)
        progress = self.reports.progress(job)
        return [
            FileView(
                job=job.number,
                file=file,
                selected=file.index in wanted,
                done=(file.size or Bytes(0)) if file.ready else progress.get(file.index, Bytes(0)),
            )
            for file in shown
        ]


def _known(tx: Transaction, job: Job) -> Sequence[EntryFile]:
    return tx.cache.files(job.entry_id) if job.entry_id is not None else ()


def _edited(job: Job, files: Sequence[EntryFile], selection: str) -> str:
    """The selection that the job has after this edit. Raises InvalidSelection."""
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
    return spec
