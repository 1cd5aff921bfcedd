"""Builds the REST API of a controller, and its listener: port and certificate, who may ask, and what it measures.

The REST API with all its models takes a fifth of a second to import. A start has that while it waits for its children:
`import_rest` in a thread, then `rest_server`.
"""

from __future__ import annotations

import functools
import importlib
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol

from oddaemon import __version__
from oddaemon.api.rest.counts import RequestCounts
from oddaemon.api.rest.origin import EdgePolicy
from oddaemon.api.rest.parts import RestParts
from oddaemon.api.rest.sse import encoded
from oddaemon.app.compose_services import Services
from oddaemon.app.listeners import listen, url_of
from oddaemon.app.settings import ServerSettings
from oddaemon.app.tls import Certificate
from oddaemon.ports.event_bus import Subscriber
from oddaemon.ports.metrics import MetricSource
from oddaemon.services.availability import AvailabilityService
from oddaemon.services.event_feed import EventFeed, matching_types
from oddaemon.services.metrics import MetricsService
from oddaemon.services.readiness import Readiness


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpListener:
    """The port, taken early, and the certificate."""

    socket: socket.socket
    certificate: Certificate | None

    @property
    def url(self) -> str:
        return url_of(self.socket, tls=self.certificate is not None)

    @property
    def exposed(self) -> bool:
        """Whether others can reach it, and whoever is in between can read along."""
        return self.certificate is None and not ip_address(self.socket.getsockname()[0]).is_loopback


def listen_http(server: ServerSettings) -> HttpListener:
    """Raises StartFailed. May block."""
    certificate = Certificate.read(server.tls_cert, server.tls_key) if server.tls_cert else None
    listener = listen(server.host, server.port, setting="server.port", variable="OD_SERVER_PORT")
    return HttpListener(socket=listener, certificate=certificate)


class RestFace(Protocol):
    """See `api.rest.server`."""

    async def serve(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None: ...

    async def drain(self, deadline: float) -> None: ...


def import_rest() -> None:
    importlib.import_module("oddaemon.api.rest.app")


def rest_server(services: Services, subscribers: Sequence[Subscriber]) -> RestFace:
    """After `import_rest`. Subscribers that count something are asked for their figures."""
    from oddaemon.api.rest.app import build_app
    from oddaemon.api.rest.server import RestServer

    policy = edge_policy(lambda: services.base.current.settings.server)
    return RestServer(*build_app(_parts(services, subscribers), policy))


def _parts(services: Services, subscribers: Sequence[Subscriber]) -> RestParts:
    base, core, allowed, requests = services.base, services.core, services.allowed, RequestCounts()
    return RestParts(
        authenticator=services.accounts, accounts=services.accounts, quotas=allowed.quotas, limiter=allowed.limiter,
        downloads=core.downloads, jobs=core.jobs, job_files=core.job_files, prober=core.prober, batches=core.batches,
        links=services.links, link_serving=services.files.back.links.serving, cache=services.cache,
        settings=base.runtime, status=services.status, nodes=services.nodes, keyed_adds=services.keyed_adds,
        clock=base.clock, version=__version__, observe=requests.observe,
        availability=AvailabilityService(
            store=base.store, reader=core.reader, hits=core.hits, discretion=core.discretion
        ),
        feed=EventFeed(store=base.store, bus=base.bus, types=matching_types(()), encode=encoded),
        live_feed=EventFeed(store=base.store, bus=base.bus, types=matching_types(["*"]), encode=encoded),
        readiness=Readiness(
            store=base.store, store_folder=base.store.folder, board=core.board, local=services.node.agent.id,
            stalled_for=core.reconciler.stalled_for,
            file_processes_missing=lambda: services.files.server.missing,
        ),
        metrics=MetricsService(
            status=services.status, board=core.board, served=services.files.back.served,
            sources=[
                base.store_times, requests, *(found for found in subscribers if isinstance(found, MetricSource)),
            ],
        ),
        metrics_public=lambda: base.current.settings.server.metrics_public,
    )  # fmt: skip


def edge_policy(server: Callable[[], ServerSettings]) -> Callable[[], EdgePolicy]:
    """Built anew when a setting has changed, not for every request."""
    names = machine_names()

    @functools.lru_cache(maxsize=1)
    def built(allowed: Sequence[str], proxies: Sequence[str], origins: Sequence[str]) -> EdgePolicy:
        return EdgePolicy(names=names, allowed_hosts=allowed, trusted_proxies=proxies, cors_origins=origins)

    def policy() -> EdgePolicy:
        now = server()
        return built(now.allowed_hosts, now.trusted_proxies, now.cors_origins)

    return policy


def machine_names() -> tuple[str, ...]:
    """By which this machine is known at home, without asking anybody."""
    name = socket.gethostname()
    return (name, name.partition(".")[0], f"{name.partition('.')[0]}.local")
