"""Builds what a controller needs for other nodes than its own: who they are, where they come in, and how they are
called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from oddaemon.app.compose_core import Core
from oddaemon.app.node_port import NodePort
from oddaemon.app.settings import NodesSettings
from oddaemon.domain.cache import Replica
from oddaemon.domain.node import NodeSnapshot
from oddaemon.domain.types import NodeId
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import FillStatus, TorrentEngine
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.node_transport import Judges, NodeDoor, NodeTransport
from oddaemon.ports.store import Store
from oddaemon.services.node_agent import NodeAgent
from oddaemon.services.node_registry import StoredRegistry
from oddaemon.services.nodes import Nodes
from oddaemon.services.remote_files import RemoteFiles

STOP_SECONDS = 2.0


@dataclass(slots=True)
class Fleet:
    """Every node, as it is called: this process's own, and whoever joined, also while it is away."""

    local: NodeId
    clients: dict[NodeId, NodeClient] = field(default_factory=dict)

    def client(self, node_id: NodeId | None) -> NodeClient:
        """The controller's own for None. Raises KeyError."""
        return self.clients[self.local if node_id is None else node_id]


@dataclass(frozen=True, slots=True)
class _Connections:
    """Meets services.nodes.Connections."""

    registry: StoredRegistry
    door: NodeDoor
    fleet: Fleet
    files: RemoteFiles

    def silencing(self, node_id: NodeId) -> AbstractAsyncContextManager[None]:
        return self.registry.silencing(node_id)

    async def stop(self, node_id: NodeId, fills: Sequence[Replica]) -> None:
        client = self.fleet.clients.pop(node_id, None)
        if client is None or not fills:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                calls = (client.cancel(fill.engine, fill.id) for fill in fills)
                # one that has gone away hears of it when it comes back
                await asyncio.gather(*calls, return_exceptions=True)

    async def cut(self, node_id: NodeId) -> None:
        await self.files.remove(node_id)
        self.fleet.clients.pop(node_id, None)
        self.door.forget(node_id)


def fleet_of(agent: NodeAgent) -> Fleet:
    return Fleet(agent.id, {agent.id: agent})


async def build_nodes(
    *, store: Store, clock: Clock, core: Core, fleet: Fleet, agent: NodeAgent, settings: Callable[[], NodesSettings],
    data_dir: Path, transport: NodeTransport, files: RemoteFiles, stack: AsyncExitStack,
) -> Nodes:  # fmt: skip
    """With the port open if anybody is expected. Raises StartFailed."""

    def reported(node_id: NodeId, statuses: Sequence[FillStatus]) -> None:
        core.reconciler.news(node_id)

    def joined(new: NodeSnapshot) -> None:
        fleet.clients[new.id] = door.client(new.id)
        files.take(new.id)
        core.board.nodes.setdefault(new.id, new)

    registry = StoredRegistry(
        store=store, clock=clock, local=agent.id, every=lambda: settings().heartbeat_every,
        heard=core.reconciler.watch.heard, joined=joined, reported=reported,
    )  # fmt: skip
    judges = Judges(
        options={name: engine.validate_options for name, engine in agent.engines.items()},
        torrents={
            name: engine.refuses_torrent for name, engine in agent.engines.items() if isinstance(engine, TorrentEngine)
        },
    )
    door = await stack.enter_async_context(transport.door(registry, judges=judges, desk=files))
    for stored in await store.read(lambda tx: tx.nodes.all()):
        if stored.id != agent.id and not stored.is_controller:
            fleet.clients[stored.id] = door.client(stored.id)
    port = NodePort(settings(), data_dir, transport, door)
    nodes = Nodes(
        store=store, clock=clock, port=port, watch=core.reconciler.watch,
        connections=_Connections(registry, door, fleet, files), gone=core.reconciler.lost,
    )  # fmt: skip
    if await nodes.expects_workers():
        await port.open_at_start()
    return nodes
