"""A line between a worker and its controller that can be cut, frozen (nothing passes and nobody is told), or slowed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["up", "down"]
"""To whom the relay leads, or back."""


@dataclass(slots=True)
class TcpRelay:
    to: int
    host: str = "127.0.0.1"
    port: int = 0
    refused: int = 0
    """Who came while nobody was there."""
    slow: float = 0.0
    """Seconds that each part waits."""
    _flowing: dict[Direction, asyncio.Event] = field(
        default_factory=lambda: {"up": asyncio.Event(), "down": asyncio.Event()}
    )
    lines: set[asyncio.StreamWriter] = field(default_factory=set)

    def freeze(self, *directions: Direction) -> None:
        for direction in directions or ("up", "down"):
            self._flowing[direction].clear()

    def thaw(self) -> None:
        for flowing in self._flowing.values():
            flowing.set()

    def cut(self) -> None:
        """Ends every connection; new ones may come."""
        for line in tuple(self.lines):
            line.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(self.host, self.to)
        except OSError:
            # nobody is there: whoever came is told so
            self.refused += 1
            writer.transport.abort()
            return
        self.lines |= {writer, back}
        try:
            await asyncio.gather(self._copy(reader, back, "up"), self._copy(there, writer, "down"))
        finally:
            self.lines -= {writer, back}
            writer.transport.abort()
            back.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: Direction) -> None:
        with contextlib.suppress(OSError):
            while part := await source.read(65_536):
                await self._flowing[direction].wait()
                if self.slow:
                    await asyncio.sleep(self.slow)
                sink.write(part)
                await sink.drain()
        sink.transport.abort()


@contextlib.asynccontextmanager
async def tcp_relay(to: int, host: str = "127.0.0.1") -> AsyncIterator[TcpRelay]:
    relay = TcpRelay(to, host)
    relay.thaw()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(relay.serve(reader, writer))
        tasks.add(task)
        await asyncio.wait({task})
        tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        relay.thaw()
        server.close()
        relay.cut()
        await asyncio.gather(*tasks, return_exceptions=True)
