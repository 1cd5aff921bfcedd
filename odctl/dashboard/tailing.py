"""What grows at its end: the daemon's events and its log, followed while they are shown."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from odctl.client.errors import UNREACHABLE, ConnectionLost, OdctlError
from odctl.client.models import Event
from odctl.dashboard import messages as m
from odctl.dashboard.messages import Message, Query

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

T = TypeVar("T")

HISTORY = timedelta(hours=1)
"""Events from before the screen was opened."""
LOG_LINES = 500
BATCH_SECONDS = 0.1
"""What comes within it is drawn at once."""


class Tail:
    """`query` says which lines are wanted."""

    name = ""

    def __init__(self, *, query: Callable[[], Query], post: Callable[[Message], None]) -> None:
        self._query = query
        self._post = post
        self._changed = asyncio.Event()

    def again(self) -> None:
        """Other lines are wanted."""
        self._changed.set()

    async def __call__(self, client: DaemonClient) -> None:
        """Until it is cancelled. Raises OdctlError when the daemon is gone."""
        while True:
            self._changed.clear()
            await _until(self._changed, self._told(client, self._query()))

    async def _told(self, client: DaemonClient, query: Query) -> None:
        try:
            await self._follow(client, query)
        except OdctlError as error:
            if error.exit_code == UNREACHABLE:
                raise
            self._post(m.ListRefused(list=self.name, query=query, error=error))
            await asyncio.Event().wait()  # until something else is wanted
        raise ConnectionLost("the daemon ended the stream")

    async def _follow(self, client: DaemonClient, query: Query) -> None:
        """Posts the lines. Returns when the daemon ends the stream."""


class EventTail(Tail):
    """Goes on where it was after a lost connection, and when the screen is shown again."""

    name = "events"

    def __init__(self, *, query: Callable[[], Query], post: Callable[[Message], None]) -> None:
        super().__init__(query=query, post=post)
        self._of: tuple[str, Query] | None = None
        self._seq: int | None = None
        """The last event that was told."""

    async def _follow(self, client: DaemonClient, query: Query) -> None:
        if self._of != (client.endpoint, query):
            self._of, self._seq = (client.endpoint, query), None
            self._post(m.LinesTold(list=self.name, lines=(), anew=True))
        hello = client.hello_answer
        now = (hello.now if hello is not None else None) or datetime.now(UTC)
        since = now - HISTORY if self._seq is None else None
        stream = client.events(since_seq=self._seq, since_time=since, types=query.filter.split(), follow=True)
        try:
            async with contextlib.aclosing(batched(stream)) as batches:
                async for batch in batches:
                    self._tell(batch)
        except OdctlError as error:
            if self._seq is None or error.details.get("field") != "since_seq":
                raise
            # its store is another one, or an older copy: what was told is not in it
            self._of = None
            self.again()

    def _tell(self, batch: list[Event | int]) -> None:
        numbers = [one.seq for one in batch if isinstance(one, Event) and one.seq]
        self._seq = numbers[-1] if numbers else self._seq
        lines = tuple(m.Gap(oldest=one) if isinstance(one, int) else one for one in batch)
        self._post(m.LinesTold(list=self.name, lines=lines))


class LogTail(Tail):
    """The last lines and those that come; the filter of its query is the least level. Anew over every connection."""

    name = "log"

    async def _follow(self, client: DaemonClient, query: Query) -> None:
        self._post(m.LinesTold(list=self.name, lines=(), anew=True))
        stream = client.logs(job="", lines=LOG_LINES, follow=True, level=query.filter, since=None)
        async with contextlib.aclosing(batched(stream)) as batches:
            async for batch in batches:
                self._post(m.LinesTold(list=self.name, lines=tuple(batch)))


async def batched(stream: AsyncGenerator[T, None]) -> AsyncGenerator[list[T], None]:
    """The items, those together that come at about the same time. Closing it closes the stream."""
    waiting: list[T] = []
    news = asyncio.Event()

    async def pump() -> None:
        async with contextlib.aclosing(stream) as items:
            async for item in items:
                waiting.append(item)
                news.set()

    pumping = asyncio.create_task(pump(), name="dashboard stream")
    pumping.add_done_callback(lambda _: news.set())
    try:
        while True:
            await news.wait()
            if not pumping.done():
                await asyncio.sleep(BATCH_SECONDS)
            news.clear()
            batch, waiting[:] = waiting[:], []
            if batch:
                yield batch
            if pumping.done() and not waiting:
                pumping.result()
                return
    finally:
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)


async def _until(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Does the work until the event is set, or it raises."""
    working = asyncio.create_task(work, name="dashboard tail")
    waiting = asyncio.create_task(event.wait(), name="dashboard other tail")
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        if working.done() and not event.is_set():
            working.result()
    finally:
        for task in (working, waiting):
            task.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)
