"""Builds the control API of a controller."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import uuid4

from oddaemon import __version__
from oddaemon.api.control.accounts import AccountService
from oddaemon.api.control.admin import AdminService
from oddaemon.api.control.calls import Gate
from oddaemon.api.control.parts import ControlParts
from oddaemon.api.control.server import ControlServer
from oddaemon.api.control.service import ControlService
from oddaemon.app.compose_rest import HttpListener
from oddaemon.app.compose_services import Services
from oddaemon.app.current_settings import Reload
from oddaemon.app.diagnose import Diagnosis
from oddaemon.app.in_view import secrets_in_view
from oddaemon.domain.node import EngineHealth
from oddaemon.ports.log_book import LogBook


def control_server(
    services: Services, http: HttpListener, *, reload: Reload, broken: Mapping[tuple[str, str], str],
    log_book: LogBook, shutdown: Callable[[], None],
) -> ControlServer:  # fmt: skip
    """`broken`: the plug-ins that cannot be used, and why."""
    base, core = services.base, services.core
    gate = Gate(services.accounts, admit=services.allowed.limiter.admit)
    parts = ControlParts(
        accounts=services.accounts, quotas=services.allowed.quotas, downloads=core.downloads, jobs=core.jobs,
        job_files=core.job_files, reports=core.reports, prober=core.prober, batches=core.batches,
        links=services.links, cache=services.cache, settings=base.runtime, status=services.status,
        views=core.views, store=base.store, bus=base.bus, clock=base.clock, log_book=log_book,
        nodes=services.nodes, reload=reload, events_kept=lambda: base.current.settings.events.keep, shutdown=shutdown,
        diagnose=_diagnosis(services, http, broken), version=__version__, node_id=services.node.agent.id,
        epoch=uuid4().hex, store_kind=base.store.kind, download_dir=str(base.paths.download_dir),
        files_url=services.files.url, http_url=http.url,
    )  # fmt: skip
    return ControlServer([ControlService(parts, gate), AccountService(parts), AdminService(parts)], gate)


def _diagnosis(services: Services, http: HttpListener, broken: Mapping[tuple[str, str], str]) -> Diagnosis:
    base, node = services.base, services.node

    async def health() -> Sequence[EngineHealth]:
        return (await node.agent.snapshot()).engines

    def in_the_clear() -> Collection[str]:
        return ["http"] if http.exposed and not base.current.settings.server.trusted_proxies else []

    return Diagnosis(
        paths=base.paths, clock=base.clock, reserve=lambda: base.limits().min_disk_free, usage=node.storage.usage,
        health=health, broken=broken, damaged=lambda: base.store.read(lambda tx: tx.quarantined()),
        store_kind=base.store.kind, in_the_clear=in_the_clear,
        secrets_in_view=lambda: secrets_in_view(base.current.base),
        listeners={"control": str(base.paths.socket), "http": http.url, "files": services.files.url},
    )  # fmt: skip
