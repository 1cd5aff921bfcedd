"""The gRPC server on the control socket, with what grpclib lacks: a stream limit, a drain that ends, keepalive.

Uses names of grpclib that are not public; its version is pinned and a test holds the names (ADR 0007).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Collection

from grpclib._typing import IServable

from oddaemon.api.control.calls import Gate
from oddaemon.rpc.connection import keepalive
from oddaemon.rpc.serving import BoundedServer

log = logging.getLogger(__name__)

KEEPALIVE_SECONDS = 20.0
KEEPALIVE_TIMEOUT_SECONDS = 10.0
STREAM_SECONDS = 1.0
"""How long a draining daemon waits for readers of streams to take their end. One that does not read never would."""
GOODBYE_SECONDS = 1.0
"""Of a drain's time: for telling those whose calls are cut short."""
CLOSE_SECONDS = 0.5
"""Twice: for the last answers, and for the end of connections. Then they are cut."""
CONFIGURATION = keepalive(KEEPALIVE_SECONDS, KEEPALIVE_TIMEOUT_SECONDS)


class ControlServer(BoundedServer):
    """Serves on sockets that somebody else bound, and leaves them to their owner."""

    def __init__(self, services: Collection[IServable], gate: Gate) -> None:
        super().__init__(services, CONFIGURATION, gate.guard)
        self._gate = gate

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self.live)

    async def serve(self, listening: socket.socket) -> None:
        """Begins to accept. `listening` is bound and listens already; a duplicate of it is used."""
        await self.start(sock=listening.dup(), backlog=1024)

    async def drain(self, deadline: float) -> None:
        """New calls are refused, also on new connections; streams end; calls in flight may end within `deadline`
        seconds, and what remains is cancelled with an answer. When this returns, nothing is connected. Idempotent."""
        if self._server is None:
            return
        time = asyncio.get_running_loop().time
        patience = max(deadline - GOODBYE_SECONDS - 2 * CLOSE_SECONDS, deadline / 2)
        until = time() + patience
        self._gate.close()
        if not await self._gate.quiet(min(STREAM_SECONDS, patience)):
            self._gate.cut(streams_only=True)
            if not await self._gate.quiet(until - time()):
                log.warning("calls cut short", extra={"action": "drain_timeout", "calls": self._gate.running})
                self._gate.cut()
                if not await self._gate.quiet(GOODBYE_SECONDS):
                    log.error("calls do not end", extra={"action": "drain_stuck", "calls": self._gate.running})
        self._server.close()
        await self._say_goodbye()
        self._gate.end()

    async def _say_goodbye(self) -> None:
        waiting = asyncio.gather(*(connection.catch_up() for connection in self.live))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await waiting
        for connection in tuple(self.live):
            connection.say_goodbye()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while self.live:  # noqa: ASYNC110  it ends at once but for clients that do not read
                    await asyncio.sleep(0.01)
        except TimeoutError:
            for connection in tuple(self.live):
                connection.transport.abort()
            await asyncio.sleep(0)
