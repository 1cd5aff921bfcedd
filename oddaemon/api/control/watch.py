"""Watch: a snapshot of one page, then the changed fields of its jobs, each tick. A slow reader is told of a gap; one
whose stream was cut says what it has, and the snapshot tells the rest.

Nothing is queued per change: what changed is a set of job numbers, so a reader that stops reading costs no memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as pb

from oddaemon.api.control.parts import ControlParts
from oddaemon.domain.errors import InvalidArgument
from oddaemon.domain.events import Event, JobProgress
from oddaemon.domain.filter_fields import JOB_FIELDS
from oddaemon.domain.filter_text import parse_filter
from oddaemon.domain.filter_tree import terms
from oddaemon.domain.query import LIVE_SORT_FIELDS, parse_sort
from oddaemon.domain.types import JobNumber
from oddaemon.domain.user import Principal
from oddaemon.ports.event_bus import Gap, Overflow, Subscription
from oddaemon.wire import messages as wire

MIN_INTERVAL = 0.1
DEFAULT_INTERVAL = 0.5
MAX_INTERVAL = 60.0
HEARTBEAT = 15.0
"""An answer without news, so that a reader knows that the daemon lives."""
BACKLOG = 10_000
"""Events between two ticks; past that the reader gets a gap and a new snapshot."""
MAX_KNOWN = 1000
LOOK_AGAIN = 2.0
"""After so many seconds a filter is asked anew that time alone may change: ages, and figures of what runs."""
MOVED_BY_PROGRESS = frozenset({"size", "done", "progress", *LIVE_SORT_FIELDS})
"""Orders that mere bytes change."""


@dataclass(slots=True)
class _Changes:
    """What happened since the last tick."""

    jobs: set[int] = field(default_factory=set)
    page: bool = False
    """The page's members or their order may have changed."""
    gap: bool = False


async def watch(
    parts: ControlParts, ending: asyncio.Event, who: Principal, message: pb.WatchRequest
) -> AsyncIterator[pb.WatchResponse]:
    """Raises InvalidFilter and InvalidArgument before the first answer. Ends when the daemon drains."""
    interval = min(max(message.interval_ms / 1000 or DEFAULT_INTERVAL, MIN_INTERVAL), MAX_INTERVAL)
    moving = _moves(message)
    by_bytes = moving or any(key.field in MOVED_BY_PROGRESS for key in parse_sort(message.sort))
    async with parts.bus.subscribe(("job.*",), capacity=BACKLOG, overflow=Overflow.GAP) as subscription:
        page = _Page(parts, who, message)
        yield await page.snapshot(known=_known(parts, message))
        changes, silent, unasked = _Changes(), 0.0, 0.0
        reader = asyncio.create_task(_collect(subscription, changes, by_bytes), name="watch reader")
        try:
            while not await _ended(ending, interval):
                seen = _Changes(jobs=changes.jobs, page=changes.page, gap=changes.gap)
                changes.jobs, changes.page, changes.gap = set(), False, False
                if seen.gap:
                    yield await page.snapshot(gap=True)
                    silent = 0.0
                    continue
                unasked = 0.0 if seen.page else unasked + interval
                if moving and unasked >= LOOK_AGAIN:
                    seen.page, unasked = True, 0.0
                answer = await page.step(seen)
                silent += interval
                if answer is not None:
                    yield answer
                    silent = 0.0
                elif silent >= HEARTBEAT:
                    yield pb.WatchResponse(rev=page.rev)
                    silent = 0.0
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)


def _known(parts: ControlParts, message: pb.WatchRequest) -> Mapping[int, int]:
    """Revisions by number, of what the reader has from this daemon. Raises InvalidArgument."""
    if len(message.known) != len(message.known_revs):
        raise InvalidArgument("each known job has one revision", field="known_revs")
    if len(message.known) > MAX_KNOWN:
        raise InvalidArgument(f"at most {MAX_KNOWN:,} jobs may be known", field="known")
    if message.epoch != parts.epoch:
        return {}
    return dict(zip(message.known, message.known_revs, strict=True))


def _settled(job: common.Job) -> bool:
    """Nothing of it changes without a new revision."""
    over = job.state in (common.JobState.COMPLETED, common.JobState.FAILED, common.JobState.CANCELLED)
    return over and not (job.rate_up or job.peers is not None or job.seeders is not None)


def _moves(message: pb.WatchRequest) -> bool:
    """Whether jobs begin or cease to match without an event. Raises InvalidFilter."""
    chosen = message.selector
    text = message.filter if chosen is None or not (chosen.ids or chosen.filter or chosen.all) else chosen.filter
    return any(JOB_FIELDS[term.field].moves for term in terms(parse_filter(text)))


async def _ended(ending: asyncio.Event, interval: float) -> bool:
    try:
        async with asyncio.timeout(interval):
            await ending.wait()
    except TimeoutError:
        return False
    return True


async def _collect(subscription: Subscription, changes: _Changes, by_bytes: bool) -> None:
    async for event in subscription:
        if isinstance(event, Gap):
            changes.gap = True
        elif isinstance(event, Event) and event.job_number is not None:
            changes.jobs.add(event.job_number)
            changes.page = changes.page or by_bytes or not isinstance(event, JobProgress)


class _Page:
    """The jobs that the reader sees, as it was last told of them."""

    def __init__(self, parts: ControlParts, who: Principal, message: pb.WatchRequest) -> None:
        self._parts = parts
        self._who = who
        self._message = message
        self._fields = wire.job_fields(message.fields)
        self._shown: dict[int, common.Job] = {}
        self._order: list[int] = []
        self._total = 0
        self.rev = 0

    async def snapshot(self, *, gap: bool = False, known: Mapping[int, int] = MappingProxyType({})) -> pb.WatchResponse:
        """The page; of what is `known` only what is otherwise."""
        await self._note_rev()
        numbers, self._total = await self._members()
        jobs = await self._read(numbers)
        self._shown = {job.id: job for job in jobs}
        self._order = [number for number in numbers if number in self._shown]
        ordered = [self._shown[number] for number in self._order]
        told = [job for job in ordered if known.get(job.id) != job.rev or not _settled(job)]
        order = [] if len(told) == len(ordered) else self._order
        return pb.WatchResponse(
            rev=self.rev, snapshot=pb.Snapshot(jobs=told, total=self._total, order=order), gap=gap
        )

    async def step(self, changes: _Changes) -> pb.WatchResponse | None:
        """What the reader has to be told; None: nothing."""
        if not changes.page and changes.jobs.isdisjoint(self._shown):
            return None
        await self._note_rev()
        numbers, total = (self._order, self._total)
        if changes.page:
            numbers, total = await self._members()
        touched = [number for number in numbers if number in changes.jobs or self._may_differ(number, changes)]
        fresh = {job.id: job for job in await self._read(touched)} if touched else {}
        patches = [
            patch
            for number in touched
            if number in fresh
            and (patch := wire.job_patch(self._shown.get(number) or common.Job(), fresh[number])) is not None
        ]
        order = [number for number in numbers if number in fresh or number in self._shown]
        staying = set(order)
        removed = [number for number in self._shown if number not in staying]
        self._shown = {number: fresh.get(number) or self._shown[number] for number in order}
        moved, counted = order != self._order, total != self._total
        self._order, self._total = order, total
        if not (patches or removed or moved or counted):
            return None
        return pb.WatchResponse(
            rev=self.rev, patches=patches, removed=removed, order=order if moved else [],
            total=total if counted else None,
        )  # fmt: skip

    def _may_differ(self, number: int, changes: _Changes) -> bool:
        """Without an event of its own: it is new on the page, or waits in a queue in which others moved."""
        shown = self._shown.get(number)
        return shown is None or (changes.page and shown.state == common.JobState.QUEUED)

    async def _note_rev(self) -> None:
        """Before anything is read: nothing that is told is older than the number says."""
        self.rev = await self._parts.store.read(lambda tx: tx.jobs.highest_rev())

    async def _members(self) -> tuple[list[int], int]:
        message, jobs = self._message, self._parts.jobs
        if message.selector is not None and (message.selector.ids or message.selector.filter or message.selector.all):
            chosen = message.selector
            picked = await jobs.pick(self._who, chosen.ids, filter=chosen.filter, all_jobs=chosen.all)
            numbers = [int(found.job.number) for found in picked if found.job is not None]
            return numbers, len(numbers)
        page = await jobs.numbers(
            self._who, filter=message.filter, sort=message.sort, offset=message.offset, limit=message.limit,
            include_old=message.all,
        )  # fmt: skip
        return [int(number) for number in page.rows], page.total

    async def _read(self, numbers: Sequence[int]) -> list[common.Job]:
        views = await self._parts.jobs.views(self._who, [JobNumber(number) for number in numbers])
        jobs = [wire.job_message(view) for view in views]
        return [wire.only(job, self._fields) for job in jobs] if self._fields else jobs
