"""`/api/v1/events`: what happens, as server-sent events (the WHATWG's HTML standard, section 9.2).

Each event has its number as its id: a reader that comes back with `Last-Event-ID` goes on where it was. What is no
longer kept is told with an event `gap`. A reader that reads too slowly is not waited for: it gets the rest from the
store when it reads on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from aiohttp import web
from pydantic import Field

from oddaemon.api.rest.endpoint import DRESS
from oddaemon.api.rest.envelope import HungUp
from oddaemon.api.rest.models import Model, Nothing
from oddaemon.api.rest.routes import Call, Routes
from oddaemon.domain.events import EVENT_TYPES
from oddaemon.domain.user import Principal, Scope
from oddaemon.services.event_feed import EventFeed, Told, matching_types
from oddaemon.services.event_filter import EventFilter

route = Routes("events")

HEARTBEAT = 15.0
"""Seconds of silence after which a comment says that the daemon lives."""
RETRY_MS = 2000
"""After so long a reader that was cut off comes back."""
FAREWELL_SECONDS = 0.3
"""For a reader whose stream ends; one that does not read is cut off."""
MOST_SEQ = 2**62


class EventsQuery(Model):
    types: list[str] = Field(
        default_factory=list, max_length=100,
        description="By name or glob, as in `job.*`; by default all that are numbered.",
    )  # fmt: skip
    filter: str = Field(
        default="", max_length=2000, description="As in `type=job.failed,job.completed user=ann`; by `type`, `job`, "
        "`node`, `user`, `seq` and `age`.",
    )  # fmt: skip
    last_event_id: int | None = Field(default=None, ge=0, le=MOST_SEQ, description="As the header of that name.")


class EventsHeaders(Model):
    last: int | None = Field(
        default=None, alias="Last-Event-ID", ge=0, le=MOST_SEQ, description="Go on after this number; 0: everything."
    )


@route(
    "GET", "/events", needs=Scope.READ, summary="What happens, as it happens", produces="text/event-stream",
    headers=EventsHeaders,
)  # fmt: skip
async def stream_events(call: Call[Nothing, EventsQuery, Nothing]) -> web.StreamResponse:
    """Server-sent events of one's own jobs and account; admins get everybody's. The stream ends when the daemon does,
    and within a second of the end of the caller's access or access token: go on with a new one."""
    types = matching_types(call.query.types)
    wanted = EventFilter(call.query.filter, now=call.parts.clock.now(), me=call.who.username)
    assert isinstance(call.headers, EventsHeaders)
    after = call.query.last_event_id if call.headers.last is None else call.headers.last
    dress = call.request[DRESS]
    own = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers={**dress, **own})
    if call.request.method == "HEAD":
        return response
    try:
        await response.prepare(call.request)
    except ConnectionError as error:
        raise HungUp from error
    durable = all(EVENT_TYPES[name].durable for name in types)
    feed = call.parts.feed if durable else call.parts.live_feed
    reader = _Reader(feed, response, call.who, types, after, wanted)
    ends = [
        asyncio.ensure_future(reader.run()), asyncio.ensure_future(call.parts.accounts.ended(call.who)),
        asyncio.ensure_future(call.parts.ending.wait()),
    ]  # fmt: skip
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in ends:
            task.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
    await _farewell(call.request, response)
    return response


async def _farewell(request: web.Request, response: web.StreamResponse) -> None:
    try:
        async with asyncio.timeout(FAREWELL_SECONDS):
            await response.write_eof()
    except (TimeoutError, ConnectionError):
        if request.transport is not None:
            request.transport.abort()


class _Reader:
    """One stream. `after`: the number up to which it was told already; None: it starts with what comes now."""

    def __init__(
        self, feed: EventFeed, response: web.StreamResponse, who: Principal, types: frozenset[str], after: int | None,
        wanted: EventFilter,
    ) -> None:  # fmt: skip
        self._feed = feed
        self._response = response
        self._who = who
        self._types = types
        self._last = after
        self._filter = wanted

    async def run(self) -> None:
        """Until it is cancelled, or the reader hangs up."""
        with contextlib.suppress(ConnectionError):
            async with self._feed.reading() as place:
                await self._response.write(f"retry: {RETRY_MS}\n\n".encode())
                if self._last is None:
                    self._last = (await self._feed.kept())[1]
                else:
                    await self._catch_up()
                while True:
                    bell = self._feed.bell
                    found = self._feed.since(place)
                    if found is None:
                        place = self._feed.end
                        await self._catch_up()
                        continue
                    place += len(found)
                    if found and (data := self._new(found)):
                        await self._response.write(data)
                    await self._until(bell)

    async def _until(self, bell: asyncio.Event) -> None:
        while not bell.is_set():
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await bell.wait()
            except TimeoutError:
                await self._response.write(b": still here\n\n")

    async def _catch_up(self) -> None:
        """What the store has after `last`; with a marker first when some is no longer kept, or was never there."""
        last = self._last or 0
        oldest, newest = await self._feed.kept()
        if oldest > last + 1 or last > newest:
            await self._response.write(f'event: gap\ndata: {{"oldest":{oldest}}}\n\n'.encode())
            self._last = min(last, newest)
        async for part in self._feed.past(self._who, self._last or 0, self._types):
            if data := self._new(part):
                await self._response.write(data)

    def _new(self, events: Sequence[Told]) -> bytes:
        """Of these what the reader may see and was not told."""
        who, last, everybody = self._who.user_id, self._last or 0, self._who.is_admin
        found: list[bytes] = []
        for event in events:
            if event.seq and event.seq <= last:
                continue
            last = event.seq or last
            if (everybody or event.user_id == who) and event.type in self._types and self._wanted(event):
                found.append(event.data)
        self._last = last
        return b"".join(found)

    def _wanted(self, event: Told) -> bool:
        return self._filter.holds(
            seq=event.seq, type=event.type, at=event.at, job=event.job, node=event.node, user=event.user
        )
