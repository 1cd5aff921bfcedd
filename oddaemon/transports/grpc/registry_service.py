"""RegistryService: what a controller serves to one worker, on one connection, over a NodeRegistry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from odproto.gen.opendebrid.registry import v1 as pb

from oddaemon.domain.errors import Unauthenticated, Unsupported
from oddaemon.domain.node_proof import Handshake, Purpose, Side, new_nonce, proof
from oddaemon.domain.types import NodeId
from oddaemon.ports.node_files import FileDesk
from oddaemon.ports.node_registry import Announcement, NodeRegistry
from oddaemon.transports.grpc.handshake import (
    NOT_THE_NODE,
    check_proof,
    check_version,
    checked_node_id,
    checked_nonce,
    own_version,
)
from oddaemon.wire import node_files as files
from oddaemon.wire import node_messages as node
from oddaemon.wire import node_values as v
from oddaemon.wire.registry import announcement_from, heartbeat_from

OPEN_CALLS = frozenset({"Hello", "Join", "Authenticate"})
MAX_REPORTED = 10_000


@dataclass(slots=True)
class RegistryService(pb.RegistryServiceBase):
    """`known` is called when the node has shown that it is that node, `announced` with what it says it has, `refused`
    when somebody showed what is not good."""

    registry: NodeRegistry
    binding: Callable[[], bytes]
    known: Callable[[NodeId], None]
    announced: Callable[[NodeId, Announcement], None]
    refused: Callable[[], None]
    desk: FileDesk | None = None
    """None: this controller takes no file servers of nodes."""
    near: Callable[[], bool] = lambda: False
    """Whether the connection comes from this machine itself."""
    _nonce: bytes | None = None
    _node_id: NodeId | None = None

    async def hello(self, message: pb.HelloRequest) -> pb.HelloResponse:
        check_version(message.version, "the node")
        self._nonce = new_nonce()
        return pb.HelloResponse(version=own_version(), nonce=self._nonce)

    async def join(self, message: pb.JoinRequest) -> pb.JoinResponse:
        try:
            shaken = self._shaken(Purpose.JOIN, message.node_id, message.nonce)
            token_id = v.text(message.token_id, "token_id")
            key = await self.registry.token_key(token_id)
            check_proof(message.proof, key, Side.NODE, shaken, "this join token is not good")
            assert key is not None
            joined = await self.registry.join(token_id, shaken.node_id)
        except Unauthenticated:
            self.refused()
            raise
        return pb.JoinResponse(
            node_id=joined.node_id, credential=joined.credential, proof=proof(key, Side.CONTROLLER, shaken)
        )  # fmt: skip

    async def authenticate(self, message: pb.AuthenticateRequest) -> pb.AuthenticateResponse:
        try:
            shaken = self._shaken(Purpose.REGISTRY, message.node_id, message.nonce)
            node_id = shaken.node_id
            credential = await self.registry.credential_of(node_id)
            check_proof(message.proof, credential, Side.NODE, shaken, NOT_THE_NODE)
            assert credential is not None
        except Unauthenticated:
            self.refused()
            raise
        self._node_id = node_id
        self.known(node_id)
        return pb.AuthenticateResponse(proof=proof(credential, Side.CONTROLLER, shaken))

    def _shaken(self, purpose: Purpose, node_id: str, node_nonce: bytes) -> Handshake:
        """Raises Unauthenticated. A nonce is good for one proof."""
        nonce, self._nonce = self._nonce, None
        if nonce is None:
            raise Unauthenticated("Hello comes first")
        return Handshake(
            purpose=purpose, node_id=checked_node_id(node_id), controller_nonce=nonce,
            node_nonce=checked_nonce(node_nonce), binding=self.binding(),
        )  # fmt: skip

    @property
    def _who(self) -> NodeId:
        assert self._node_id is not None
        return self._node_id

    async def register(self, message: pb.RegisterRequest) -> pb.RegisterResponse:
        told = announcement_from(message)
        every = await self.registry.register(self._who, told)
        self.announced(self._who, told)
        return pb.RegisterResponse(heartbeat_every_s=every)

    async def heartbeat(self, message: pb.HeartbeatRequest) -> pb.HeartbeatResponse:
        return pb.HeartbeatResponse(
            register_again=not await self.registry.heartbeat(self._who, heartbeat_from(message))
        )  # fmt: skip

    async def report(self, message: pb.ReportRequest) -> pb.ReportResponse:
        statuses = v.at_most(message.statuses, MAX_REPORTED, "statuses")
        await self.registry.report(self._who, [node.status_from(status) for status in statuses])
        return pb.ReportResponse()

    # for the node's file server

    @property
    def _desk(self) -> FileDesk:
        if self.desk is None:
            raise Unsupported("this controller takes no file servers of nodes")
        return self.desk

    async def follow_files(self, message: pb.FollowFilesRequest) -> AsyncIterator[pb.FilesNews]:
        told = files.files_there_from(message)
        async with aclosing(self._desk.follow_files(self._who, told, near=self.near())) as following:
            async for news in following:
                yield files.news_message(news)

    async def files_heard(self, message: pb.FilesHeardRequest) -> pb.FilesHeardResponse:
        await self._desk.files_heard(self._who, message.number)
        return pb.FilesHeardResponse()

    async def link_content(self, message: pb.LinkContentRequest) -> AsyncIterator[pb.LinkContentResponse]:
        link_id, replica_id = v.link_id(message.link_id), v.replica_id(message.replica_id)
        content = await self._desk.link_content(self._who, link_id, replica_id, message.file_index)
        for part in files.content_messages(content):
            yield part

    async def use_link(self, message: pb.UseLinkRequest) -> pb.UseLinkResponse:
        link_id, client = v.link_id(message.link_id), v.text(message.client, "client")
        use = await self._desk.use_link(self._who, link_id, client, continued=message.continued)
        return files.use_message(use)

    async def files_gone(self, message: pb.FilesGoneRequest) -> pb.FilesGoneResponse:
        replica_id = v.replica_id(message.replica_id)
        await self._desk.files_gone(self._who, replica_id)
        return pb.FilesGoneResponse()

    async def report_usage(self, message: pb.ReportUsageRequest) -> pb.ReportUsageResponse:
        report = files.usage_from(message)
        await self._desk.report_usage(self._who, report)
        return pb.ReportUsageResponse()
