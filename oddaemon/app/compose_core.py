"""Builds the services of a controller over a store, a bus and nodes: what tests build too, with other nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oddaemon.app.compose_reconciler import build_reconciler
from oddaemon.domain.admission import Limits, NodeWish
from oddaemon.domain.errors import NodeUnavailable
from oddaemon.domain.node import Liveness
from oddaemon.domain.types import EngineName, EntryId, LinkId, NodeId
from oddaemon.domain.words import choices
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import OptionSpec
from oddaemon.ports.event_bus import EventBus
from oddaemon.ports.load_balancer import LoadBalancer
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Store
from oddaemon.services.batches import Batches
from oddaemon.services.board import Board
from oddaemon.services.discretion import Discretion
from oddaemon.services.downloads import DownloadService
from oddaemon.services.engine_reports import EngineReports
from oddaemon.services.hits import HitChecker
from oddaemon.services.job_files import JobFiles
from oddaemon.services.job_finder import JobFinder
from oddaemon.services.job_views import JobViews
from oddaemon.services.orders import OrderReader
from oddaemon.services.presence import Presence
from oddaemon.services.probing import Prober
from oddaemon.services.reconciler import Reconciler
from oddaemon.services.resolver import Resolver
from oddaemon.services.scheduler import Scheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    node: Callable[[NodeId | None], NodeClient]
    """None: this machine's. Raises NodeUnavailable."""
    board: Board
    views: JobViews
    reader: OrderReader
    hits: HitChecker
    discretion: Discretion
    downloads: DownloadService
    jobs: JobFinder
    job_files: JobFiles
    reports: EngineReports
    prober: Prober
    batches: Batches
    presence: Presence
    reconciler: Reconciler
    resolver: Resolver
    scheduler: Scheduler

    def background(self) -> Sequence[tuple[str, Coroutine[Any, Any, None]]]:
        """What has to run, each in a task of its own."""
        return [
            ("reconciler", self.reconciler.run()),
            ("resolver", self.resolver.run()),
            ("presence", self.presence.run()),
        ]


def build_core(
    *, store: Store, bus: EventBus, clock: Clock, nodes: Mapping[NodeId, NodeClient], local: NodeId,
    balancer: LoadBalancer, limits: Callable[[], Limits],
    option_specs: Callable[[], Mapping[EngineName, Sequence[OptionSpec]]],
    secret_options: frozenset[str], revoke: Callable[[Collection[LinkId]], Awaitable[None]],
    tells_of_others: Callable[[], bool], life: Callable[[], Liveness] = Liveness,
) -> Core:  # fmt: skip
    def node(node_id: NodeId | None) -> NodeClient:
        found = nodes.get(local if node_id is None else node_id)
        if found is None:
            raise NodeUnavailable(f"there is no node {node_id!r}", hint=choices(node_id or "", nodes, "nodes here"))
        return found

    def asking(wish: NodeWish, engine: EngineName | None) -> NodeClient:
        # what lives behind one node's line is not asked for over another's
        liked = [node.id for node in board.nodes.values() if wish.labels and wish.allows(node)]
        for node_id in [wish.node, *liked, local, *nodes]:
            if node_id is not None and node_id in nodes and board.can_be_asked(node_id, engine):
                return nodes[node_id]
        return node(local)

    def known_options() -> Mapping[EngineName, Sequence[OptionSpec]]:
        """The controller's own engines know theirs; of others the workers have told."""
        found: dict[EngineName, Sequence[OptionSpec]] = dict(option_specs())
        for client in nodes.values():
            for name, specs in client.option_specs().items():
                found.setdefault(name, specs)
        return found

    def secrets() -> Collection[str]:
        told = (spec.name for specs in known_options().values() for spec in specs if spec.secret)
        return secret_options.union(told)

    board = Board()
    views = JobViews(board=board, secret_options=secrets)
    hits = HitChecker(store=store, clock=clock, node=node, online=board.online)
    scheduler = Scheduler(balancer)

    def wake(entry_id: EntryId | None = None) -> None:
        reconciler.wake(entry_id)
        resolver.wake()

    reconciler = build_reconciler(
        store=store, bus=bus, clock=clock, nodes=nodes.values(), node=node, board=board, scheduler=scheduler,
        limits=limits, hits=hits, wake=wake, local=local, life=life,
    )  # fmt: skip
    resolver = Resolver(
        store=store, clock=clock, node=node, asking=asking, hits=hits, limits=limits, joined=reconciler.wake
    )  # fmt: skip
    reader = OrderReader(node=node, nodes=board.nodes.values, option_specs=known_options)
    discretion = Discretion(tells_of_others)
    prober = Prober(
        store=store, clock=clock, reader=reader, resolver=resolver, hits=hits, discretion=discretion,
        would_run=reconciler.planner.would_run,
    )  # fmt: skip
    downloads = DownloadService(
        store=store, clock=clock, views_of=views, reader=reader, hits=hits, discretion=discretion, limits=limits,
        wake=wake, revoke=revoke,
    )  # fmt: skip
    jobs = JobFinder(store=store, clock=clock, views_of=views, engines=lambda: known_options().keys())
    reports = EngineReports(jobs=jobs, board=board, node=node)
    files = JobFiles(store=store, clock=clock, jobs=jobs, reports=reports, hits=hits, limits=limits, wake=wake)
    return Core(
        node=node, board=board, views=views, reader=reader, hits=hits, discretion=discretion, downloads=downloads,
        jobs=jobs, job_files=files, reports=reports, prober=prober, batches=Batches(downloads, jobs),
        presence=Presence(store=store, clock=clock, hits=hits, wake=wake), reconciler=reconciler, resolver=resolver,
        scheduler=scheduler,
    )  # fmt: skip
