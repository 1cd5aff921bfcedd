"""Builds a controller: the node, the store, the services, the subscribers, the file server and the control API."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from oddaemon import __version__
from oddaemon.api.control.accounts import AccountService
from oddaemon.api.control.admin import AdminService
from oddaemon.api.control.calls import Gate
from oddaemon.api.control.parts import ControlParts
from oddaemon.api.control.server import ControlServer
from oddaemon.api.control.service import ControlService
from oddaemon.api.rest.counts import RequestCounts
from oddaemon.api.rest.parts import RestParts
from oddaemon.api.rest.sse import encoded
from oddaemon.app.compose_accounts import build_accounts
from oddaemon.app.compose_core import Core, build_core
from oddaemon.app.compose_node import BALANCER_STATE, Node, build_node, make_state_dirs, plugin_parts, start_engines
from oddaemon.app.compose_rest import HttpListener, RestFace, StoreTimes, import_rest, listen_http, rest_server
from oddaemon.app.diagnose import Diagnosis
from oddaemon.app.exit_codes import ExitCode, StartFailed
from oddaemon.app.load_settings import Loaded, differences
from oddaemon.app.logs import Logs
from oddaemon.app.paths import Paths, store_location
from oddaemon.app.plugins import (
    LOAD_BALANCERS,
    SUBSCRIBERS,
    PluginBroken,
    Plugins,
    PluginTable,
    load_plugins,
    with_defaults,
)
from oddaemon.app.setting_specs import check_together, fixed_settings, setting_specs
from oddaemon.app.settings import Settings
from oddaemon.app.singleton import ControlSocket
from oddaemon.app.system_clock import SystemClock
from oddaemon.balancers.round_robin import RoundRobin
from oddaemon.domain.admission import Limits
from oddaemon.domain.errors import InvalidArgument, StorageMissing
from oddaemon.domain.metrics import Counter
from oddaemon.domain.types import Bytes, LinkId, ReplicaId, Seconds
from oddaemon.domain.user import User
from oddaemon.eventbus.in_process import InProcessEventBus
from oddaemon.fileserver.processes import FileServer, FileServerOptions
from oddaemon.ports.clock import Clock
from oddaemon.ports.event_bus import Subscriber
from oddaemon.ports.load_balancer import LoadBalancer
from oddaemon.ports.metrics import MetricSource
from oddaemon.ports.plugin import Parts
from oddaemon.ports.store import Store
from oddaemon.services.accounts import Accounts
from oddaemon.services.availability import AvailabilityService
from oddaemon.services.cache import CacheService
from oddaemon.services.cleanup import Cleanup
from oddaemon.services.event_feed import EventFeed, matching_types
from oddaemon.services.keyed_adds import KeyedAdds
from oddaemon.services.links import LinkPolicy, LinkService
from oddaemon.services.metrics import MetricsService
from oddaemon.services.operator import ensure_admin
from oddaemon.services.quotas import Quotas
from oddaemon.services.readiness import Readiness
from oddaemon.services.reconciler import Reconciler
from oddaemon.services.request_rate import RequestLimiter
from oddaemon.services.runtime_settings import Fixed, RuntimeSettings
from oddaemon.services.served import DailyServing
from oddaemon.services.status import StatusService
from oddaemon.store.migrate import open_store

log = logging.getLogger(__name__)

TRIM_SECONDS = 3600.0
IN_USE_SECONDS = 600.0
"""A replica whose files were read so recently is not cleaned up."""


def limits_of(settings: Settings) -> Limits:
    """The values that the services need, as the services name them."""
    chosen = settings.limits
    return Limits(
        per_user=chosen.per_user_concurrent,
        per_node=chosen.per_node_concurrent,
        min_disk_free=chosen.min_disk_free,
        resume_free=chosen.resume_margin,
        max_download_size=chosen.max_download_size,
        jobs_per_user=chosen.jobs_per_user,
        storage_per_user=chosen.storage_per_user,
        storage_split=chosen.storage_shared == "split",
        served_per_day=chosen.served_per_day,
        requests_per_minute=chosen.requests_per_minute,
        retries=chosen.retries,
        retry_wait=chosen.retry_wait,
        no_progress_timeout=chosen.no_progress_timeout,
        stall_yield=chosen.stall_yield,
        lru_enabled=chosen.lru_enabled,
        lru_max_age=chosen.lru_max_age,
        lru_until_free=chosen.lru_until_free,
        queue_paused=settings.scheduler.paused,
    )


def link_policy_of(settings: Settings) -> LinkPolicy:
    return LinkPolicy(expiry=settings.limits.link_expiry, maximum=settings.limits.link_expiry_max)


@dataclass(slots=True)
class Current:
    """The settings as they are now: what was loaded, with what is stored."""

    started: Loaded
    """What the daemon was started with: whatever is not live stays so."""
    base: Loaded
    settings: Settings
    limits: Limits

    def take(self, loaded: Loaded) -> None:
        self.settings = loaded.settings
        self.limits = limits_of(loaded.settings)


@dataclass(slots=True)
class Controller:
    server: ControlServer
    http: RestFace
    listener: HttpListener
    accounts: Accounts
    core: Core
    links: LinkService
    keyed_adds: KeyedAdds
    cleanup: Cleanup
    store: Store
    clock: Clock
    current: Current
    runtime: RuntimeSettings
    quotas: Quotas
    daily: DailyServing
    limiter: RequestLimiter
    node: Node
    files_url: str
    subscribers: Sequence[tuple[str, Coroutine[Any, Any, None]]]

    @property
    def reconciler(self) -> Reconciler:
        return self.core.reconciler

    @property
    def http_url(self) -> str:
        return self.listener.url

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
                await self.daily.trim()
                await self.store.tidy()
            except Exception:
                log.exception("trimming failed", extra={"action": "trim_failed"})
            await asyncio.sleep(TRIM_SECONDS)

    def reload(self) -> tuple[list[str], list[str]]:
        """Reads file, environment and certificate again. Raises BadSettings or BadCertificate, and then nothing has
        changed."""
        new = self.current.base.again()
        if self.listener.certificate is not None:
            self.listener.certificate.read_again()
        changed, _ = differences(self.current.base, new)
        _, needs_restart = differences(self.current.started, new)
        self.current.base = new
        self.runtime.refix(_in_force(self.current.started, new, needs_restart))
        self.current.take(new.with_stored(self.runtime.stored()))
        self.reconciler.wake()
        return sorted(changed), sorted(needs_restart)

    def summary(self) -> str:
        """One line for a service manager."""
        statuses = self.core.board.statuses.values()
        rate = sum(status.rate_down for status in statuses)
        return f"{len(list(statuses))} active, {rate / 2**20:.1f} MiB/s"


def _in_force(started: Loaded, new: Loaded, needs_restart: Collection[str]) -> Mapping[str, Fixed]:
    """What is shown is what the daemon does: a value that only a restart brings about is not yet in force."""
    before, after = fixed_settings(started), fixed_settings(new)
    kept = {path: found for path, found in after.items() if path not in needs_restart}
    return kept | {path: before[path] for path in needs_restart if path in before}


def _trim_events(tx: Any, *, before: Any) -> int:
    return int(tx.events.trim(before))


async def compose_controller(
    loaded: Loaded, paths: Paths, logs: Logs, listening: ControlSocket, stop: Callable[[], None], stack: AsyncExitStack
) -> Controller:
    """A controller that serves. What was opened is closed by the stack, last first."""
    clock = SystemClock()
    bus = InProcessEventBus()
    location = store_location(loaded.settings, paths)
    store = await open_store(
        location, publish=bus.publish, backups=paths.data_dir, max_connections=loaded.settings.database.max_connections
    )
    stack.push_async_callback(store.close)
    store_times = StoreTimes()
    store.observe = store_times.observe
    current = await _current(loaded, store)
    runtime = RuntimeSettings(store, clock, setting_specs(loaded), fixed_settings(loaded), check=check_together)
    await runtime.load()
    plugins = await asyncio.to_thread(load_plugins, loaded.plugins, loaded.broken)
    await asyncio.to_thread(make_state_dirs, paths, plugins)
    node = build_node(loaded, paths, plugins, clock, stack)
    await _prepare_storage(node, store, paths)
    await store.write(lambda tx: ensure_admin(tx, loaded.settings.auth.admin_username, clock.now()))
    links = LinkService(store=store, clock=clock, policy=lambda: link_policy_of(current.settings))
    quotas = Quotas(store=store, clock=clock, limits=lambda: current.limits)
    await quotas.load()
    daily = DailyServing(
        store=store, clock=clock, most=lambda user: quotas.of(user).served_per_day,
        everybody=lambda: current.limits.served_per_day, own=lambda: quotas.own,
    )  # fmt: skip
    http = await asyncio.to_thread(listen_http, loaded.settings.server)
    stack.callback(http.socket.close)
    files, files_url = await _serve_files(loaded, node, links, daily, stack)
    # engines wait for their children, and importing takes the CPU meanwhile
    await asyncio.gather(start_engines(node, stack), asyncio.to_thread(import_rest))
    parts = plugin_parts(paths, BALANCER_STATE, node.supervisor, clock)
    balancer = _Balancer(_balancer(plugins, current.settings.scheduler.adapter, parts))
    core = build_core(
        store=store, bus=bus, clock=clock, nodes={node.agent.id: node.agent}, local=node.agent.id, balancer=balancer,
        limits=lambda: current.limits, option_specs=lambda: node.option_specs, secret_options=node.secret_options,
        revoke=links.push_revocations, tells_of_others=lambda: current.settings.auth.tell_availability,
    )  # fmt: skip
    stack.push_async_callback(core.reconciler.leave)
    used = RecentUse(clock)
    files.used = used.note
    files.gone = core.presence.suspect
    links.look = core.presence.check
    core.reconciler.gone = files.server.forget
    node.bell.heard = core.reconciler.news
    cache = CacheService(
        store=store, clock=clock, nodes=lambda: [node.agent], wake=core.reconciler.wake,
        settle=core.reconciler.settled, in_use=used.recent, measure=functools.partial(_measure, node),
    )  # fmt: skip
    status = StatusService(
        store=store, clock=clock, board=core.board, reconciler=core.reconciler, node=lambda _: node.agent,
        limits=lambda: current.limits, option_specs=lambda: node.option_specs, version=__version__,
        started_at=clock.now(),
    )  # fmt: skip

    def settings_changed(keys: Collection[str]) -> None:
        current.take(current.base.with_stored(runtime.stored()))
        logs.set_level(current.settings.logging.level)
        if "scheduler.adapter" in keys:
            balancer.inner = _balancer(plugins, current.settings.scheduler.adapter, parts)
        core.reconciler.wake()
        daily.ring()

    runtime.on_change(settings_changed)
    limiter = RequestLimiter(
        clock=clock, most=lambda user: quotas.of(user).requests_per_minute, operators=(0, os.geteuid())
    )
    quotas.requests = limiter.count

    def limits_changed(user: User) -> None:
        quotas.note(user)
        core.reconciler.wake()
        daily.ring()

    accounts = build_accounts(
        lambda: current.settings, store=store, clock=clock, revoke=links.push_revocations, rekey=links.rekey,
        wake=core.reconciler.wake, limited=limits_changed, stack=stack,
    )  # fmt: skip
    await accounts.load()
    subscribers = _subscribers(plugins, paths, node, clock)
    controller = Controller(
        server=None, http=None, listener=http, accounts=accounts, core=core, links=links,  # type: ignore[arg-type]
        keyed_adds=KeyedAdds(store, clock),
        cleanup=Cleanup(cache=cache, clock=clock, limits=lambda: current.limits),
        store=store, clock=clock, current=current, runtime=runtime, quotas=quotas, daily=daily, limiter=limiter,
        node=node, files_url=files_url,
        subscribers=[(f"subscriber {found.name}", bus.run_subscriber(found)) for found in subscribers],
    )  # fmt: skip
    gate = Gate(accounts, admit=limiter.admit)
    control = ControlParts(
        accounts=accounts, quotas=quotas, downloads=core.downloads, links=links, cache=cache, settings=runtime,
        status=status, views=core.downloads.views_of, store=store, bus=bus, clock=clock, log_book=logs.book,
        reload=controller.reload, events_kept=lambda: current.settings.events.keep, shutdown=stop,
        diagnose=Diagnosis(
            paths=paths, clock=clock, reserve=lambda: current.limits.min_disk_free, usage=node.storage.usage,
            health=functools.partial(_health, node), broken=plugins.broken,
            damaged=lambda: store.read(lambda tx: tx.quarantined()), store_kind=store.kind,
            listeners={"control": str(paths.socket), "http": http.url, "files": files_url},
            in_the_clear=lambda: ["http"] if http.exposed and not current.settings.server.trusted_proxies else [],
        ),
        version=__version__, node_id=node.agent.id, epoch=uuid4().hex,
        store_kind=store.kind,
        download_dir=str(paths.download_dir), files_url=files_url, http_url=http.url,
    )  # fmt: skip
    controller.server = ControlServer(
        [ControlService(control, gate), AccountService(control), AdminService(control)], gate
    )
    requests = RequestCounts()
    rest = RestParts(
        authenticator=accounts, accounts=accounts, quotas=quotas, downloads=core.downloads, links=links, cache=cache,
        settings=runtime, status=status, clock=clock, version=__version__, limiter=limiter, observe=requests.observe,
        keyed_adds=controller.keyed_adds,
        availability=AvailabilityService(
            store=store, reader=core.downloads.reader, hits=core.downloads.hits,
            discretion=core.downloads.discretion,
        ),
        feed=EventFeed(store=store, bus=bus, types=matching_types(()), encode=encoded),
        live_feed=EventFeed(store=store, bus=bus, types=matching_types(["*"]), encode=encoded),
        readiness=Readiness(
            store=store, board=core.board, local=node.agent.id, stalled_for=core.reconciler.stalled_for,
            file_processes_missing=lambda: files.server.missing,
        ),
        metrics=MetricsService(
            status=status, board=core.board, served=files.served,
            sources=[store_times, requests, *(found for found in subscribers if isinstance(found, MetricSource))],
        ),
        metrics_public=lambda: current.settings.server.metrics_public,
    )  # fmt: skip
    controller.http = rest_server(rest, lambda: current.settings.server)
    await controller.http.serve(http.socket, http.certificate.context if http.certificate else None)
    stack.push_async_callback(controller.http.drain, 0.0)
    await controller.server.serve(listening.socket)
    return controller


async def _current(loaded: Loaded, store: Store) -> Current:
    stored = await store.read(lambda tx: tx.settings.all())
    with_stored = loaded.with_stored(stored)
    return Current(started=loaded, base=loaded, settings=with_stored.settings, limits=limits_of(with_stored.settings))


async def _prepare_storage(node: Node, store: Store, paths: Paths) -> None:
    """A base that held a sentinel before is never given a new one: an unmounted disk has to be noticed."""
    name = f"sentinel:{paths.download_dir}"

    class Absent(Exception):
        pass

    def refuse() -> bytes:
        raise Absent

    try:
        await store.write(lambda tx: tx.secrets.get_or_create(name, refuse))
        known = True
    except Absent:
        known = False
    try:
        await asyncio.to_thread(node.storage.prepare, known=known)
    except StorageMissing as error:
        # everything but downloads works, and they go on when the disk is there
        log.error("storage missing", extra={"action": "storage_missing", "error": error.message, "hint": error.hint})
    if not known:
        await store.write(lambda tx: tx.secrets.get_or_create(name, lambda: b"1"))


@dataclass(slots=True)
class _Balancer(LoadBalancer):
    """The one that is chosen now."""

    inner: LoadBalancer

    @property
    def name(self) -> str:
        return self.inner.name

    def rank(self, engine: Any, size: Any, candidates: Any) -> Any:
        return self.inner.rank(engine, size, candidates)


def _balancer(plugins: Plugins, name: str, parts: Parts) -> LoadBalancer:
    found = plugins.get(LOAD_BALANCERS, name)
    try:
        chosen = found or with_defaults(PluginTable.installed(), LOAD_BALANCERS, name)
    except PluginBroken as error:
        log.error("load balancer not usable", extra={"action": "balancer_broken", "error": str(error)})
        return RoundRobin()
    built: LoadBalancer = chosen.plugin.build(chosen.settings, parts)
    return built


@dataclass(slots=True)
class RecentUse:
    """Replicas whose files were served lately."""

    clock: Clock
    _seen: dict[ReplicaId, Seconds] = field(default_factory=dict)

    def note(self, replicas: Collection[ReplicaId]) -> None:
        now = self.clock.monotonic()
        self._seen.update(dict.fromkeys(replicas, now))

    def recent(self) -> Collection[ReplicaId]:
        since = self.clock.monotonic() - IN_USE_SECONDS
        self._seen = {replica: at for replica, at in self._seen.items() if at >= since}
        return self._seen


@dataclass(slots=True)
class _Files:
    """The file server's way back to the services."""

    links: LinkService
    daily: DailyServing
    server: FileServer = field(init=False)
    served: Counter = field(
        default_factory=lambda: Counter("opendebrid_served_bytes_total", "Bytes that the file server sent.")
    )
    used: Callable[[Collection[ReplicaId]], None] = lambda _: None
    gone: Callable[[ReplicaId], Awaitable[None]] | None = None

    async def record(self, usage: Mapping[LinkId, tuple[int, Bytes]]) -> None:
        """What could not be stored comes again, and is counted then."""
        await self.links.record_usage(usage)
        self.daily.ring()
        self.served.add(by=sum(sent for _, sent in usage.values()))

    async def suspect(self, replica_id: ReplicaId) -> None:
        if self.gone is not None:
            await self.gone(replica_id)

    async def look_up(self, link_id: LinkId, replica_id: ReplicaId, index: int) -> Any:
        self.used([replica_id])
        return await self.links.content(link_id, replica_id, index)


async def _serve_files(
    loaded: Loaded, node: Node, links: LinkService, daily: DailyServing, stack: AsyncExitStack
) -> tuple[_Files, str]:
    settings = loaded.settings.node
    files = _Files(links, daily)
    server = FileServer(
        host=settings.file_server_host, port=settings.file_server_port, storage=node.storage_choice,
        keys=[await links.node_key(node.agent.id)], look_up=files.look_up, on_usage=files.record, on_use=links.use,
        read_revoked=links.revoked, on_gone=files.suspect, processes=settings.file_server_processes,
        options=FileServerOptions(referers=tuple(settings.file_referers)),
    )  # fmt: skip
    files.server = server
    daily.counted, daily.allot = lambda: server.counted, server.allot
    await daily.look()
    try:
        host, port = await server.start()
    except InvalidArgument as error:
        raise StartFailed(error.message, code=ExitCode.UNAVAILABLE, hint=error.hint) from error
    stack.push_async_callback(server.stop)
    shown = f"[{host}]" if ":" in host else host
    url = settings.file_endpoint or f"http://{shown}:{port}"
    node.agent.file_endpoint = url
    links.serve_on(node.agent.id, url, server)
    return files, url


def _subscribers(plugins: Plugins, paths: Paths, node: Node, clock: Clock) -> Sequence[Subscriber]:
    return [
        item.plugin.build(item.settings, plugin_parts(paths, item.name, node.supervisor, clock))
        for item in plugins.of(SUBSCRIBERS)
    ]


async def _measure(node: Node, replicas: Sequence[ReplicaId]) -> Mapping[ReplicaId, Bytes]:
    return await asyncio.to_thread(lambda: {found: node.storage.size_of(found) for found in replicas})


async def _health(node: Node) -> Any:
    return (await node.agent.snapshot()).engines
