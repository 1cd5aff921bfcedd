"""The worker's end: opens both connections to its controller, proves who it is, and serves its node on one of them.

`join` is for a node that has no credential yet. A WorkerLink lives as long as both its connections do; whoever wants
another one opens it (transports.grpc.worker).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from grpclib.config import Configuration
from odproto.gen.opendebrid.registry import v1 as pb

from oddaemon.domain.errors import LimitExceeded, NodeUnavailable, OpenDebridError, Unavailable
from oddaemon.domain.link import LinkContent, LinkFile, LinkUse
from oddaemon.domain.node_proof import (
    CREDENTIAL_BYTES,
    Handshake,
    JoinToken,
    Purpose,
    Side,
    new_nonce,
    proof,
    token_key,
)
from oddaemon.domain.types import LinkId, NodeId, ReplicaId, Seconds
from oddaemon.ports.engine import FillStatus
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.node_files import FilesAtController, FilesNews, FilesThere, UsageReport
from oddaemon.ports.node_registry import Announcement, Heartbeat, Joined
from oddaemon.ports.node_transport import ControllerAddress, Identity
from oddaemon.rpc.channel import GivenChannel
from oddaemon.rpc.connection import Connection, keepalive
from oddaemon.rpc.serving import BoundedServer
from oddaemon.transports.grpc.controller_errors import controller_failures, listen_for_refusals
from oddaemon.transports.grpc.guard import Guard
from oddaemon.transports.grpc.handshake import (
    NOT_THE_CONTROLLER,
    check_proof,
    check_version,
    checked_node_id,
    checked_nonce,
    own_version,
)
from oddaemon.transports.grpc.node_service import OPEN_CALLS, NodeService
from oddaemon.transports.grpc.secure import (
    CALLS_PROTOCOL,
    REGISTRY_PROTOCOL,
    binding,
    check_fingerprint,
    spoken,
    worker_context,
)
from oddaemon.wire import node_files as files
from oddaemon.wire import node_messages as node_wire
from oddaemon.wire.registry import announcement_message, heartbeat_message

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_SECONDS = 10.0
CALL_SECONDS = 15.0
FOLLOW_SECONDS = 366 * 86400.0
"""For as long as the connection lives: its keepalive notices the end."""
GOODBYE_SECONDS = 2.0
KEEPALIVE = keepalive(10.0, 10.0)
MOST_SECONDS_BETWEEN_BEATS = 3600.0


class _Pinned(asyncio.Protocol):
    """A connection until its certificate is known to be the right one: only then anything is sent."""

    def __init__(self, address: ControllerAddress, protocol: str, connection: Connection) -> None:
        self._address, self._protocol, self._connection = address, protocol, connection
        self.problem: OpenDebridError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        try:
            check_fingerprint(transport, self._address.fingerprint)
            if spoken(transport) != self._protocol:
                raise Unavailable("what answers there is no controller of OpenDebrid", hint="check CONTROLLER_URL")
        except OpenDebridError as error:
            self.problem = error
            transport.abort()
            return
        transport.set_protocol(self._connection)
        self._connection.connection_made(transport)


async def _connected(address: ControllerAddress, protocol: str, connection: Connection) -> asyncio.Transport:
    """Raises Unauthenticated for another certificate, NodeUnavailable when nothing answers."""
    where = str(address)
    loop = asyncio.get_running_loop()
    context = await asyncio.to_thread(worker_context, protocol)
    door = _Pinned(address, protocol, connection)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            transport, _ = await loop.create_connection(
                lambda: door, address.host, address.port, ssl=context, server_hostname="",
                ssl_handshake_timeout=CONNECT_SECONDS, ssl_shutdown_timeout=2.0, happy_eyeballs_delay=0.25,
            )  # fmt: skip
    except TimeoutError as error:
        raise NodeUnavailable(f"the controller at {where} did not answer within {CONNECT_SECONDS:g} s") from error
    except ssl.SSLError as error:
        if error.reason != "WRONG_VERSION_NUMBER":
            raise NodeUnavailable(f"the controller at {where} cannot be reached: {error.strerror or error}") from error
        raise NodeUnavailable(
            f"what answers at {where} does not speak TLS", hint="is it the nodes' port (9090)? Look at CONTROLLER_URL"
        ) from error
    except OSError as error:
        raise NodeUnavailable(f"the controller at {where} cannot be reached: {error.strerror or error}") from error
    if door.problem is not None:
        raise door.problem
    return transport


@dataclass(slots=True)
class RegistryClient(FilesAtController):
    """The connection on which the worker calls. Every call raises Unavailable (also NodeUnavailable) when the
    controller does not answer, Unauthenticated when it refuses this node."""

    channel: GivenChannel
    transport: asyncio.Transport
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    _nonce: bytes = b""

    @property
    def _stub(self) -> pb.RegistryServiceStub:
        return pb.RegistryServiceStub(self.channel)

    async def _ask(self, call: Callable[..., Awaitable[T]]) -> T:
        with controller_failures(CALL_SECONDS):
            return await call(timeout=CALL_SECONDS)

    async def hello(self) -> None:
        found = await self._ask(lambda **kw: self._stub.hello(pb.HelloRequest(version=own_version()), **kw))
        check_version(found.version, "the controller")
        self._nonce = checked_nonce(found.nonce)

    async def join(self, token: JoinToken, node_id: NodeId) -> Joined:
        key = token_key(token.secret)
        shaken = self._shaken(Purpose.JOIN, node_id)
        shown = proof(key, Side.NODE, shaken)
        request = pb.JoinRequest(token_id=token.id, node_id=node_id, nonce=shaken.node_nonce, proof=shown)
        found = await self._ask(lambda **kw: self._stub.join(request, **kw))
        check_proof(found.proof, key, Side.CONTROLLER, shaken, "the controller does not know this join token")
        if len(found.credential) != CREDENTIAL_BYTES:
            raise Unavailable("the controller answers what is no credential")
        return Joined(node_id=checked_node_id(found.node_id), credential=found.credential)

    async def authenticate(self, identity: Identity) -> None:
        """Both prove that they know the credential. Raises Unauthenticated."""
        shaken = self._shaken(Purpose.REGISTRY, identity.node_id)
        shown = proof(identity.credential, Side.NODE, shaken)
        request = pb.AuthenticateRequest(node_id=identity.node_id, nonce=shaken.node_nonce, proof=shown)
        found = await self._ask(lambda **kw: self._stub.authenticate(request, **kw))
        check_proof(found.proof, identity.credential, Side.CONTROLLER, shaken, NOT_THE_CONTROLLER)

    def _shaken(self, purpose: Purpose, node_id: NodeId) -> Handshake:
        return Handshake(
            purpose=purpose, node_id=node_id, controller_nonce=self._nonce, node_nonce=new_nonce(),
            binding=binding(self.transport),
        )  # fmt: skip

    async def register(self, told: Announcement) -> Seconds:
        """In how many seconds to beat."""
        message = announcement_message(told)
        found = await self._ask(lambda **kw: self._stub.register(message, **kw))
        return Seconds(min(max(found.heartbeat_every_s, 0.01), MOST_SECONDS_BETWEEN_BEATS))

    async def heartbeat(self, told: Heartbeat) -> bool:
        """False: the controller wants to be told again what there is."""
        message = heartbeat_message(told)
        return not (await self._ask(lambda **kw: self._stub.heartbeat(message, **kw))).register_again

    async def report(self, statuses: Sequence[FillStatus]) -> None:
        message = pb.ReportRequest(statuses=[node_wire.status_message(status) for status in statuses])
        await self._ask(lambda **kw: self._stub.report(message, **kw))

    # for this node's file server

    async def follow_files(self, told: FilesThere) -> AsyncGenerator[FilesNews, None]:
        parts = self._stub.follow_files(files.files_there_message(told), timeout=FOLLOW_SECONDS)
        try:
            while True:
                with controller_failures(FOLLOW_SECONDS):
                    part = await anext(parts, None)
                    if part is None:
                        return
                    news = files.news_from(part)
                yield news
        finally:
            # what remains of a call that failed is told by the failure
            with contextlib.suppress(Exception):
                await _closed(parts)

    async def files_heard(self, number: int) -> None:
        await self._ask(lambda **kw: self._stub.files_heard(pb.FilesHeardRequest(number=number), **kw))

    async def link_content(self, link_id: LinkId, replica_id: ReplicaId, file_index: int) -> LinkContent:
        request = pb.LinkContentRequest(link_id=link_id.bytes, replica_id=replica_id.bytes, file_index=file_index)
        name, texts = "", list[str]()
        found: list[LinkFile] = []
        with controller_failures(CALL_SECONDS):
            async for part in self._stub.link_content(request, timeout=CALL_SECONDS):
                name = name or part.name
                texts.append(part.text)
                found += files.files_from(part)
                if len(found) > files.MAX_FILES or sum(map(len, texts)) > files.MAX_PLAYLIST:
                    raise LimitExceeded("more than a link can have")
        return LinkContent(name=name, files=tuple(found), text="".join(texts))

    async def use_link(self, link_id: LinkId, client: str, *, continued: bool) -> LinkUse:
        request = pb.UseLinkRequest(link_id=link_id.bytes, client=client, continued=continued)
        found = await self._ask(lambda **kw: self._stub.use_link(request, **kw))
        with controller_failures(CALL_SECONDS):
            return files.use_from(found)

    async def files_gone(self, replica_id: ReplicaId) -> None:
        request = pb.FilesGoneRequest(replica_id=replica_id.bytes)
        await self._ask(lambda **kw: self._stub.files_gone(request, **kw))

    async def report_usage(self, report: UsageReport) -> None:
        message = files.usage_message(report)
        await self._ask(lambda **kw: self._stub.report_usage(message, **kw))

    def close(self) -> None:
        if self.channel.alive:
            self.channel.connection.say_goodbye()
        self.channel.close()


async def _closed(parts: object) -> None:
    close = getattr(parts, "aclose", None)
    if close is not None:
        await close()


@asynccontextmanager
async def registry_client(
    address: ControllerAddress, configuration: Configuration = KEEPALIVE
) -> AsyncIterator[RegistryClient]:
    """Connected, versions compared; not authenticated. Raises Unsupported for a controller of another major version."""
    channel = GivenChannel(configuration)
    listen_for_refusals(channel)
    transport = await _connected(address, REGISTRY_PROTOCOL, channel.connection)
    channel.opened()
    client = RegistryClient(channel, transport)
    channel.connection.on_lost = client.lost.set
    try:
        await client.hello()
        yield client
    finally:
        client.close()


async def join(address: ControllerAddress, token: JoinToken, node_id: NodeId) -> Joined:
    """A credential for a token. Raises Unauthenticated, AlreadyExists, Unavailable."""
    async with registry_client(address) as client:
        return await client.join(token, node_id)


@dataclass(slots=True)
class ServedNode:
    """The connection on which the controller calls."""

    guard: Guard
    connection: Connection
    welcomed: asyncio.Event = field(default_factory=asyncio.Event)
    """The controller has shown that it is the controller."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    async def end(self) -> None:
        """New calls are refused, those in flight get a word, the connection ends. Idempotent."""
        await self.guard.end()
        self.connection.say_goodbye()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self.lost.wait()
        self.connection.transport.abort()


@asynccontextmanager
async def served_node(
    address: ControllerAddress, identity: Identity, node: NodeClient, configuration: Configuration = KEEPALIVE
) -> AsyncIterator[ServedNode]:
    """Serves `node` to the controller for as long as the context is open, and the connection lives."""
    guard = Guard(OPEN_CALLS)

    def let_in() -> None:
        guard.known = True
        served.welcomed.set()

    service = NodeService(node=node, identity=identity, binding=lambda: binding(connection.transport), let_in=let_in)
    connection = BoundedServer([service], configuration, guard.route).connection()
    served = ServedNode(guard, connection)
    connection.on_lost = served.lost.set
    await _connected(address, CALLS_PROTOCOL, connection)
    try:
        yield served
    finally:
        await served.end()
