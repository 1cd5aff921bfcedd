"""A line between a worker and its controller that can be cut, or frozen: nothing passes and nobody is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class TcpRelay:
    to: int
    """A port of this machine."""
    port: int = 0
    refused: int = 0
    """Who came while nobody was there."""
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    lines: set[asyncio.StreamWriter] = field(default_factory=set)

    def freeze(self) -> None:
        self.flowing.clear()

    def thaw(self) -> None:
        self.flowing.set()

    def cut(self) -> None:
        """Ends every connection; new ones may come."""
        for line in tuple(self.lines):
            line.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            # nobody is there: whoever came is told so
            self.refused += 1
            writer.transport.abort()
            return
        self.lines |= {writer, back}
        try:
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        finally:
            self.lines -= {writer, back}
            writer.transport.abort()
            back.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while part := await source.read(65_536):
                await self.flowing.wait()
                sink.write(part)
                await sink.drain()
        sink.transport.abort()


@contextlib.asynccontextmanager
async def tcp_relay(to: int) -> AsyncIterator[TcpRelay]:
    relay = TcpRelay(to)
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
