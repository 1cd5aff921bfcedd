"""The gRPC server on the control socket, with what grpclib lacks: a stream limit, a drain that ends, keepalive.

Uses names of grpclib that are not public; its version is pinned and a test holds the names (ADR 0007).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from asyncio import BaseTransport
from collections.abc import Callable, Collection

from grpclib._typing import IServable
from grpclib.config import Configuration
from grpclib.protocol import H2Protocol, Stream
from grpclib.server import Handler, Server
from h2.errors import ErrorCodes
from h2.events import PingAckReceived, UnknownFrameReceived
from h2.settings import SettingCodes

from oddaemon.api.control.calls import Gate, StrictCodec

log = logging.getLogger(__name__)

MAX_STREAMS = 1000
"""Per connection. h2 allows 100 without being told, and then every further call waits without an error."""
KEEPALIVE_SECONDS = 20.0
KEEPALIVE_TIMEOUT_SECONDS = 10.0
STREAM_SECONDS = 1.0
"""How long a draining daemon waits for readers of streams to take their end. One that does not read never would."""
GOODBYE_SECONDS = 1.0
"""Of a drain's time: for telling those whose calls are cut short."""
CLOSE_SECONDS = 0.5
"""Twice: for the last answers, and for the end of connections. Then they are cut."""
FLUSH_SECONDS = 2.0
"""What a connection that is closed has for delivering what was written. A client that stopped reading never takes it,
and until then grpclib would hold the connection and every call on it."""
LAST_PING = b"last one"

CONFIGURATION = Configuration(
    _keepalive_time=KEEPALIVE_SECONDS,
    _keepalive_timeout=KEEPALIVE_TIMEOUT_SECONDS,
    _keepalive_permit_without_calls=True,
    _http2_max_pings_without_data=0,
    _http2_min_sent_ping_interval_without_data=KEEPALIVE_SECONDS / 2,
)


class _Connection(H2Protocol):
    """One client. `open_connections` holds those that live."""

    open_connections: set[_Connection]
    transport: asyncio.WriteTransport
    caught_up: asyncio.Event
    _close: Callable[[], None]

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        self.open_connections.add(self)
        # frames of unknown types are ignored (RFC 9113 section 5.5); grpclib would end the connection with a traceback
        self.processor.processors[UnknownFrameReceived] = _ignore
        self.processor.processors[PingAckReceived] = self._ping_acknowledged
        self.caught_up = asyncio.Event()
        # also what the keepalive calls
        self._close, self.connection.close = self.connection.close, self._close_in_time  # type: ignore[method-assign]
        h2 = self.connection._connection
        h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS})
        self.connection.flush()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.open_connections.discard(self)
        super().connection_lost(exc)

    def _close_in_time(self) -> None:
        self._close()
        if self in self.open_connections:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.transport.abort)

    def _ping_acknowledged(self, event: PingAckReceived) -> None:
        self.processor.process_ping_ack_received(event)
        if event.ping_data == LAST_PING:
            self.caught_up.set()

    async def catch_up(self) -> None:
        """Returns when the client has taken in what was sent. One that gets GOAWAY together with an answer may drop the
        answer: grpclib's does."""
        if not self.connection.is_closing():
            self.connection._connection.ping(LAST_PING)
            self.connection.flush()
            await self.caught_up.wait()

    def say_goodbye(self) -> None:
        """GOAWAY, then close; what was written is still delivered, if the client reads it."""
        if not self.connection.is_closing():
            self.connection._connection.close_connection()
            self.connection.flush()
            self.connection.close()


def _ignore(event: object) -> None:
    """Nothing to do."""


class _Handler(Handler):
    """A stream whose headers grpclib cannot make sense of is reset: its client would wait for ever."""

    def accept(self, stream: Stream, headers: list[tuple[str, str]], release_stream: Callable[[], None]) -> None:
        super().accept(stream, headers, release_stream)

        def ended(_: asyncio.Task[None]) -> None:
            if stream.closable:
                stream.reset_nowait(ErrorCodes.PROTOCOL_ERROR)

        self._tasks[stream].add_done_callback(ended)


class ControlServer(Server):
    """Serves on sockets that somebody else bound, and leaves them to their owner."""

    def __init__(self, services: Collection[IServable], gate: Gate) -> None:
        super().__init__(services, codec=StrictCodec(), config=CONFIGURATION)
        self._gate = gate
        self._mapping = {path: gate.guard(path, route) for path, route in self._mapping.items()}
        self._connections: set[_Connection] = set()

    def _protocol_factory(self) -> H2Protocol:
        handler = _Handler(self._mapping, self._codec, self._status_details_codec, self.__dispatch__)
        self._handlers.add(handler)
        connection = _Connection(handler, self._config, self._h2_config)
        connection.open_connections = self._connections
        self.__gc_step__()
        return connection

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

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
        waiting = asyncio.gather(*(connection.catch_up() for connection in self._connections))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await waiting
        for connection in tuple(self._connections):
            connection.say_goodbye()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._connections:  # noqa: ASYNC110  it ends at once but for clients that do not read
                    await asyncio.sleep(0.01)
        except TimeoutError:
            for connection in tuple(self._connections):
                connection.transport.abort()
            await asyncio.sleep(0)
