"""A node, and a controller that calls it over real TLS on the loopback, in the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from grpclib.config import Configuration

from oddaemon import __version__
from oddaemon.domain.torrent import TorrentInfo
from oddaemon.domain.types import BytesPerSecond, EngineName, NodeId
from oddaemon.engines.aria2.torrent_fill import refusal
from oddaemon.ports.engine import Engine
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.node_registry import Heartbeat
from oddaemon.ports.node_transport import ControllerAddress, Identity, Judges
from oddaemon.services.announcing import announcement
from oddaemon.services.node_agent import NodeAgent
from oddaemon.storage.local import LocalStorage
from oddaemon.testing.fakes import FakeRegistry
from oddaemon.transports.grpc.client import GrpcNodeClient
from oddaemon.transports.grpc.dialer import registry_client, served_node
from oddaemon.transports.grpc.listener import KEEPALIVE, NodeListener
from oddaemon.transports.grpc.secure import controller_context, fingerprint_of_file
from tests.support.wait import until

TLS = Path(__file__).parent / "tls"
WORKER = NodeId("attic")
ARIA2 = EngineName("aria2")


def agent_of(engine: Engine, base: Path) -> NodeAgent:
    """A node with one engine, which is not started here."""
    storage = LocalStorage(base)
    storage.prepare(known=False)
    return NodeAgent(id=WORKER, display_name="attic", engines={engine.name: engine}, storage=storage)


async def beat_of(node: NodeClient) -> Heartbeat:
    snapshot = await node.snapshot()
    return Heartbeat(disk=snapshot.disk, engines=snapshot.engines, rate_down=BytesPerSecond(1), running=2, load=None)


@contextlib.contextmanager
def tcp_listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        listening.setblocking(False)
        yield listening


@dataclass(slots=True)
class Controller:
    """A listener with a registry that remembers."""

    registry: FakeRegistry
    listener: NodeListener
    port: int
    fingerprint: str
    changes: list[tuple[NodeId, bool]] = field(default_factory=list)

    def address(self, port: int | None = None, fingerprint: str | None = None) -> ControllerAddress:
        return ControllerAddress(
            host="127.0.0.1", port=port or self.port, fingerprint=fingerprint or self.fingerprint
        )  # fmt: skip

    def identity(self, node_id: NodeId = WORKER, instance: str = "1") -> Identity:
        """Of a node that joined."""
        credential = self.registry.credentials.get(node_id) or self.registry.add(node_id)
        return Identity(node_id=node_id, credential=credential, instance=instance)

    async def connected(self, node_id: NodeId = WORKER) -> GrpcNodeClient:
        client = self.listener.client(node_id)
        await until(lambda: client.line.connected, every=0.01, what="the node's connection")
        return client


@contextlib.asynccontextmanager
async def controller(
    cert: str = "one", *, configuration: Configuration = KEEPALIVE, greeting: float = 5.0,
    judges: Judges | None = None,
) -> AsyncIterator[Controller]:  # fmt: skip
    pem, key = str(TLS / f"{cert}.pem"), str(TLS / f"{cert}.key")
    context = await asyncio.to_thread(controller_context, pem, key)
    registry = FakeRegistry()
    async with NodeListener(
        registry, context, judges or Judges(), configuration=configuration, greeting_seconds=greeting
    ) as listening:
        with tcp_listener() as sock:
            await listening.serve(sock)
            built = Controller(
                registry, listening, sock.getsockname()[1], await asyncio.to_thread(fingerprint_of_file, pem)
            )  # fmt: skip
            listening.changed = lambda node_id, connected: built.changes.append((node_id, connected))
            yield built


@contextlib.asynccontextmanager
async def linked(agent: NodeAgent, judges: Judges | None = None) -> AsyncIterator[GrpcNodeClient]:
    """The node as its controller sees it, registered and connected."""
    async with controller(judges=judges) as built:
        identity = built.identity()
        async with registry_client(built.address()) as registry, served_node(built.address(), identity, agent):
            await registry.authenticate(identity)
            await registry.register(await announcement(agent, instance="1", software=__version__))
            yield await built.connected()


def own_judges(agent: NodeAgent) -> Judges:
    """As of a controller that has the same engines."""
    options = {name: engine.validate_options for name, engine in agent.engines.items()}

    def aria2(torrent: TorrentInfo, version: str) -> str | None:
        failure = refusal(torrent, version)
        return None if failure is None else failure.message

    return Judges(options=options, torrents={ARIA2: aria2})
