"""The services of links over a test's own store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.types import EntryId, LinkId, ReplicaId
from oddaemon.ports.store import Store
from oddaemon.services.file_servers import FileServers
from oddaemon.services.link_serving import LinkServing
from oddaemon.services.links import LinkPolicy, LinkService
from oddaemon.services.remote_files import RemoteFiles
from tests.support.core import HERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Linking:
    servers: FileServers
    serving: LinkServing
    service: LinkService


@dataclass
class NoServer:
    """A file server that remembers what it is told."""

    revoked: dict[LinkId, datetime] = field(default_factory=dict)
    keys: Sequence[bytes] = ()

    async def revoke(self, links: Mapping[LinkId, datetime]) -> None:
        self.revoked.update(links)

    async def rekey(self, keys: Sequence[bytes]) -> None:
        self.keys = keys


def remote_files(store: Store) -> RemoteFiles:
    """For the file servers of other nodes; the controller's own is none."""
    linked = linking(store)
    linked.servers.serve_on(HERE, "http://127.0.0.1:9", NoServer())

    async def suspect(replica_id: ReplicaId) -> None:
        raise AssertionError(f"a file of {replica_id} is gone")

    return RemoteFiles(
        store=store, servers=linked.servers, local=HERE, content=linked.serving.content, use=linked.serving.use,
        record=linked.serving.record_usage, gone=suspect,
    )  # fmt: skip


def linking(store: Store, *, look: Callable[[EntryId], Awaitable[object]] | None = None) -> Linking:
    clock = SystemClock()
    servers = FileServers(store, clock)
    return Linking(
        servers=servers, serving=LinkServing(store, clock, servers),
        service=LinkService(store=store, clock=clock, servers=servers, policy=LinkPolicy, look=look),
    )  # fmt: skip
