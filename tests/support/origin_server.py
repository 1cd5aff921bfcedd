"""A web origin on the loopback that can misbehave in every way the daemon has to survive.

Raw asyncio instead of a framework, because most faults are things a framework exists to prevent: lengths that lie,
connections that drop in the middle, servers that never answer. Every path is scripted by a `Page`; every request is
kept in `Origin.requests`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

from tests.support.wait import until

CHUNK = 16 * 1024


@dataclass(slots=True)
class Version:
    """One version of a file: its bytes and what the origin says to tell it from another."""

    body: bytes
    etag: str | None = None
    last_modified: str | None = None


@dataclass(slots=True)
class Page:
    """How one path answers. Change the fields while a test runs to change the origin."""

    version: Version
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/octet-stream"
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Answered first, one a request, before the page behaves."""
    redirect: str | None = None
    ranges: bool = True
    length: Literal["true", "none", "chunked"] | int = "true"
    """What Content-Length says: the truth, nothing (the end is the end of the connection), chunked, or this number."""
    head: int = 200
    """Status that HEAD gets; 200: as GET would."""
    head_length: int | None = None
    """Content-Length that only HEAD tells."""
    head_type: str | None = None
    """Content-Type that only HEAD tells."""
    drop_at: list[int] = field(default_factory=list)
    """For each of the next GETs: the connection is cut after so many bytes of the body."""
    drop_every: int | None = None
    """Each connection is cut after so many bytes of the body."""
    hang: Literal["", "headers", "body"] = ""
    """Says nothing at all, or stops after `hang_at` bytes of the body."""
    hang_at: int = 0
    rate: float | None = None
    """Bytes a second, for each connection."""
    encoding: Literal["", "negotiate", "insist"] = ""
    """gzip when the client takes it, or whether it does or not."""
    coding: str = "gzip"
    change_after: int | None = None
    """After so many bytes of bodies in total, `next_version` is what this path serves to every later request."""
    next_version: Version | None = None
    auth: str | None = None
    """The exact Authorization header that is needed."""
    sent: int = 0
    """Bytes of bodies sent so far."""
    sending: int = 0
    """Bodies that are on their way now."""
    gets: int = 0
    on_get: Callable[[Page], None] | None = None
    on_request: Callable[[Page], None] | None = None
    """Called before a request is answered, which is the last of `Origin.requests` then."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came in."""

    method: str
    target: str
    headers: Mapping[str, str]
    """Names in lower case."""
    at: float
    """Seconds of the epoch."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class Origin:
    """`async with Origin() as origin:` listens on `host` at a port that the system chooses."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._host = host
        self.pages: dict[str, Page] = {}
        self.requests: list[Seen] = []
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._released = asyncio.Event()
        self.port = 0

    async def __aenter__(self) -> Origin:
        self._server = await asyncio.start_server(self._serve, self._host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._released.set()
        self._server.close()
        self.drop_all()
        await until(lambda: not self._writers, every=0.01, what="the connections to end")

    def url(self, path: str = "/") -> str:
        return f"{'https' if self._tls else 'http'}://{self._host}:{self.port}{path}"

    def page(
        self,
        path: str,
        body: bytes = b"",
        *,
        etag: str | None = None,
        last_modified: str | None = None,
        **script: object,
    ) -> Page:
        """Sets how `path` answers; `script` holds fields of `Page`."""
        page = Page(Version(body, etag, last_modified), **script)  # type: ignore[arg-type]
        self.pages[path] = page
        return page

    def seen(self, path: str, method: str | None = None) -> list[Seen]:
        return [r for r in self.requests if r.path == path and method in (None, r.method)]

    def drop_all(self) -> None:
        """Cuts every connection that is open now."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers one request; whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        seen = Seen(method, target, headers, time.time())
        self.requests.append(seen)
        page = self.pages.get(seen.path)
        if page is None:
            return await _plain(writer, seen, 404, {})
        if page.on_request:
            page.on_request(page)
        if page.hang == "headers":
            await self._released.wait()
            return False
        if page.failures:
            status, extra = page.failures.pop(0)
            return await _plain(writer, seen, status, extra)
        if page.auth is not None and headers.get("authorization") != page.auth:
            return await _plain(writer, seen, 401, {"WWW-Authenticate": 'Basic realm="test"'})
        if page.redirect is not None:
            return await _plain(writer, seen, 302, {"Location": page.redirect})
        if page.status != 200:
            return await _plain(writer, seen, page.status, page.headers)
        if method == "HEAD" and page.head != 200:
            return await _plain(writer, seen, page.head, {})
        return await self._file(writer, seen, page)

    async def _file(self, writer: asyncio.StreamWriter, seen: Seen, page: Page) -> bool:
        version = page.version
        body = version.body
        status, start = 200, 0
        lines = {"Content-Type": page.content_type, **page.headers}
        if version.etag:
            lines["ETag"] = version.etag
        if version.last_modified:
            lines["Last-Modified"] = version.last_modified
        if page.encoding == "insist" or (
            page.encoding == "negotiate" and "gzip" in seen.headers.get("accept-encoding", "")
        ):
            body = gzip.compress(body) if page.coding in ("gzip", "x-gzip") else body
            lines["Content-Encoding"] = page.coding
        if page.ranges:
            lines["Accept-Ranges"] = "bytes"
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", seen.headers.get("range", ""))
            if wanted:
                start = int(wanted[1])
                if start >= len(body):
                    return await _plain(writer, seen, 416, {"Content-Range": f"bytes */{len(body)}"})
                end = min(int(wanted[2]) if wanted[2] else len(body) - 1, len(body) - 1)
                status = 206
                lines["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
                body = body[start : end + 1]
        keep = True
        if page.length == "none":
            keep = False
            lines["Connection"] = "close"
        elif page.length == "chunked":
            lines["Transfer-Encoding"] = "chunked"
        elif page.length == "true" or status == 206:
            lines["Content-Length"] = str(len(body))
        else:
            lines["Content-Length"] = str(page.length)
            keep = page.length == len(body)
        if seen.method == "HEAD":
            if page.head_length is not None:
                lines["Content-Length"] = str(page.head_length)
            if page.head_type is not None:
                lines["Content-Type"] = page.head_type
            await _head(writer, status, lines)
            return keep
        page.gets += 1
        if page.on_get:
            page.on_get(page)
        await _head(writer, status, lines)
        page.sending += 1
        try:
            whole = await self._body(writer, page, body)
        finally:
            page.sending -= 1
        return keep and whole

    async def _body(self, writer: asyncio.StreamWriter, page: Page, body: bytes) -> bool:
        """Sends the body as scripted; whether all of it went out."""
        cut = page.drop_at.pop(0) if page.drop_at else page.drop_every
        sent = 0
        for at in range(0, len(body), CHUNK):
            piece = body[at : at + CHUNK]
            if cut is not None:
                piece = piece[: max(0, cut - sent)]
            if page.hang == "body" and sent + len(piece) > page.hang_at:
                await self._released.wait()
                return False
            if page.length == "chunked":
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            else:
                writer.write(piece)
            await writer.drain()
            sent += len(piece)
            page.sent += len(piece)
            if page.change_after is not None and page.next_version and page.sent >= page.change_after:
                page.version, page.next_version = page.next_version, None
            if cut is not None and sent >= cut and sent < len(body):
                writer.close()
                return False
            if page.rate:
                await asyncio.sleep(len(piece) / page.rate)
        if page.length == "chunked":
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        return True


async def _head(writer: asyncio.StreamWriter, status: int, headers: Mapping[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode("latin-1", "surrogateescape"))
    await writer.drain()


async def _plain(writer: asyncio.StreamWriter, seen: Seen, status: int, headers: Mapping[str, str]) -> bool:
    page = b"" if seen.method == "HEAD" else f"<html><body>status {status}</body></html>".encode()
    await _head(writer, status, {"Content-Type": "text/html", "Content-Length": str(len(page)), **headers})
    writer.write(page)
    await writer.drain()
    return True
