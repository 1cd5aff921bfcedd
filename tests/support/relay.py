"""A line between a client and a daemon that can be cut: a Unix socket in front of another one."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import TracebackType


class Relay:
    """Listens at `path` for who wants to speak to `to`."""

    def __init__(self, path: Path, to: Path) -> None:
        self.path = path
        self.to = to
        self.told = 0
        """Bytes that came from the daemon."""
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Relay:
        await self.mend()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def mend(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def cut(self) -> None:
        """Ends every connection; nobody gets a new one."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for line in list(self._lines):
            line.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines.add(writer)
        try:
            there, back = await asyncio.open_unix_connection(self.to)
        except OSError:
            writer.close()
            return
        self._lines.add(back)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await asyncio.gather(self._copy(reader, back, counted=False), self._copy(there, writer, counted=True))
        finally:
            self._tasks.discard(task)
            for line in (writer, back):
                self._lines.discard(line)
                line.close()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while part := await source.read(65_536):
                self.told += len(part) if counted else 0
                sink.write(part)
                await sink.drain()
        sink.close()
