"""RegistryService: what a controller serves to one worker, on one connection, over a NodeRegistry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from odproto.gen.opendebrid.registry import v1 as pb

from oddaemon.domain.errors import Unauthenticated
from oddaemon.domain.node_proof import Handshake, Purpose, Side, new_nonce, proof
from oddaemon.domain.types import NodeId
from oddaemon.ports.node_registry import Announcement, NodeRegistry
from oddaemon.transports.grpc.handshake import (
    check_proof,
    check_version,
    checked_node_id,
    checked_nonce,
    own_version,
)
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
    _nonce: bytes | None = None
    _node_id: NodeId | None = None

    async def hello(self, message: pb.HelloRequest) -> pb.HelloResponse:
        check_version(message.version, "the node")
        self._nonce = new_nonce()
        return pb.HelloResponse(version=own_version(), nonce=self._nonce)

    async def join(self, message: pb.JoinRequest) -> pb.JoinResponse:
        try:
            self._greeted()
            node_id = checked_node_id(message.node_id)
            joined = await self.registry.join(v.text(message.token, "token"), node_id)
        except Unauthenticated:
            self.refused()
            raise
        return pb.JoinResponse(node_id=joined.node_id, credential=joined.credential)

    async def authenticate(self, message: pb.AuthenticateRequest) -> pb.AuthenticateResponse:
        try:
            # a nonce is good for one proof
            nonce, self._nonce = self._greeted(), None
            node_id = checked_node_id(message.node_id)
            shaken = Handshake(
                purpose=Purpose.REGISTRY, node_id=node_id, controller_nonce=nonce,
                node_nonce=checked_nonce(message.nonce), binding=self.binding(),
            )  # fmt: skip
            credential = await self.registry.credential_of(node_id)
            check_proof(message.proof, credential, Side.NODE, shaken, "the caller")
            assert credential is not None
        except Unauthenticated:
            self.refused()
            raise
        self._node_id = node_id
        self.known(node_id)
        return pb.AuthenticateResponse(proof=proof(credential, Side.CONTROLLER, shaken))

    def _greeted(self) -> bytes:
        if self._nonce is None:
            raise Unauthenticated("Hello comes first")
        return self._nonce

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
