"""A small HTTP client for tests: sends exactly what it is told, and shows exactly what came."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    fields: Mapping[str, str]
    """By lower-case name."""
    body: bytes
    complete: bool = True
    """Whether the body was as long as its Content-Length."""


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, host: str, port: int) -> Client:
        return cls(*await asyncio.open_connection(host, port))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        pairs = [line.partition(": ") for line in lines]
        assert len({name.lower() for name, _, _ in pairs}) == len(pairs), f"a field came twice: {head}"
        return int(first.split(" ")[1]), {name.lower(): value for name, _, value in pairs}

    async def answer(self, *, method: str = "GET") -> Answer:
        status, fields = await self.head()
        length = 0 if method == "HEAD" or status == 304 else int(fields["content-length"])
        try:
            body = await self.reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            return Answer(status=status, fields=fields, body=error.partial, complete=False)
        return Answer(status=status, fields=fields, body=body)

    async def ask(self, path: str, fields: Mapping[str, str] | None = None, *, method: str = "GET") -> Answer:
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: test",
            *(f"{name}: {value}" for name, value in (fields or {}).items()),
        ]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        return await self.answer(method=method)

    async def closed_by_server(self) -> bool:
        """Waits for it."""
        try:
            return await self.reader.read() == b""
        except ConnectionResetError:
            return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def fetch(url: str, fields: Mapping[str, str] | None = None, *, method: str = "GET") -> Answer:
    """One request on a connection of its own, within 10 s."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with asyncio.timeout(60):
        client = await Client.to(parts.hostname, parts.port)
        try:
            return await client.ask(parts.path, fields, method=method)
        finally:
            await client.close()
