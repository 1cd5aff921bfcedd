"""Builds a controller: the node, the store, the services, the subscribers, the file server and both APIs."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from oddaemon.api.control.server import ControlServer
from oddaemon.app.compose_accounts import build_allowances
from oddaemon.app.compose_base import Base, open_base
from oddaemon.app.compose_control import control_server
from oddaemon.app.compose_core import Core
from oddaemon.app.compose_files import serve_files
from oddaemon.app.compose_node import (
    Node,
    Sentinels,
    build_node,
    make_state_dirs,
    plugin_parts,
    prepare_storage,
    start_engines,
)
from oddaemon.app.compose_rest import HttpListener, RestFace, import_rest, listen_http, rest_server
from oddaemon.app.compose_services import build_services
from oddaemon.app.current_settings import Current, Reload
from oddaemon.app.lifecycle import Start
from oddaemon.app.plugins import SUBSCRIBERS, Plugins, load_plugins
from oddaemon.ports.clock import Clock
from oddaemon.ports.event_bus import Subscriber
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.accounts import Accounts
from oddaemon.services.cleanup import Cleanup
from oddaemon.services.keyed_adds import KeyedAdds
from oddaemon.services.links import LinkService
from oddaemon.services.nodes import Nodes
from oddaemon.services.operator import ensure_admin
from oddaemon.services.reconciler import Reconciler
from oddaemon.services.request_rate import RequestLimiter
from oddaemon.services.runtime_settings import RuntimeSettings
from oddaemon.services.served import DailyServing

log = logging.getLogger(__name__)

TRIM_SECONDS = 3600.0
STUCK_SECONDS = 60.0
"""The reconciler has not come round for so long: the watchdog is no longer told that all is well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    server: ControlServer
    http: RestFace
    listener: HttpListener
    accounts: Accounts
    core: Core
    links: LinkService
    keyed_adds: KeyedAdds
    nodes: Nodes
    cleanup: Cleanup
    store: Store
    clock: Clock
    current: Current
    runtime: RuntimeSettings
    daily: DailyServing
    limiter: RequestLimiter
    node: Node
    files_url: str
    reload: Reload
    subscribers: Sequence[tuple[str, Coroutine[Any, Any, None]]]

    @property
    def reconciler(self) -> Reconciler:
        return self.core.reconciler

    @property
    def http_url(self) -> str:
        return self.listener.url

    @property
    def places(self) -> Mapping[str, str]:
        return {"http": self.http_url, "files": self.files_url}

    def well(self) -> bool:
        return self.reconciler.stalled_for() < STUCK_SECONDS

    def background(self) -> Sequence[tuple[str, Coroutine[Any, Any, None]]]:
        """What has to run for as long as the daemon does."""
        return [
            *self.core.background(), ("clean-up", self.cleanup.run()), ("trim", self._trim()),
            ("daily serving", self.daily.run()), ("accounts", self.accounts.run()), ("store", self.store.keep()),
            *self.subscribers,
        ]  # fmt: skip

    async def drain(self, deadline: float) -> None:
        """New calls are refused, streams end, calls in flight may end in so many seconds: on every face at once."""
        await asyncio.gather(self.server.drain(deadline), self.http.drain(deadline))

    async def _trim(self) -> None:
        """Forgets events and links that are older than they are kept, and lets the store's file shrink."""
        while True:
            before = self.clock.now() - timedelta(seconds=self.current.settings.events.keep)
            try:
                await self.store.write(functools.partial(_trim_events, before=before))
                await self.links.trim()
                await self.keyed_adds.trim()
                await self.nodes.trim()
                await self.daily.trim()
                await self.store.tidy()
            except Exception:
                log.exception("trimming failed", extra={"action": "trim_failed"})
            await asyncio.sleep(TRIM_SECONDS)

    def summary(self) -> str:
        """One line for a service manager."""
        statuses = self.core.board.statuses.values()
        rate = sum(status.rate_down for status in statuses)
        return f"{len(list(statuses))} active, {rate / 2**20:.1f} MiB/s"


async def compose_controller(start: Start, stack: AsyncExitStack) -> Controller:
    """See lifecycle.Compose."""
    loaded, logs = start.loaded, start.logs
    base = await open_base(loaded, start.paths, stack)
    base.runtime.on_change(lambda _: logs.set_level(base.current.settings.logging.level))
    plugins, node = await _prepare_node(base, stack)
    await base.store.write(lambda tx: ensure_admin(tx, loaded.settings.auth.admin_username, base.clock.now()))
    allowed = await build_allowances(base)
    http = await asyncio.to_thread(listen_http, loaded.settings.server)
    stack.callback(http.socket.close)
    files = await serve_files(base, node, allowed.daily, stack)
    # engines wait for their children, and importing takes the CPU meanwhile
    await asyncio.gather(start_engines(node, stack), asyncio.to_thread(import_rest))
    services = await build_services(base, node, plugins, files, allowed, stack)
    subscribers = _subscribers(base, node, plugins)
    reload = Reload(
        current=base.current, runtime=base.runtime, certificate=http.certificate, wake=services.core.reconciler.wake
    )
    control = control_server(
        services, http, reload=reload, broken=plugins.broken, log_book=logs.book, shutdown=start.stop
    )  # fmt: skip
    rest = rest_server(services, subscribers)
    await rest.serve(http.socket, http.certificate.context if http.certificate else None)
    stack.push_async_callback(rest.drain, 0.0)
    await control.serve(start.listening.socket)
    return Controller(
        server=control, http=rest, listener=http, accounts=services.accounts, core=services.core, links=services.links,
        keyed_adds=services.keyed_adds, nodes=services.nodes, cleanup=services.cleanup, store=base.store,
        clock=base.clock, current=base.current, runtime=base.runtime, daily=allowed.daily, limiter=allowed.limiter,
        node=node, files_url=files.url, reload=reload,
        subscribers=[(f"subscriber {found.name}", base.bus.run_subscriber(found)) for found in subscribers],
    )  # fmt: skip


async def _prepare_node(base: Base, stack: AsyncExitStack) -> tuple[Plugins, Node]:
    """Everything of the node but its engines started."""
    loaded = base.current.started
    plugins = await asyncio.to_thread(load_plugins, loaded.plugins, loaded.broken)
    await asyncio.to_thread(make_state_dirs, base.paths, plugins)
    node = build_node(loaded, base.paths, plugins, base.clock, stack)
    await prepare_storage(node, _SentinelsOfStore(base.store), base.paths)
    return plugins, node


@dataclass(frozen=True, slots=True)
class _SentinelsOfStore(Sentinels):
    store: Store

    async def known(self, base: str) -> bool:
        class Absent(Exception):
            pass

        def refuse() -> bytes:
            raise Absent

        try:
            await self.store.write(lambda tx: tx.secrets.get_or_create(f"sentinel:{base}", refuse))
        except Absent:
            return False
        return True

    async def remember(self, base: str) -> None:
        await self.store.write(lambda tx: tx.secrets.get_or_create(f"sentinel:{base}", lambda: b"1"))


def _subscribers(base: Base, node: Node, plugins: Plugins) -> Sequence[Subscriber]:
    return [
        item.plugin.build(item.settings, plugin_parts(base.paths, item.name, node.supervisor, base.clock))
        for item in plugins.of(SUBSCRIBERS)
    ]


def _trim_events(tx: Transaction, *, before: datetime) -> int:
    return tx.events.trim(before)
