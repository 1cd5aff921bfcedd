"""A connection of grpclib's with what it lacks: a limit of streams, unknown frames, an end that comes (ADR 0007)."""

from __future__ import annotations

import asyncio
import socket
from asyncio import BaseTransport
from collections.abc import Callable
from typing import Any

from grpclib.config import Configuration
from grpclib.protocol import H2Protocol, Stream
from grpclib.server import Handler
from h2.errors import ErrorCodes
from h2.events import PingAckReceived, UnknownFrameReceived
from h2.settings import SettingCodes

from oddaemon.domain.errors import LimitExceeded

MAX_STREAMS = 1000
"""Per connection. h2 allows 100 without being told, and then every further call waits without an error."""
FLUSH_SECONDS = 2.0
"""What a connection that is closed has for delivering what was written. A client that stopped reading never takes it,
and until then grpclib would hold the connection and every call on it."""
MAX_UNSENT = 64 << 20
"""Bytes that wait for a peer to read them. Data waits for its window, but each ping is answered at once: one who sends
them and reads nothing would have us keep every answer."""
LAST_PING = b"last one"


def keepalive(every: float, patience: float) -> Configuration:
    """A connection that is quiet is pinged every so many seconds, and given up when no answer comes within
    `patience`."""
    return Configuration(
        _keepalive_time=every,
        _keepalive_timeout=patience,
        _keepalive_permit_without_calls=True,
        _http2_max_pings_without_data=0,
        _http2_min_sent_ping_interval_without_data=every / 2,
    )


class Connection(H2Protocol):
    """One peer. `open_connections` holds those that live."""

    open_connections: set[Connection]
    transport: asyncio.WriteTransport
    caught_up: asyncio.Event
    max_streams = MAX_STREAMS
    max_message: int | None = None
    """Bytes of one message; None: whoever handles the calls sees to it (`rpc.messages.limit_messages`)."""
    on_lost: Callable[[], None] | None = None
    _close: Callable[[], None]

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.WriteTransport)
        _send_at_once(transport)
        self.transport = transport
        self.open_connections.add(self)
        # frames of unknown types are ignored (RFC 9113 section 5.5); grpclib would end the connection with a traceback
        self.processor.processors[UnknownFrameReceived] = _ignore
        self.processor.processors[PingAckReceived] = self._ping_acknowledged
        self.caught_up = asyncio.Event()
        # a call that came just before the end begins after it, and grpclib would log a traceback
        peer = self.connection.get_peer()
        self.connection.get_peer = lambda: peer  # type: ignore[method-assign]
        # also what the keepalive calls
        self._close, self.connection.close = self.connection.close, self._close_in_time  # type: ignore[method-assign]
        if self.max_message is not None:
            self.connection.create_stream = self._bounded(self.connection.create_stream)  # type: ignore[method-assign]
        h2 = self.connection._connection
        h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: self.max_streams})
        self.connection.flush()

    def data_received(self, data: bytes) -> None:
        if self.connection.is_closing():
            # what still comes can get no answer; grpclib would log a traceback for each call of it
            return
        if self.transport.get_write_buffer_size() > MAX_UNSENT:
            self.transport.abort()
            return
        try:
            super().data_received(data)
        except NotImplementedError:
            # an event of HTTP/2 that gRPC has no use for, as a pushed stream
            self.processor.close("Protocol error")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.open_connections.discard(self)
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    def widen(self, config: Configuration, *, streams: int) -> None:
        """From now on the peer may send as much at a time as `config` says, which is more than it was, and open so many
        streams."""
        if self.connection.is_closing():
            return
        h2 = self.connection._connection
        h2.increment_flow_control_window(
            config.http2_connection_window_size - self.config.http2_connection_window_size
        )  # fmt: skip
        h2.update_settings({
            SettingCodes.INITIAL_WINDOW_SIZE: config.http2_stream_window_size,
            SettingCodes.MAX_CONCURRENT_STREAMS: streams,
        })  # fmt: skip
        self.connection.flush()

    def _bounded(self, create: Callable[..., Stream]) -> Callable[..., Stream]:
        """What makes streams, each of which refuses a message over the limit before it is read."""

        def created(**given: Any) -> Stream:
            stream = create(**given)
            receive = stream.recv_data

            async def limited(size: int) -> bytes:
                if self.max_message is not None and size > self.max_message:
                    raise LimitExceeded(f"a message of {size} bytes is larger than the {self.max_message} allowed")
                return await receive(size)

            stream.recv_data = limited  # type: ignore[method-assign]
            return stream

        return created

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


def _send_at_once(transport: asyncio.WriteTransport) -> None:
    """Without it each call waits 40 ms for an acknowledgement. asyncio and grpclib set it too, but not on what a socket
    accepted that was made without naming its protocol."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _ignore(event: object) -> None:
    """Nothing to do."""


class RequestHandler(Handler):
    """A stream whose headers grpclib cannot make sense of is reset: its client would wait for ever."""

    def accept(self, stream: Stream, headers: list[tuple[str, str]], release_stream: Callable[[], None]) -> None:
        super().accept(stream, headers, release_stream)

        def ended(_: asyncio.Task[None]) -> None:
            if stream.closable:
                stream.reset_nowait(ErrorCodes.PROTOCOL_ERROR)

        self._tasks[stream].add_done_callback(ended)
