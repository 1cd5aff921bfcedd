"""Finding jobs for those who may see them: in lists, and by what people call them."""

from __future__ import annotations

from asyncio import Semaphore
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeVar
from weakref import WeakValueDictionary

from oddaemon.domain.errors import NotFound
from oddaemon.domain.filter_fields import JOB_FIELDS
from oddaemon.domain.filter_text import parse_filter
from oddaemon.domain.filter_tree import settled, terms
from oddaemon.domain.query import ATTENTION, SortKey, parse_sort
from oddaemon.domain.types import EngineName, JobNumber, UserId
from oddaemon.domain.user import Principal, Scope, require
from oddaemon.domain.words import choices
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Page, Query, Store, Transaction
from oddaemon.services.job_views import JobViews
from oddaemon.services.selectors import check_bounds, find, named, visible
from oddaemon.services.views import JobView, Selected

OLD = timedelta(days=7)
"""Finished jobs older than this are listed only when asked for."""
MAX_PAGE = 200
AT_ONCE = 2
"""Lists of one user that are looked for at a time; more wait, so that nobody takes all of the store's readers."""
NOT_STORED = frozenset(name for name, field in JOB_FIELDS.items() if field.moves) | {"name"}
"""Fields of which memory may know better than the store."""


T = TypeVar("T")


@dataclass(slots=True)
class JobFinder:
    """`engines` are the names of those that are configured."""

    store: Store
    clock: Clock
    views_of: JobViews
    engines: Callable[[], Collection[EngineName]]
    _turns: WeakValueDictionary[UserId, Semaphore] = field(default_factory=WeakValueDictionary)
    """Of those for whom something is being looked for."""

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

        return await self._listed(who, work)

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
        return await self._listed(who, lambda tx: tx.jobs.page_numbers(query))

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
            page = await self._listed(who, lambda tx: tx.jobs.page(query))
            return [Selected(id=str(job.number), job=job) for job in page.rows]

        check_bounds(ids)

        def work(tx: Transaction) -> Sequence[Selected]:
            answers: list[Selected] = []
            for text in ids:
                found = find(tx, who, text)
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

    async def _listed(self, who: Principal, work: Callable[[Transaction], T]) -> T:
        """What this work finds, when it is the user's turn."""
        turn = self._turns.get(who.user_id)
        if turn is None:
            turn = self._turns[who.user_id] = Semaphore(AT_ONCE)
        async with turn:
            return await self.store.read(work)

    def engine(self, name: str) -> EngineName:
        """The engine of that name. Raises NotFound."""
        known = self.engines()
        if name not in known:
            raise NotFound(f"there is no engine {name[:40]!r}", hint=choices(name, sorted(known), "engines here"))
        return EngineName(name)

    def _query(
        self, who: Principal, filter_text: str, sort: str, offset: int, limit: int, include_old: bool
    ) -> Query:  # fmt: skip
        require(who, Scope.READ)
        keys = parse_sort(sort)
        where = parse_filter(filter_text)
        asked = {term.field for term in terms(where)} | {key.field for key in keys}
        board = self.views_of.board
        live = bool(asked & NOT_STORED)
        return Query(
            where=settled(where, now=self.clock.now(), me=who.username),
            sort=keys or (SortKey(field=ATTENTION),),
            offset=max(0, offset),
            limit=min(limit or 100, MAX_PAGE),
            user_id=None if who.is_admin else who.user_id,
            finished_since=None if include_old else self.clock.now() - OLD,
            live=board.figures_now() if live else {},
            live_jobs=board.figures_of_jobs() if live else {},
        )
