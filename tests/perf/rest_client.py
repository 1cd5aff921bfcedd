"""HTTP/1.1 over a socket that stays open, with as little work for the client as there can be: the daemon that is
measured runs on the same cores."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.support.daemons import Daemon

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Door:
    """Where a daemon's REST API is, and a key that opens it."""

    host: str
    port: int
    key: str

    def request(self, method: str, path: str, body: object = None) -> bytes:
        data = b"" if body is None else json.dumps(body).encode()
        kind = "Content-Type: application/json\r\n" if data else ""
        return (
            f"{method} /api/v1{path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nX-API-Key: {self.key}\r\n"
            f"{kind}Content-Length: {len(data)}\r\n\r\n"
        ).encode() + data


async def door_of(daemon: Daemon) -> Door:
    """With a key of the admin's that may do everything."""
    made = (await daemon.odctl("apikey", "create", "bench", "--json")).ok().json
    status = (await daemon.odctl("status", "--json")).ok().json
    where = urlsplit(status["server"]["http_url"])
    assert where.hostname is not None
    assert where.port is not None
    return Door(where.hostname, where.port, made["key"])


class Caller:
    """One connection, one request at a time."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def __aenter__(self) -> Caller:
        self._reader, self._writer = await asyncio.open_connection(self._door.host, self._door.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer to a whole request."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        return int(head[9:12]), await self._reader.readexactly(int(length[1])) if length else b""

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """What the envelope of a success holds."""
        status, answer = await self.send(self._door.request(method, path, body))
        assert status < 300, (status, answer)
        return json.loads(answer)["data"]
