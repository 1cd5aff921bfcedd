"""The services of links over a test's own store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.types import EntryId
from oddaemon.ports.store import Store
from oddaemon.services.file_servers import FileServers
from oddaemon.services.link_serving import LinkServing
from oddaemon.services.links import LinkPolicy, LinkService


@dataclass(frozen=True, slots=True, kw_only=True)
class Linking:
    servers: FileServers
    serving: LinkServing
    service: LinkService


def linking(store: Store, *, look: Callable[[EntryId], Awaitable[object]] | None = None) -> Linking:
    clock = SystemClock()
    servers = FileServers(store, clock)
    return Linking(
        servers=servers, serving=LinkServing(store, clock, servers),
        service=LinkService(store=store, clock=clock, servers=servers, policy=LinkPolicy, look=look),
    )  # fmt: skip
