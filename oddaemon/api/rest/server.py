"""Serves the REST API on a socket that somebody else bound, and comes to an end in time."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl

from aiohttp import web

from oddaemon.api.rest.edge import HEADERS, Edge
from oddaemon.api.rest.envelope import HttpCode, HttpProblem, failure

log = logging.getLogger(__name__)

CLOSE_SECONDS = 0.5
IDLE_SECONDS = 75.0
"""Between two requests on a connection."""
FIRST_SECONDS = 30.0
"""For a new connection's first request to arrive. aiohttp would wait for ever."""
BACKLOG = 1024
MAX_CONNECTIONS = 10_000


class RestServer:
    """`serve`, then `drain`."""

    def __init__(
        self, app: web.Application, edge: Edge, *, first_seconds: float = FIRST_SECONDS, most: int | None = None
    ) -> None:
        """`most` connections at the same time: by default half of the files that this process may have open, so that
        the store and the engines have theirs whoever connects."""
        self._app = app
        self._edge = edge
        self._first_seconds = first_seconds
        self._most = most or _half_of_all_files()
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}
        edge.arrived = self._spoke

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        manager = self._runner.server if self._runner is not None else None
        return 0 if manager is None else len(manager.connections)

    async def serve(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Begins to accept. `listening` is bound and listens already; it is closed with the server."""
        self._runner = web.AppRunner(self._app, access_log=None, handle_signals=False, shutdown_timeout=CLOSE_SECONDS)
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        patience = None if tls is None else self._first_seconds
        self._server = await loop.create_server(
            self._connection, sock=listening, ssl=tls, backlog=BACKLOG, ssl_handshake_timeout=patience
        )

    async def drain(self, deadline: float) -> None:
        """New requests are refused, streams told to end; what is in flight may end within `deadline` seconds, and what
        remains is cut. When this returns, nothing is connected. Idempotent."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        self._edge.parts.ending.set()
        if not await self._edge.quiet(max(deadline - 2 * CLOSE_SECONDS, deadline / 2)):
            log.warning("requests cut short", extra={"action": "http_drain_timeout", "requests": self._edge.running})
        if self._server is not None:
            self._server.close()
        await runner.cleanup()
        for timer in self._silent.values():
            timer.cancel()

    def _connection(self) -> asyncio.BaseProtocol:
        """For each that connects."""
        manager = self._runner.server if self._runner is not None else None
        if manager is None or self.connections >= self._most:
            return _Refused()
        loop = asyncio.get_running_loop()
        protocol = _Connection(
            manager, loop=loop, logger=log, keepalive_timeout=IDLE_SECONDS, auto_decompress=False,
            access_log=None,  # type: ignore[arg-type]  # none: the edge writes what is worth a line
        )  # fmt: skip
        timer = loop.call_later(self._first_seconds, self._give_up, protocol)
        self._silent[protocol] = timer
        return protocol

    def _spoke(self, protocol: asyncio.BaseProtocol) -> None:
        if timer := self._silent.pop(protocol, None):
            timer.cancel()

    def _give_up(self, protocol: _Connection) -> None:
        self._silent.pop(protocol, None)
        if protocol.transport is not None:
            protocol.transport.abort()


class _Connection(web.RequestHandler):
    """One client."""

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """For what is no request. aiohttp would log what it could not read, and send it back: a key may be in it."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was under way already")
        if status < 500:
            log.debug("request cannot be read", extra={"action": "request_unreadable", "status": status})
            response = failure(HttpProblem(status, HttpCode.MALFORMED, "the request cannot be read"), "")
        else:
            log.error("request failed", extra={"action": "request_failed"}, exc_info=exc)
            response = failure(exc or RuntimeError(), "")
        response.headers.update(HEADERS)
        response.force_close()
        return response


class _Refused(asyncio.Protocol):
    """There are too many already."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def _half_of_all_files() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(soft // 2, MAX_CONNECTIONS)
