"""The daemon as a flow of messages: one connection, looked for again for ever, and what is watched over it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from odctl.client.errors import UNREACHABLE, ConnectionLost, OdctlError
from odctl.client.models import Job
from odctl.dashboard import messages as m
from odctl.dashboard.messages import Message, Query

if TYPE_CHECKING:
    # it draws in a process that has no gRPC: see odctl.client.bridge
    from odctl.client.daemon import DaemonClient

Work = Callable[["DaemonClient"], Coroutine[Any, Any, None]]
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
STATUS_SECONDS = 2.0
HELLO_EVERY = 3
"""Status after which it is asked who one is there: another role takes screens away, or gives some."""
SILENCE_SECONDS = 6.0
"""A daemon that does not answer for so long is lost."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What the screen needs of the list."""

    query: Query
    offset: int
    limit: int
    interval_ms: int
    fields: tuple[str, ...] = ()

    def covers(self, other: Wanted) -> bool:
        """Who is told this is told `other`, and not much more."""
        alike = (self.query, self.interval_ms, self.fields) == (other.query, other.interval_ms, other.fields)
        within = self.offset <= other.offset and other.offset + other.limit <= self.offset + self.limit
        return alike and within and self.limit <= 2 * other.limit

    def asked(self) -> Mapping[str, Any]:
        """As DaemonClient.pages takes it."""
        query = self.query
        return {
            "where": query.filter, "sort": query.sort, "old": query.old, "offset": self.offset, "limit": self.limit,
            "interval_ms": self.interval_ms, "fields": self.fields,
        }  # fmt: skip


class Feed:
    """`connect` makes a client, without connecting. `post` takes every message, in the event loop's own thread. `fault`
    makes what a person is told of an exception that nobody expected: it ends the connection, never the feed."""

    def __init__(
        self, connect: Callable[[], DaemonClient], post: Callable[[Message], None],
        fault: Callable[[Exception], OdctlError],
    ) -> None:  # fmt: skip
        self.client: DaemonClient | None = None
        """While it is connected."""
        self._connect = connect
        self._post = post
        self._fault = fault
        self._wanted: Wanted | None = None
        self._changed = asyncio.Event()
        self._again = asyncio.Event()
        self._given_up = asyncio.Event()
        self._works: dict[str, Work] = {}
        self._other_works = asyncio.Event()

    def attend(self, name: str, work: Work | None) -> None:
        """From here on `work` runs over every connection, until another takes its name; None: nothing does. What it
        raises as unreachable ends the connection."""
        if work is None:
            self._works.pop(name, None)
        else:
            self._works[name] = work
        self._other_works.set()

    def want(self, wanted: Wanted) -> None:
        """From here on the list is told as this asks for it."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    def give_up(self) -> None:
        """Does not wait any longer for the connection that is being made."""
        self._given_up.set()

    def retry(self) -> None:
        """Does not wait any longer for the next attempt."""
        self._again.set()

    def switch(self, connect: Callable[[], DaemonClient]) -> None:
        """Another daemon from here on."""
        self._connect = connect
        self._again.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while True:
            self._again.clear()
            try:
                await self._session()
                error: OdctlError = ConnectionLost("another daemon was chosen")
                pause = 0.0
            except OdctlError as failure:
                error = failure
                if self.client is not None:
                    pause = FIRST_PAUSE
            except Exception as failure:  # noqa: BLE001 - a screen that says so is better than none
                error = self._fault(failure)
            finally:
                self.client = None
            # not all of the clients of a daemon that restarts at the same moment
            wait = pause * random.uniform(0.8, 1.2)  # noqa: S311
            self._post(m.Lost(error=error, at=loop.time(), retry_at=loop.time() + wait))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._again.wait()
            pause = min(max(pause, FIRST_PAUSE) * 2, LONGEST_PAUSE)

    async def _session(self) -> None:
        """One connection; returns when another daemon is wanted. Raises OdctlError."""
        loop = asyncio.get_running_loop()
        client = self._connect()
        self._post(m.Connecting(where=client.endpoint, at=loop.time()))
        async with contextlib.AsyncExitStack() as open_clients:
            await self._open(open_clients, client)
            hello = client.hello_answer
            assert hello is not None
            self.client = client
            self._post(m.Connected(hello=hello, where=client.endpoint, why=client.source, at=loop.time()))
            jobs = [
                asyncio.create_task(work, name=name)
                for name, work in (
                    ("dashboard list", self._list(client)),
                    ("dashboard status", self._status(client)),
                    ("dashboard other daemon", self._again_wanted()),
                    ("dashboard screens", self._attend(client)),
                )
            ]
            try:
                done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in jobs:
                    task.cancel()
                await asyncio.gather(*jobs, return_exceptions=True)

    async def _open(self, open_clients: contextlib.AsyncExitStack, client: DaemonClient) -> None:
        """Raises OdctlError, when nobody waits for it any more as well."""
        self._given_up.clear()
        opening = asyncio.create_task(open_clients.enter_async_context(client), name="dashboard connection")
        given_up = asyncio.create_task(self._given_up.wait(), name="dashboard esc")
        again = asyncio.create_task(self._again_wanted(), name="dashboard other attempt")
        try:
            await asyncio.wait((opening, given_up, again), return_when=asyncio.FIRST_COMPLETED)
            if not opening.done() and again.done():
                raise ConnectionLost("another attempt was asked for")
            if not opening.done():
                raise OdctlError("nobody waits for it any more", hint="r tries again, C chooses another server")
            opening.result()
        finally:
            for task in (opening, given_up, again):
                task.cancel()
            await asyncio.gather(opening, given_up, return_exceptions=True)

    async def _again_wanted(self) -> None:
        await self._again.wait()

    async def _status(self, client: DaemonClient) -> None:
        loop = asyncio.get_running_loop()
        known, looks = client.hello_answer, 0
        while True:
            looks += 1
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    status = await client.status()
                    hello = known if looks % HELLO_EVERY else await client.hello()
            except TimeoutError as error:
                raise ConnectionLost(f"the daemon did not answer within {SILENCE_SECONDS:g} s") from error
            self._post(m.StatusTold(status=status, at=loop.time()))
            if hello is not None and known is not None and (hello.user, hello.role) != (known.user, known.role):
                known = hello
                self._post(m.HelloTold(hello=hello))
            await asyncio.sleep(STATUS_SECONDS)

    async def _attend(self, client: DaemonClient) -> None:
        """What the screen that is shown asks for."""
        running: dict[str, tuple[Work, asyncio.Task[None]]] = {}
        try:
            while True:
                self._other_works.clear()
                for name, (work, task) in list(running.items()):
                    if self._works.get(name) is not work:
                        del running[name]
                        task.cancel()
                        await asyncio.gather(task, return_exceptions=True)
                for name, work in self._works.items():
                    if name not in running:
                        running[name] = (work, asyncio.create_task(work(client), name=f"dashboard {name}"))
                other = asyncio.create_task(self._other_works.wait(), name="dashboard other screen")
                tasks = [task for _, task in running.values() if not task.done()]
                try:
                    await asyncio.wait((other, *tasks), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    other.cancel()
                for task in tasks:
                    if task.done():
                        task.result()
        finally:
            for _, task in running.values():
                task.cancel()
            await asyncio.gather(*(task for _, task in running.values()), return_exceptions=True)

    async def _list(self, client: DaemonClient) -> None:
        """The window that is wanted, anew whenever another one is."""
        while True:
            self._changed.clear()
            wanted = self._wanted
            if wanted is None:
                await self._changed.wait()
                continue
            watching = asyncio.create_task(self._watch(client, wanted), name="dashboard watch")
            changed = asyncio.create_task(self._changed.wait(), name="dashboard other window")
            try:
                await asyncio.wait((watching, changed), return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    watching.result()
                    await self._changed.wait()  # the query was refused
            finally:
                for task in (watching, changed):
                    task.cancel()
                await asyncio.gather(watching, changed, return_exceptions=True)

    async def _watch(self, client: DaemonClient, wanted: Wanted) -> None:
        loop = asyncio.get_running_loop()
        known: dict[int, Job] = {}
        query = wanted.query
        try:
            async with contextlib.aclosing(client.pages(**wanted.asked())) as deltas:
                async for delta in deltas:
                    known |= {job.id: job for job in delta.changed}
                    known = {number: known[number] for number in delta.order}
                    jobs, at = tuple(known.values()), loop.time()
                    self._post(m.PageTold(query=query, offset=wanted.offset, jobs=jobs, total=delta.total, at=at))
        except OdctlError as error:
            if error.exit_code == UNREACHABLE:
                raise
            self._post(m.QueryRefused(query=query, error=error))
            return
        raise ConnectionLost("the daemon ended the stream")
