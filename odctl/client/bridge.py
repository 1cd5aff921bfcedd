"""A DaemonClient in a process of its own, and what stands for it here.

The dashboard draws in one process and speaks gRPC in another: both start at the same time instead of one after the
other, and no message that is taken apart holds up a key. Standard library only on this side.

Frames are a length of four bytes and a pickled tuple, `(number, kind, ...)`, between a process and its own child, over
a socket pair that nobody else has. The child ends when its end of the pair is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import struct
from collections.abc import AsyncGenerator, Coroutine, Mapping
from types import TracebackType
from typing import Any

from odctl.client.child import Child
from odctl.client.endpoints import Choice
from odctl.client.errors import ConnectionLost, OdctlError
from odctl.client.models import Hello

HEADER = struct.Struct(">I")
OPEN_SECONDS = 20.0
"""For a connection. The client itself gives up earlier."""
STREAMS = frozenset({"pages", "events", "logs"})
"""Methods of the client that answer more than once."""


class Bridge:
    """Starts the child again when it has died."""

    def __init__(self, child: Child | None = None) -> None:
        self._child = child
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Queue[tuple[Any, ...]]] = {}
        self._last = 0
        self._ahead: dict[int, tuple[Any, ...]] = {}
        """What was asked before there was an event loop, by its number."""

    def open_ahead(self, choice: Choice, timeout: float | None, pages: Mapping[str, Any]) -> None:
        """Asks the child to connect, and for these pages, before there is an event loop that could wait for it. Who
        asks for just this first gets what comes of it."""
        if self._child is not None:
            for message in (("open", choice, timeout), ("stream", "pages", (), dict(pages))):
                self._last += 1
                self._ahead[self._last] = message
                with contextlib.suppress(OSError):  # it has ended already: whoever waits for this is told
                    self._child.ours.sendall(_packed((self._last, *message)))
                self._waiting[self._last] = asyncio.Queue()

    def _asked_ahead(self, *message: Any) -> int | None:
        """The number under which just this was asked; None: it was not."""
        number = next((number for number, asked in self._ahead.items() if asked == message), None)
        if number is not None:
            del self._ahead[number]
        return number

    def _drop_ahead(self) -> None:
        for number in self._ahead:
            del self._waiting[number]
            self._forget(number)
        self._ahead.clear()

    async def connect(self, choice: Choice, timeout: float | None) -> tuple[str, Hello | None]:
        """A new client over there, in the place of any other: its endpoint, and what the daemon said of itself. Raises
        OdctlError."""
        await self.open()
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                return await self._opened(choice, timeout)
        except TimeoutError as error:
            await self.close()  # it hangs: the next attempt starts another
            raise ConnectionLost("the process that speaks to the daemon does not answer") from error

    async def _opened(self, choice: Choice, timeout: float | None) -> tuple[str, Hello | None]:
        ahead = self._asked_ahead("open", choice, timeout)
        try:
            if ahead is not None:
                return await self._answer(ahead)  # type: ignore[no-any-return]
        except OdctlError:
            self._drop_ahead()
            raise
        self._drop_ahead()  # it was for another connection
        return await self.call("open", choice, timeout)  # type: ignore[no-any-return]

    async def open(self) -> None:
        """The child is there after this."""
        if self._reading is not None and not self._reading.done():
            return
        await self.close(keep_child=self._reader is None)
        if self._child is None:
            self._child = await asyncio.to_thread(Child)
        child = self._child
        self._reader, self._writer = await asyncio.open_connection(sock=child.ours)
        self._reading = asyncio.create_task(self._read(self._reader), name="bridge reader")

    def end(self) -> None:
        """Ends the child, with or without an event loop."""
        if self._child is not None:
            self._child.close()

    async def close(self, *, keep_child: bool = False) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
        if self._child is not None and not keep_child:
            child, self._child = self._child, None
            await asyncio.to_thread(child.close)
        self._reader = self._writer = self._reading = None

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
                number, *answer = pickle.loads(await reader.readexactly(length))  # noqa: S301 - of our own child
                waiting = self._waiting.get(number)
                if waiting is not None:
                    waiting.put_nowait(tuple(answer))
        except (OSError, EOFError):
            pass
        finally:
            for waiting in self._waiting.values():
                waiting.put_nowait(("error", ConnectionLost("the process that speaks to the daemon has ended")))

    def _send(self, *message: Any) -> None:
        if self._writer is None or self._reading is None or self._reading.done():
            raise ConnectionLost()
        self._writer.write(_packed(message))

    async def call(self, kind: str, *what: Any) -> Any:
        """The one answer. Raises OdctlError."""
        self._last += 1
        number = self._last
        self._waiting[number] = asyncio.Queue()
        try:
            self._send(number, kind, *what)
        except OdctlError:
            del self._waiting[number]
            raise
        return await self._answer(number)

    async def _answer(self, number: int) -> Any:
        try:
            answer, value = await self._waiting[number].get()
        except asyncio.CancelledError:
            self._forget(number)
            raise
        finally:
            del self._waiting[number]
        if answer == "error":
            raise value
        return value

    async def stream(self, *what: Any) -> AsyncGenerator[Any, None]:
        """Every answer. Raises OdctlError."""
        ahead = self._asked_ahead("stream", *what)
        if ahead is None:
            self._drop_ahead()  # nobody would read it
            self._last += 1
            self._waiting[self._last] = asyncio.Queue()
        number = ahead or self._last
        queue = self._waiting[number]
        try:
            if ahead is None:
                self._send(number, "stream", *what)
            while True:
                answer, value = await queue.get()
                if answer == "error":
                    raise value
                if answer == "end":
                    return
                yield value
        finally:
            del self._waiting[number]
            self._forget(number)

    def _forget(self, number: int) -> None:
        with contextlib.suppress(OdctlError):  # else it is gone, and what it did with it
            self._send(number, "cancel")


def _packed(message: tuple[Any, ...]) -> bytes:
    packed = pickle.dumps(message)
    return HEADER.pack(len(packed)) + packed


class BridgedClient:
    """Stands for a DaemonClient: the same methods, called over there."""

    def __init__(self, bridge: Bridge, choice: Choice, *, timeout: float | None = None) -> None:
        self._bridge = bridge
        self._opening = (choice, timeout)
        self.source = choice.source
        self.endpoint = f"unix://{choice.paths[0]}"
        self.hello_answer: Hello | None = None

    async def __aenter__(self) -> BridgedClient:
        self.endpoint, self.hello_answer = await self._bridge.connect(*self._opening)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The next one that is opened closes it over there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Member(self._bridge, name)


class _Member:
    def __init__(self, bridge: Bridge, path: str) -> None:
        self._bridge = bridge
        self._path = path

    def __getattr__(self, name: str) -> _Member:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Member(self._bridge, f"{self._path}.{name}")

    def __call__(self, *args: Any, **named: Any) -> Coroutine[Any, Any, Any] | AsyncGenerator[Any, None]:
        if self._path in STREAMS:
            return self._bridge.stream(self._path, args, named)
        return self._bridge.call("call", self._path, args, named)
