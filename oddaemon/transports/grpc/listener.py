"""The controller's end: accepts workers' connections, finds out who each is, and holds the newest of each node.

Two kinds come to one port, told apart by what TLS agreed on (ALPN): on one the worker calls (RegistryService), on the
other the controller does. Whoever does not say in time who it is, is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address

from grpclib.config import Configuration
from odproto.gen.opendebrid.node import v1 as pb

from oddaemon.domain.errors import NodeUnavailable, OpenDebridError, Unauthenticated
from oddaemon.domain.node_proof import Handshake, Purpose, Side, new_nonce, proof
from oddaemon.domain.types import NodeId
from oddaemon.ports.node_files import FileDesk
from oddaemon.ports.node_registry import Announcement, NodeRegistry
from oddaemon.ports.node_transport import Judges
from oddaemon.rpc.channel import GivenChannel
from oddaemon.rpc.connection import Connection, keepalive
from oddaemon.rpc.serving import BoundedServer
from oddaemon.transports.grpc.client import GrpcNodeClient
from oddaemon.transports.grpc.failures import failures, listen_for_errors
from oddaemon.transports.grpc.guard import MAX_STRANGERS_MESSAGE, Guard
from oddaemon.transports.grpc.handshake import (
    NOT_THE_NODE,
    check_proof,
    check_version,
    checked_node_id,
    checked_nonce,
    own_version,
)
from oddaemon.transports.grpc.line import Line
from oddaemon.transports.grpc.refusals import Refusals
from oddaemon.transports.grpc.registry_service import OPEN_CALLS, RegistryService
from oddaemon.transports.grpc.secure import CALLS_PROTOCOL, REGISTRY_PROTOCOL, binding, spoken
from oddaemon.transports.grpc.strangers import Strangers, say_shut

log = logging.getLogger(__name__)

GREETING_SECONDS = 5.0
"""From a connection's coming until it is known who that is, the TLS handshake included."""
REFUSED_SECONDS = 0.5
"""From the answer that somebody was refused to the end of the connection."""
END_SECONDS = 3.0
KEEPALIVE = keepalive(10.0, 10.0)
STRANGERS_STREAMS, REGISTRY_STREAMS = 4, 64
STRANGERS_WINDOW = (1 << 16) - 1
"""Bytes, the least that HTTP/2 begins with."""
STREAM_WINDOW, CONNECTION_WINDOW = 1 << 20, (1 << 31) - 1
"""Of what a node sends: each call has its own, and all together as good as no limit. With one that they share, a file
that nobody takes would hold up every other call."""


class _RegistryConnection(Connection):
    max_streams = STRANGERS_STREAMS


class _RegistryServer(BoundedServer):
    connection_type = _RegistryConnection


@dataclass(slots=True, eq=False)
class _Visit:
    """A connection of the kind on which the worker calls."""

    guard: Guard
    connection: Connection
    node_id: NodeId | None = None


@dataclass(frozen=True, slots=True)
class _Stranger:
    plain: asyncio.Transport
    """Below TLS."""
    address: str
    door: _Door
    late: asyncio.TimerHandle


@dataclass(slots=True)
class NodeListener:
    """A context: within it workers are served. `changed` is told when a node's connection came or went."""

    registry: NodeRegistry
    context: ssl.SSLContext | None
    """Set before `serve`."""
    judges: Judges = field(default_factory=Judges)
    desk: FileDesk | None = None
    changed: Callable[[NodeId, bool], None] = lambda node_id, connected: None
    configuration: Configuration = KEEPALIVE
    greeting_seconds: float = GREETING_SECONDS
    lines: dict[NodeId, Line] = field(default_factory=dict)
    _visits: set[_Visit] = field(default_factory=set)
    _strangers: Strangers = field(default_factory=lambda: Strangers(time.monotonic))
    _servers: list[asyncio.Server] = field(default_factory=list)
    _tasks: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    _refusals: Refusals = field(default_factory=lambda: Refusals(time.monotonic))
    _ending: bool = False

    def client(self, node_id: NodeId) -> GrpcNodeClient:
        """For good: its calls go over whatever connection the node has at the time."""
        return GrpcNodeClient(self._line(node_id), self.judges)

    def forget(self, node_id: NodeId) -> None:
        """The node was removed: its connections are cut, what it said is forgotten."""
        self._strangers.forget(node_id)
        line = self.lines.pop(node_id, None)
        if line is not None:
            line.close()
        for visit in tuple(self._visits):
            if visit.node_id == node_id:
                visit.connection.say_goodbye()

    def _line(self, node_id: NodeId) -> Line:
        return self.lines.setdefault(node_id, Line(node_id))

    async def __aenter__(self) -> NodeListener:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.end()
        await self._tasks.__aexit__(None, None, None)

    async def serve(self, listening: socket.socket) -> None:
        """Begins to accept. `listening` is bound and listens already; a duplicate of it is used."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Door(self), sock=listening.dup(), backlog=1024)
        self._servers.append(server)

    async def end(self) -> None:
        """Accepts nothing more, ends what is open; calls in flight end with NodeUnavailable here and with a word of
        farewell there. Idempotent."""
        self._ending = True
        for server in self._servers:
            server.close()
        for transport in tuple(self._strangers):
            transport.abort()
        for line in self.lines.values():
            line.close()
        await asyncio.gather(*(visit.guard.end() for visit in self._visits))
        for visit in tuple(self._visits):
            visit.connection.say_goodbye()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while self._visits:  # noqa: ASYNC110  it ends at once but for workers that do not read
                    await asyncio.sleep(0.01)
        for visit in tuple(self._visits):
            visit.connection.transport.abort()

    # who comes

    def arrived(self, plain: asyncio.Transport, door: _Door) -> None:
        """Somebody connected. TLS is begun here, not by asyncio's server, so that who has not come through it is
        counted, too."""
        address = _address(plain)
        if self._ending or self._refusals.shut(address) or not self._strangers.take(plain, address):
            plain.abort()
            return
        plain.pause_reading()
        self._tasks.create_task(self._secure(plain, door), name="TLS of a node")

    async def _secure(self, plain: asyncio.Transport, door: _Door) -> None:
        loop = asyncio.get_running_loop()
        assert self.context is not None
        late = loop.call_later(self.greeting_seconds, self._late, plain)
        try:
            transport = await loop.start_tls(
                plain, door, self.context, server_side=True, ssl_handshake_timeout=self.greeting_seconds,
                ssl_shutdown_timeout=2.0,
            )  # fmt: skip
            # None: it was cut meanwhile
            kind = spoken(transport) if transport is not None else None
        except Exception as error:  # noqa: BLE001  whatever a stranger sends is his own failure
            log.debug("no TLS", extra={"action": "node_no_tls", "error": repr(error)})
            transport = kind = None
        stranger = _Stranger(plain, _address(plain), door, late)
        if transport is not None and kind == CALLS_PROTOCOL and not self._ending:
            self._to_call(transport, stranger)
        elif transport is not None and kind == REGISTRY_PROTOCOL and not self._ending:
            self._to_be_called(transport, stranger)
        else:
            self._gone(stranger)
            plain.abort()

    def _count_refusal(self, address: str) -> None:
        if self._refusals.count(address):
            say_shut(address)

    def _late(self, plain: asyncio.Transport) -> None:
        if plain in self._strangers:
            plain.abort()

    def _to_be_called(self, transport: asyncio.Transport, stranger: _Stranger) -> None:
        guard = Guard(OPEN_CALLS)

        def known(node_id: NodeId) -> None:
            guard.known = True
            visit.node_id = node_id
            self._welcome(stranger, node_id)
            connection.widen(self.configuration, streams=REGISTRY_STREAMS)
            for other in tuple(self._visits):
                if other.node_id == node_id and other is not visit:
                    other.connection.say_goodbye()

        def refused() -> None:
            log.warning("node refused", extra={"action": "node_refused", "address": stranger.address})
            self._count_refusal(stranger.address)
            asyncio.get_running_loop().call_later(REFUSED_SECONDS, transport.abort)

        def lost() -> None:
            self._visits.discard(visit)
            self._gone(stranger)

        service = RegistryService(
            registry=self.registry, binding=partial(binding, transport), known=known, announced=self._announced,
            refused=refused, desk=self.desk, near=partial(_is_near, stranger.plain),
        )  # fmt: skip
        connection = _RegistryServer([service], self._narrow, guard.route).connection()
        connection.on_lost = lost
        visit = _Visit(guard, connection)
        self._visits.add(visit)
        stranger.door.hand_over(transport, connection)

    def _announced(self, node_id: NodeId, told: Announcement) -> None:
        self._line(node_id).announced = told

    def _to_call(self, transport: asyncio.Transport, stranger: _Stranger) -> None:
        channel = GivenChannel(self._narrow, MAX_STRANGERS_MESSAGE)
        listen_for_errors(channel)
        channel.connection.on_lost = partial(self._lost, channel, stranger)
        stranger.door.hand_over(transport, channel.connection)
        channel.opened()
        self._tasks.create_task(self._greet(channel, transport, stranger), name="greet a node")

    async def _greet(self, channel: GivenChannel, transport: asyncio.Transport, stranger: _Stranger) -> None:
        try:
            node_id, instance = await self._shake(channel, transport)
        except OpenDebridError as error:
            facts = {"action": "node_refused", "error": error.message, "address": stranger.address}
            log.warning("node refused", extra=facts)
            # one that is still there said something, and no node says that
            if isinstance(error, Unauthenticated) or (isinstance(error, NodeUnavailable) and channel.alive):
                self._count_refusal(stranger.address)
            channel.close()
            return
        except Exception as error:
            # also from the registry: the store may fail
            log.error("node not greeted", extra={"action": "node_refused"}, exc_info=error)
            channel.close()
            return
        except BaseException:
            channel.close()
            raise
        self._welcome(stranger, node_id)
        if self._ending or not channel.alive:
            channel.close()
            return
        channel.widen(replace(
            self.configuration, http2_stream_window_size=STREAM_WINDOW, http2_connection_window_size=CONNECTION_WINDOW,
        ))  # fmt: skip
        line = self._line(node_id)
        if line.connected:
            same = line.instance == instance
            log.warning(
                "node connected anew", extra={"action": "node_replaced", "node": node_id, "same_program": same}
            )
        line.take(channel, instance)
        self.changed(node_id, True)

    async def _shake(self, channel: GivenChannel, transport: asyncio.Transport) -> tuple[NodeId, str]:
        """Who is at the other end. Raises Unauthenticated, Unsupported, NodeUnavailable."""
        stub, nonce = pb.NodeServiceStub(channel), new_nonce()
        with failures("(new)", self.greeting_seconds):
            hello = await stub.hello(
                pb.HelloRequest(version=own_version(), nonce=nonce), timeout=self.greeting_seconds
            )  # fmt: skip
        check_version(hello.version, "the node")
        node_id = checked_node_id(hello.node_id)
        shaken = Handshake(
            purpose=Purpose.CALLS, node_id=node_id, controller_nonce=nonce,
            node_nonce=checked_nonce(hello.nonce), binding=binding(transport),
        )  # fmt: skip
        credential = await self.registry.credential_of(node_id)
        check_proof(hello.proof, credential, Side.NODE, shaken, NOT_THE_NODE)
        assert credential is not None
        shown = proof(credential, Side.CONTROLLER, shaken)
        with failures(node_id, self.greeting_seconds):
            await stub.authenticate(pb.AuthenticateRequest(proof=shown), timeout=self.greeting_seconds)
        return node_id, hello.instance[:100]

    @property
    def _narrow(self) -> Configuration:
        """For whoever is not known yet: what of his waits here is little."""
        return replace(
            self.configuration, http2_stream_window_size=STRANGERS_WINDOW, http2_connection_window_size=STRANGERS_WINDOW
        )  # fmt: skip

    def _welcome(self, stranger: _Stranger, node_id: NodeId) -> None:
        stranger.late.cancel()
        self._strangers.known(stranger.plain, node_id)

    def _gone(self, stranger: _Stranger) -> None:
        stranger.late.cancel()
        self._strangers.gone(stranger.plain)

    def _lost(self, channel: GivenChannel, stranger: _Stranger) -> None:
        self._gone(stranger)
        for line in self.lines.values():
            if line.lost(channel):
                self.changed(line.node_id, False)
        channel.close()


class _Door(asyncio.Protocol):
    """A connection until it is known of which kind it is. What comes right behind the TLS handshake waits here: whoever
    awaits `start_tls` goes on only afterwards."""

    def __init__(self, listener: NodeListener) -> None:
        self._listener = listener
        self._waiting = bytearray()
        self._gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._listener.arrived(transport, self)

    def data_received(self, data: bytes) -> None:
        self._waiting += data

    def connection_lost(self, exc: BaseException | None) -> None:
        self._gone = True

    def hand_over(self, transport: asyncio.Transport, connection: Connection) -> None:
        transport.set_protocol(connection)
        connection.connection_made(transport)
        if self._waiting:
            connection.data_received(bytes(self._waiting))
        if self._gone:
            connection.connection_lost(None)


def _is_near(transport: asyncio.Transport) -> bool:
    try:
        return ip_address(_address(transport)).is_loopback
    except ValueError:
        return False


def _address(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""
