"""One wish for many jobs: by ids, by a filter, or for all of them. One that fails does not keep the others from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from oddaemon.domain.errors import InvalidArgument, NotFound, WrongState
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.types import Bytes, JobId, Seconds
from oddaemon.domain.user import Principal
from oddaemon.services.downloads import DownloadService
from oddaemon.services.job_finder import JobFinder
from oddaemon.services.views import AddOrder, JobView

MAX_ITEMS = 200
"""Adds of one call, and jobs at work at once."""
MAX_PAUSE_SECONDS = 10 * 365 * 86_400.0

Step = Callable[[Job], Awaitable[tuple[JobView, Bytes]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which jobs. With a filter or `all` every job of the caller's that matches, and only those that the wish is for:
    jobs in another state, or that it changes nothing of, are left out."""

    ids: Sequence[str] = ()
    filter: str = ""
    all: bool = False

    @property
    def by_filter(self) -> bool:
        return bool(self.filter) or self.all


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one member: a job as it is now, or an exception."""

    id: str
    """As given, or the number of a job that a filter found."""
    view: JobView | None = None
    error: Exception | None = None
    freed: Bytes = Bytes(0)


@dataclass(frozen=True, slots=True)
class Batches:
    downloads: DownloadService
    jobs: JobFinder

    async def add(
        self, who: Principal, orders: Sequence[AddOrder], *, dry_run: bool = False, ids: Sequence[JobId] = ()
    ) -> Sequence[Outcome]:  # fmt: skip
        """Items are added at the same time, so that they share a commit; each has its own answer, in their order.
        `ids`: of the jobs, one for each. Raises InvalidArgument for none or too many."""
        if not orders:
            raise InvalidArgument("nothing to add", field="items")
        if len(orders) > MAX_ITEMS:
            raise InvalidArgument(f"at most {MAX_ITEMS} items at once", field="items", hint="send them in parts")

        async def one(number: int, order: AddOrder) -> Outcome:
            try:
                view = await self.downloads.add(
                    who, order, dry_run=dry_run, id=ids[number - 1] if ids else None
                )  # fmt: skip
                return Outcome(id=str(number), view=view)
            except Exception as error:  # noqa: BLE001  the other items have their own answers
                return Outcome(id=str(number), error=error)

        return await asyncio.gather(*(one(number, order) for number, order in enumerate(orders, 1)))

    async def pause(
        self, who: Principal, chosen: Chosen, *, duration: Seconds | None = None, dry_run: bool = False
    ) -> Sequence[Outcome]:
        if duration is not None and not 0 < duration <= MAX_PAUSE_SECONDS:
            raise InvalidArgument("a pause lasts from 0 seconds to 10 years", field="for_s", hint="give --for 2h")

        async def step(job: Job) -> tuple[JobView, Bytes]:
            return await self.downloads.pause(who, job.id, duration=duration, dry_run=dry_run), Bytes(0)

        def changes(job: Job) -> bool:
            return job.hold is not Hold.USER or job.hold_until is not None or duration is not None

        return await self._each(who, chosen, step, changes)

    async def resume(self, who: Principal, chosen: Chosen, *, dry_run: bool = False) -> Sequence[Outcome]:
        async def step(job: Job) -> tuple[JobView, Bytes]:
            return await self.downloads.resume(who, job.id, dry_run=dry_run), Bytes(0)

        return await self._each(who, chosen, step, lambda job: job.state is not JobState.ACTIVE)

    async def cancel(self, who: Principal, chosen: Chosen, *, dry_run: bool = False) -> Sequence[Outcome]:
        async def step(job: Job) -> tuple[JobView, Bytes]:
            return await self.downloads.cancel(who, job.id, dry_run=dry_run), Bytes(0)

        return await self._each(who, chosen, step, lambda job: job.state is not JobState.CANCELLED)

    async def retry(
        self, who: Principal, chosen: Chosen, *, node: str = "", engine: str = "",
        options: Mapping[str, str] | None = None, now: bool = False, dry_run: bool = False,
    ) -> Sequence[Outcome]:  # fmt: skip
        async def step(job: Job) -> tuple[JobView, Bytes]:
            view = await self.downloads.retry(
                who, job.id, node=node, engine=engine, options=options, now=now, dry_run=dry_run
            )
            return view, Bytes(0)

        return await self._each(who, chosen, step)

    async def remove(
        self, who: Principal, chosen: Chosen, *, keep_data: bool = False, dry_run: bool = False
    ) -> Sequence[Outcome]:
        async def step(job: Job) -> tuple[JobView, Bytes]:
            removed = await self.downloads.remove(who, job.id, keep_data=keep_data, dry_run=dry_run)
            return removed.view, removed.freed

        return await self._each(who, chosen, step)

    async def set(
        self, who: Principal, chosen: Chosen, changes: Sequence[str], *, dry_run: bool = False
    ) -> Sequence[Outcome]:
        async def step(job: Job) -> tuple[JobView, Bytes]:
            return await self.downloads.set(who, job.id, changes, dry_run=dry_run), Bytes(0)

        return await self._each(who, chosen, step)

    async def _each(
        self, who: Principal, chosen: Chosen, step: Step, changes: Callable[[Job], bool] = lambda job: True
    ) -> Sequence[Outcome]:
        if not (chosen.ids or chosen.by_filter):
            raise InvalidArgument("no job is named", field="selector", hint="give ids, a filter, or --all")
        picked = await self.jobs.pick(who, chosen.ids, filter=chosen.filter, all_jobs=chosen.all)
        if chosen.by_filter:
            picked = [found for found in picked if found.job is None or changes(found.job)]

        async def one(name: str, job: Job | None, error: Exception | None) -> Outcome | None:
            if job is None:
                return Outcome(id=name, error=error or NotFound(f"there is no job {name}"))
            try:
                view, freed = await step(job)
            except WrongState as failed:
                return None if chosen.by_filter else Outcome(id=name, error=failed)
            except Exception as failed:  # noqa: BLE001  the others have their own answers
                return Outcome(id=name, error=failed)
            return Outcome(id=name, view=view, freed=freed)

        results: list[Outcome] = []
        for start in range(0, len(picked), MAX_ITEMS):
            part = picked[start : start + MAX_ITEMS]
            answers = await asyncio.gather(*(one(found.id, found.job, found.error) for found in part))
            results += [answer for answer in answers if answer is not None]
        return results
