"""Streams of events and log lines: resumable, bounded, and ended when the daemon drains."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from odproto.gen.opendebrid.control import v1 as pb

from oddaemon.api.control.parts import ControlParts
from oddaemon.domain.errors import InvalidArgument, NotAllowed, NotFound
from oddaemon.domain.events import Event, facts, is_for
from oddaemon.domain.types import JobId, JobNumber, UserId
from oddaemon.domain.user import Principal
from oddaemon.domain.words import choices
from oddaemon.ports.event_bus import Gap
from oddaemon.ports.log_book import LogLine
from oddaemon.ports.store import Transaction
from oddaemon.services.event_feed import matching_types
from oddaemon.services.event_filter import EventFilter
from oddaemon.wire import messages as wire

T = TypeVar("T")

CHUNK = 500
"""Rows of past events read at once."""
CAPACITY = 2000
"""Live events that wait for their reader."""
DEFAULT_LINES = 100
MAX_LINES = 10_000
EVENT_LEVELS = ("debug", "info")
"""Of which events are a part when a job's log is asked for."""
LEVELS = ("debug", "info", "warn", "warning", "error")


async def until_ending(
    source: AsyncIterator[T], ending: asyncio.Event, first: asyncio.Future[T] | None = None
) -> AsyncGenerator[T, None]:
    """The items of `source`, until it ends or the daemon drains; then the source is closed. `first`: its first item,
    asked for already."""
    stop = asyncio.ensure_future(ending.wait())
    pending = first
    try:
        while not ending.is_set():
            if pending is None:
                pending = asyncio.ensure_future(anext(source))
            both: set[asyncio.Future[Any]] = {pending, stop}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not pending.done():
                return
            try:
                item = pending.result()
            except StopAsyncIteration:
                return
            pending = None
            yield item
    finally:
        stop.cancel()
        await _put_away(source, pending)


async def _put_away(source: AsyncIterator[T], pending: asyncio.Future[T] | None) -> None:
    if pending is not None:
        pending.cancel()
        await asyncio.wait({pending})
        if not pending.cancelled():
            pending.exception()
    if isinstance(source, AsyncGenerator):
        await source.aclose()


async def events(
    parts: ControlParts, ending: asyncio.Event, who: Principal, message: pb.EventsRequest
) -> AsyncIterator[pb.EventsResponse]:
    """Past events from the store, then live ones from the bus: subscribed first, so that nothing falls between. A
    reader too slow for the bus gets what it missed from the store, and a gap marker for what is not kept there."""
    past = _Past(parts, ending, who, matching_types(message.types), message)
    async with parts.bus.subscribe(past.types, capacity=CAPACITY) as subscription:
        if past.wanted:
            async for answer in past.answers():
                yield answer
        if message.no_follow:
            return
        async with contextlib.aclosing(until_ending(aiter(subscription), ending)) as live:
            async for item in live:
                if not isinstance(item, Gap):
                    told = await past.live(item)
                    if told is not None:
                        yield told
                elif past.last == 0 and not past.wanted:
                    yield pb.EventsResponse(gap=True, oldest_seq=(await past.kept())[0])
                else:
                    async for answer in past.answers():
                        yield answer


class _Past:
    """How far one reader has been told: `last` is the newest sequence number of which it knows."""

    def __init__(
        self, parts: ControlParts, ending: asyncio.Event, who: Principal, types: frozenset[str],
        message: pb.EventsRequest,
    ) -> None:  # fmt: skip
        self.types = types
        self.last = message.since_seq
        self.wanted = message.from_start or message.since_seq > 0 or message.since_time is not None
        self._since_time = message.since_time
        self._by_number = message.from_start or message.since_seq > 0
        self._parts, self._ending, self._who = parts, ending, who
        self._filter = EventFilter(message.filter, now=parts.clock.now(), me=who.username)
        self._users: dict[UserId, str] = {}

    async def kept(self) -> tuple[int, int]:
        """The oldest and the newest sequence number; the oldest is one past the newest when no row is kept."""
        oldest, newest = await self._parts.store.read(lambda tx: (tx.events.oldest_seq(), tx.events.newest_seq()))
        return oldest or newest + 1, newest

    async def answers(self) -> AsyncIterator[pb.EventsResponse]:
        """Rows after `last`, with a marker first when some are no longer kept. Raises InvalidArgument for a number that
        no event has yet."""
        oldest, newest = await self.kept()
        if self.last > newest:
            raise InvalidArgument(
                f"there is no event {self.last} yet", field="since_seq", hint=f"the newest is {newest}"
            )
        if oldest > self.last + 1 and (self._by_number or self._before_what_is_kept()):
            yield pb.EventsResponse(gap=True, oldest_seq=oldest)
        self._by_number = True
        while not self._ending.is_set():
            rows = await self._parts.store.read(lambda tx: _rows(tx, self._who, self.last, self.types))
            for event, user in rows:
                self.last = event.seq
                if self._late_enough(event.at) and self._wanted(event, user):
                    yield pb.EventsResponse(event=wire.event_message(event, user))
            if len(rows) < CHUNK:
                return

    async def live(self, event: Event) -> pb.EventsResponse | None:
        """The answer for an event from the bus; None for one that was told, or is another user's."""
        if 0 < event.seq <= self.last or not is_for(event, self._who):
            return None
        self.last = max(self.last, event.seq)
        user = await self._user_of(event)
        return pb.EventsResponse(event=wire.event_message(event, user)) if self._wanted(event, user) else None

    async def _user_of(self, event: Event) -> str:
        if event.user_id is None:
            return ""
        name = self._users.get(event.user_id)
        if name is None:
            name = await self._parts.store.read(lambda tx: _user(self._parts, tx, event))
            self._users[event.user_id] = name
        return name

    def _wanted(self, event: Event, user: str) -> bool:
        return self._filter.holds(
            seq=event.seq, type=event.type, at=event.at, job=event.job_number, node=event.node_id, user=user
        )

    def _before_what_is_kept(self) -> bool:
        kept = timedelta(seconds=self._parts.events_kept())
        return self._since_time is not None and self._since_time < self._parts.clock.now() - kept

    def _late_enough(self, at: datetime) -> bool:
        return self._since_time is None or at >= self._since_time


def _rows(tx: Transaction, who: Principal, after: int, types: frozenset[str]) -> list[tuple[Event, str]]:
    user_id = None if who.is_admin else who.user_id
    found = tx.events.after(after, limit=CHUNK, types=types, user_id=user_id)
    names: dict[object, str] = {}
    for event in found:
        if event.user_id is not None and event.user_id not in names:
            user = tx.users.get(event.user_id)
            names[event.user_id] = user.username if user is not None else ""
    return [(event, names.get(event.user_id, "")) for event in found]


def _user(parts: ControlParts, tx: Transaction, event: Event) -> str:
    return parts.views.user_name(tx, event.user_id) if event.user_id is not None else ""


async def logs(
    parts: ControlParts, ending: asyncio.Event, who: Principal, message: pb.LogsRequest
) -> AsyncIterator[pb.LogsResponse]:
    """The daemon's log for admins; the lines of one job for its owner, those from before the last start from its
    events."""
    job: JobNumber | None = None
    history: Sequence[LogLine] = ()
    if message.job:
        found = (await parts.jobs.get(who, message.job)).job
        job, history = found.number, await _history(parts, found.id)
    elif not who.is_admin:
        raise NotAllowed("only admins may read the daemon's log", hint="odctl logs JOB shows one job's")
    if message.node and message.node != parts.node_id:
        hint = choices(message.node, [parts.node_id], "nodes here")
        raise NotFound(f"there is no node {message.node[:80]!r}", hint=hint)
    level = message.level.lower() or "debug"
    if level not in LEVELS:
        raise InvalidArgument(f"{message.level[:40]!r} is no level", field="level", hint="debug, info, warn or error")
    lines = min(DEFAULT_LINES if message.lines is None else message.lines, MAX_LINES)
    book = parts.log_book
    # no await between the two: what is written while the past is sent must not be lost
    past = book.tail(lines=lines, job=job, level=level, since=message.since)
    if level in EVENT_LEVELS:
        past = _joined(history, past, message.since)[-lines:] if lines else ()
    names = _Names(parts)
    if not message.follow:
        for line in past:
            yield wire.log_message(await names.put_into(line))
        return
    source = book.follow(job=job, level=level)
    first: asyncio.Future[LogLine] = asyncio.ensure_future(anext(source))
    try:
        for line in past:
            if ending.is_set():
                return
            yield wire.log_message(await names.put_into(line))
        async with contextlib.aclosing(until_ending(source, ending, first)) as live:
            async for line in live:
                yield wire.log_message(await names.put_into(line))
    finally:
        await _put_away(source, first)


async def _history(parts: ControlParts, job_id: JobId) -> Sequence[LogLine]:
    """A job's events as lines of the log."""
    rows = await parts.store.read(lambda tx: tx.events.of_job(job_id, limit=MAX_LINES))
    return [
        LogLine(at=event.at, level="info", message=event.type.replace(".", " "), job=event.job_number,
                fields={name: value for name, value in facts(event).items() if name != "job"})
        for event in rows
    ]  # fmt: skip


def _joined(history: Sequence[LogLine], lines: Sequence[LogLine], since: datetime | None) -> Sequence[LogLine]:
    """Both by time; an event that has a line already is told once."""
    told = {line.fields.get("seq") for line in lines}
    older = [
        line for line in history if line.fields["seq"] not in told and (since is None or line.at >= since)
    ]  # fmt: skip
    return sorted([*older, *lines], key=lambda line: line.at)


class _Names:
    """The log knows users by their ids; people know them by their names."""

    def __init__(self, parts: ControlParts) -> None:
        self._parts = parts
        self._known: dict[str, str] = {}

    async def put_into(self, line: LogLine) -> LogLine:
        text = str(line.fields.get("user", ""))
        try:
            user = UserId(UUID(text))
        except ValueError:
            return line
        if text not in self._known:
            self._known[text] = await self._parts.store.read(lambda tx: self._parts.views.user_name(tx, user))
        return replace(line, fields={**line.fields, "user": self._known[text]})
