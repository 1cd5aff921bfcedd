"""Builds the file server of a controller, and its way back to the services."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from oddaemon.app.compose_base import Base
from oddaemon.app.compose_node import Node
from oddaemon.app.current_settings import link_policy_of
from oddaemon.app.exit_codes import ExitCode, StartFailed
from oddaemon.domain.day_left import Counted, DayLeft
from oddaemon.domain.errors import InvalidArgument
from oddaemon.domain.link import LinkContent
from oddaemon.domain.metrics import Counter
from oddaemon.domain.proxies import Proxies
from oddaemon.domain.types import Bytes, LinkId, NodeId, ReplicaId, Seconds
from oddaemon.fileserver.child import Opened
from oddaemon.fileserver.processes import FileServer, FileServerOptions
from oddaemon.fileserver.relay import NearFiles, Relay, Wanted
from oddaemon.ports.clock import Clock
from oddaemon.services.file_servers import FileServers
from oddaemon.services.link_serving import LinkServing
from oddaemon.services.links import LinkService
from oddaemon.services.relayed import RelayedLinks
from oddaemon.services.remote_files import RemoteFiles
from oddaemon.services.served import DailyServing

IN_USE_SECONDS = 600.0
"""A replica whose files were read so recently is not cleaned up."""


@dataclass(slots=True)
class RecentUse:
    """Replicas whose files were served lately."""

    clock: Clock
    _seen: dict[ReplicaId, Seconds] = field(default_factory=dict)

    def note(self, replica: ReplicaId) -> None:
        self._seen[replica] = self.clock.monotonic()

    def recent(self) -> Collection[ReplicaId]:
        since = self.clock.monotonic() - IN_USE_SECONDS
        self._seen = {replica: at for replica, at in self._seen.items() if at >= since}
        return self._seen


@dataclass(slots=True)
class WayBack:
    """What the file server asks and tells the services."""

    links: RelayedLinks
    daily: DailyServing
    used: RecentUse
    served: Counter = field(
        default_factory=lambda: Counter("opendebrid_served_bytes_total", "Bytes that the file server sent.")
    )
    gone: Callable[[ReplicaId], Awaitable[None]] | None = None
    """Who looks for replicas is built after the file server."""

    async def record(self, usage: Mapping[LinkId, tuple[int, Bytes]]) -> None:
        """What could not be stored comes again, and is counted then."""
        await self.links.serving.record_usage(usage)
        self.daily.ring()
        self.served.add(by=sum(sent for _, sent in usage.values()))

    async def suspect(self, replica_id: ReplicaId) -> None:
        if self.gone is not None:
            await self.gone(replica_id)

    async def look_up(self, link_id: LinkId, replica_id: ReplicaId, index: int) -> LinkContent:
        self.used.note(replica_id)
        return await self.links.content(link_id, replica_id, index)

    async def look_up_for_a_node(self, link_id: LinkId, replica_id: ReplicaId, index: int) -> LinkContent:
        self.used.note(replica_id)
        return await self.links.serving.content(link_id, replica_id, index)


@dataclass(slots=True)
class Relaying:
    """Opens for the file processes what lies on other nodes."""

    links: RelayedLinks
    remote: RemoteFiles
    relay: Relay

    async def open(self, replica_id: ReplicaId, path: str, offset: int, length: int) -> Opened:
        node_id = await self.links.node_of(replica_id)
        wanted = Wanted(replica_id=replica_id, path=path, offset=offset, length=length)
        return await self.relay.open(self.links.node(node_id), await self._near(node_id), wanted)

    async def _near(self, node_id: NodeId) -> NearFiles | None:
        near = self.remote.of(node_id).near
        if near is None:
            return None
        host, _, port = near.rpartition(":")
        key = await self.remote.servers.node_key(node_id)
        return NearFiles(host=host.strip("[]"), port=int(port), key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    server: FileServer
    url: str
    back: WayBack
    servers: FileServers
    links: LinkService
    remote: RemoteFiles
    """What the nodes' own file servers talk to."""


async def serve_files(base: Base, node: Node, daily: DailyServing, stack: AsyncExitStack) -> Files:
    """With the service whose links it serves. Raises StartFailed."""
    settings = base.current.started.settings.node
    servers = FileServers(base.store, base.clock)
    serving = LinkServing(base.store, base.clock, servers)
    relayed = RelayedLinks(base.store, serving, node.agent.id)
    back = WayBack(relayed, daily, RecentUse(base.clock))
    remote = RemoteFiles(
        store=base.store, servers=servers, local=node.agent.id, content=back.look_up_for_a_node, use=serving.use,
        record=back.record, gone=back.suspect,
    )  # fmt: skip

    def client_of(peer: str, forwarded: str) -> str:
        return Proxies(base.current.settings.server.trusted_proxies).client(peer, [forwarded])

    server = FileServer(
        host=settings.file_server_host, port=settings.file_server_port, storage=node.storage_choice,
        keys=[await servers.node_key(node.agent.id)], look_up=back.look_up, on_usage=back.record, on_use=serving.use,
        client_of=client_of, read_revoked=servers.revoked, on_gone=back.suspect,
        on_open=Relaying(relayed, remote, Relay()).open,
        processes=settings.file_server_processes,
        options=FileServerOptions(referers=tuple(settings.file_referers)),
    )  # fmt: skip
    _connect_days(daily, server, remote)
    await daily.look()
    try:
        host, port = await server.start()
    except InvalidArgument as error:
        raise StartFailed(error.message, code=ExitCode.UNAVAILABLE, hint=error.hint) from error
    stack.push_async_callback(server.stop)
    shown = f"[{host}]" if ":" in host else host
    url = settings.file_endpoint or f"http://{shown}:{port}"
    node.agent.file_endpoint = url
    servers.serve_on(node.agent.id, url, server)
    await _take_stored_nodes(base, remote)
    links = LinkService(
        store=base.store, clock=base.clock, servers=servers, policy=lambda: link_policy_of(base.current.settings)
    )
    return Files(server=server, url=url, back=back, servers=servers, links=links, remote=remote)


def _connect_days(daily: DailyServing, server: FileServer, remote: RemoteFiles) -> None:
    """What links give counts on whatever node they give it."""

    def allot(day: DayLeft, counted: Counted) -> None:
        server.allot(day, counted)
        remote.allot(day, counted)

    daily.counted, daily.allot = lambda: {**server.counted, **remote.counted()}, allot


async def _take_stored_nodes(base: Base, remote: RemoteFiles) -> None:
    """Links to what lies on them can be made before they are back."""
    for node in await base.store.read(lambda tx: tx.nodes.all()):
        if not node.is_controller:
            remote.take(node.id, node.file_endpoint)
