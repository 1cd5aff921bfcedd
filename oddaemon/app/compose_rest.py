"""The HTTP listener of a controller: its port and certificate, who may ask, and what it measures.

The REST API with all its models takes a fifth of a second to import. A start has that while it waits for its children:
`import_rest` in a thread, then `rest_server`.
"""

from __future__ import annotations

import functools
import importlib
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Protocol

from oddaemon.api.rest.origin import EdgePolicy
from oddaemon.api.rest.parts import RestParts
from oddaemon.app.listeners import listen, url_of
from oddaemon.app.settings import ServerSettings
from oddaemon.app.tls import Certificate
from oddaemon.domain.metrics import Histogram, Metric
from oddaemon.ports.metrics import MetricSource


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


def rest_server(parts: RestParts, server: Callable[[], ServerSettings]) -> RestFace:
    from oddaemon.api.rest.app import build_app
    from oddaemon.api.rest.server import RestServer

    return RestServer(*build_app(parts, edge_policy(server)))


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


@dataclass(slots=True)
class StoreTimes(MetricSource):
    """How long works on the store take: waiting, running, and the commit."""

    _seconds: Histogram = field(
        default_factory=lambda: Histogram("opendebrid_store_seconds", "How long a work on the store took.", "work")
    )

    def observe(self, work: str, seconds: float) -> None:
        self._seconds.observe(seconds, work)

    def metrics(self) -> Sequence[Metric]:
        return [self._seconds.metric()]


def machine_names() -> tuple[str, ...]:
    """By which this machine is known at home, without asking anybody."""
    name = socket.gethostname()
    return (name, name.partition(".")[0], f"{name.partition('.')[0]}.local")
