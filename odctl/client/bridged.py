"""The other end of odctl.client.bridge: `python -m odctl.client.bridged DESCRIPTOR`."""

from __future__ import annotations

import gc

gc.set_threshold(50_000, 20, 20)  # it would only walk the modules that are being imported, again and again

import asyncio  # noqa: E402
import contextlib  # noqa: E402
import pickle  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
from collections.abc import Awaitable, Callable, Sequence  # noqa: E402
from operator import attrgetter  # noqa: E402
from typing import Any  # noqa: E402

from odctl.client.bridge import HEADER  # noqa: E402
from odctl.client.credentials import Keyring  # noqa: E402
from odctl.client.daemon import DaemonClient  # noqa: E402
from odctl.client.endpoints import Choice  # noqa: E402
from odctl.client.errors import ConnectionLost, OdctlError  # noqa: E402
from odctl.client.models import Hello  # noqa: E402
from odctl.client.pages import Memory  # noqa: E402


class Other:
    """Carries out what is asked for with one client at a time."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._client: DaemonClient | None = None
        self._memory = Memory()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._opening: asyncio.Task[None] | None = None

    def take(self, number: int, kind: str, what: Sequence[Any]) -> None:
        if kind == "cancel":
            task = self._tasks.get(number)
            if task is not None:
                task.cancel()
            return
        kinds: dict[str, Callable[..., Awaitable[tuple[str, Any]]]]
        kinds = {"open": self._open, "call": self._call, "stream": self._stream}
        task = asyncio.create_task(self._answer(number, kinds[kind](number, *what)), name=f"bridged {number}")
        self._tasks[number] = task
        if kind == "open":
            self._opening = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    async def _answer(self, number: int, work: Awaitable[tuple[str, Any]]) -> None:
        try:
            await self._tell(number, *await work)
        except OdctlError as error:
            await self._tell(number, "error", error)
        except Exception as error:  # noqa: BLE001 - it would end this process, and with it every other call
            await self._tell(number, "error", OdctlError(f"unexpected {type(error).__name__}: {error}", code="BUG"))

    async def _tell(self, number: int, answer: str, value: Any) -> None:
        packed = pickle.dumps((number, answer, value))
        self._writer.write(HEADER.pack(len(packed)) + packed)
        await self._writer.drain()

    async def _open(self, number: int, choice: Choice, timeout: float | None) -> tuple[str, tuple[str, Hello | None]]:
        await self.close()
        client = DaemonClient(choice, timeout=timeout, keyring=Keyring(), memory=self._memory)
        self._client = await client.__aenter__()
        return "result", (client.endpoint, client.hello_answer)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.__aexit__(None, None, None)

    async def _method(self, path: str) -> Any:
        if self._opening is not None:
            await asyncio.wait((self._opening,))  # it may have been asked for in the same breath
        if self._client is None:
            raise ConnectionLost()
        return attrgetter(path)(self._client)

    async def _call(self, number: int, path: str, args: Sequence[Any], named: dict[str, Any]) -> tuple[str, Any]:
        return "result", await (await self._method(path))(*args, **named)

    async def _stream(self, number: int, path: str, args: Sequence[Any], named: dict[str, Any]) -> tuple[str, None]:
        async with contextlib.aclosing((await self._method(path))(*args, **named)) as items:
            async for item in items:
                await self._tell(number, "item", item)
        return "end", None


async def serve(descriptor: int) -> None:
    """Until the other end is closed."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
    other = Other(writer)
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
            number, kind, *what = pickle.loads(await reader.readexactly(length))  # noqa: S301 - of our own parent
            other.take(number, kind, what)
    await other.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
