"""Plugin record: builds the controller's and the worker's half. gRPC is imported when one of them is wanted: a
controller without workers has no use for it here."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from oddaemon.domain.node_proof import JoinToken
from oddaemon.domain.types import NodeId, Seconds
from oddaemon.ports.node_files import FileDesk
from oddaemon.ports.node_registry import Joined, NodeRegistry
from oddaemon.ports.node_transport import (
    ControllerAddress,
    Identity,
    Judges,
    NodeDoor,
    NodeLink,
    NodeTransport,
    Told,
    ignored,
)
from oddaemon.ports.plugin import Parts, Plugin, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcSettings:
    """Connections between a controller and its workers."""

    keepalive: Seconds = Seconds(10)
    """After so long without a word the other end is asked whether it is there, and given as long to answer."""


@dataclass(frozen=True, slots=True)
class GrpcTransport(NodeTransport):
    settings: GrpcSettings

    async def join(self, address: ControllerAddress, token: JoinToken, node_id: NodeId) -> Joined:
        from oddaemon.transports.grpc.dialer import join

        return await join(address, token, node_id)

    def link(
        self, address: ControllerAddress, identity: Identity, told: Told,
        another: Callable[[], Awaitable[Identity | None]],
    ) -> NodeLink:  # fmt: skip
        from oddaemon.rpc.connection import keepalive
        from oddaemon.transports.grpc.worker import Worker

        every = self.settings.keepalive
        return Worker(address, identity, told, another, keepalive(every, every))

    def door(
        self, registry: NodeRegistry, *, judges: Judges, desk: FileDesk | None = None,
        changed: Callable[[NodeId, bool], None] = ignored,
    ) -> NodeDoor:  # fmt: skip
        from oddaemon.rpc.connection import keepalive
        from oddaemon.transports.grpc.listener import NodeListener

        every = self.settings.keepalive
        return NodeListener(registry, None, judges, desk, changed, keepalive(every, every))

    def context(self, cert: str, key: str) -> ssl.SSLContext:
        from oddaemon.transports.grpc.secure import controller_context

        return controller_context(cert, key)

    def fingerprint(self, cert: str) -> str:
        from oddaemon.transports.grpc.secure import fingerprint_of_file

        return fingerprint_of_file(cert)


def check(settings: GrpcSettings) -> Sequence[Problem]:
    if settings.keepalive < 1:
        return [Problem(message="transport.grpc.keepalive has to be at least a second")]
    return []


def build(settings: GrpcSettings, parts: Parts) -> NodeTransport:
    return GrpcTransport(settings)


PLUGIN: Plugin[NodeTransport] = Plugin(name="grpc", settings_type=GrpcSettings, check=check, build=build)
