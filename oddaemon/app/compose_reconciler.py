"""Builds the reconciler, and all that works for it: what starts, follows and ends downloads."""

from __future__ import annotations

from collections.abc import Callable, Collection

from oddaemon.domain.admission import Limits
from oddaemon.domain.cache import Replica
from oddaemon.domain.node import Liveness
from oddaemon.domain.types import NodeId
from oddaemon.ports.clock import Clock
from oddaemon.ports.event_bus import EventBus
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Store
from oddaemon.services.at_work import AtWork
from oddaemon.services.board import Board
from oddaemon.services.checksums import Checksums
from oddaemon.services.completing import Completer
from oddaemon.services.copy_wishes import CopyWishes
from oddaemon.services.copying import Copier
from oddaemon.services.deleting import Deleter
from oddaemon.services.filling import Filler
from oddaemon.services.following import Follower
from oddaemon.services.hits import HitChecker
from oddaemon.services.kept_figures import KeptFigures
from oddaemon.services.node_watch import NodeWatch
from oddaemon.services.planning import Planner
from oddaemon.services.reconciler import Reconciler
from oddaemon.services.replicas import Replicas
from oddaemon.services.returning import Returning
from oddaemon.services.scheduler import Scheduler
from oddaemon.services.seeding import Seeding
from oddaemon.services.steering import Steerer
from oddaemon.services.steps import Steps
from oddaemon.services.stopping import Stopper
from oddaemon.services.takeover import Takeover
from oddaemon.services.told import Told
from oddaemon.services.tracker import Tracker


def build_reconciler(
    *, store: Store, bus: EventBus, clock: Clock, nodes: Collection[NodeClient],
    node: Callable[[NodeId | None], NodeClient], board: Board, scheduler: Scheduler, limits: Callable[[], Limits],
    hits: HitChecker, wake: Callable[[], None], local: NodeId, life: Callable[[], Liveness],
) -> Reconciler:  # fmt: skip
    def note(replica: Replica) -> None:
        reconciler.note(replica)

    def replan() -> None:
        reconciler.replan()

    def back(node_id: NodeId) -> None:
        reconciler.back(node_id)

    view = AtWork(board)
    replicas, told = Replicas(store=store, note=note), Told()
    watch = NodeWatch(
        store=store, clock=clock, board=board, limits=limits, changed=replan, local=local, life=life, back=back,
    )  # fmt: skip
    steps = Steps(is_busy=replicas.is_busy, postponed=replan)
    stopper = Stopper(store=store, clock=clock, node=node, board=board, replicas=replicas, told=told, limits=limits)
    filler = Filler(
        store=store, clock=clock, node=node, board=board, replicas=replicas, told=told, stopper=stopper,
        is_gone=watch.is_past_grace,
    )  # fmt: skip
    takeover = Takeover(
        clock=clock, board=board, view=view, replicas=replicas, told=told, is_past_grace=watch.is_past_grace,
        rooms=watch.rooms, limits=limits,
    )  # fmt: skip
    steerer = Steerer(node=node, board=board, replicas=replicas, told=told, filler=filler)
    checksums = Checksums(store=store, clock=clock, node=node, replicas=replicas, wake=wake)
    completer = Completer(
        store=store, clock=clock, node=node, board=board, replicas=replicas, told=told, stopper=stopper,
        checksums=checksums, wake=wake,
    )  # fmt: skip
    tracker = Tracker(
        store=store, clock=clock, node=node, board=board, replicas=replicas, stopper=stopper, steerer=steerer,
        limits=limits, wake=wake,
    )  # fmt: skip
    seeding = Seeding(store=store, clock=clock, board=board, filler=filler, steerer=steerer, steps=steps)
    follower = Follower(
        store=store, clock=clock, nodes=lambda: list(nodes), board=board, replicas=replicas, filler=filler,
        stopper=stopper, tracker=tracker, completer=completer, steerer=steerer, seeding=seeding, limits=limits,
        publish=bus.publish, listening=bus.listening, view=view, watch=watch, steps=steps, replan=replan,
    )  # fmt: skip
    view.stopped.append(follower.forget)
    planner = Planner(
        store=store, clock=clock, board=board, view=view, watch=watch, steps=steps, scheduler=scheduler,
        replicas=replicas, filler=filler, stopper=stopper, checksums=checksums, hits=hits, limits=limits,
        publish=bus.publish, takeover=takeover,
    )  # fmt: skip
    wishes = CopyWishes(
        store=store, clock=clock, view=view, replicas=replicas, rooms=watch.rooms, is_gone=watch.is_past_grace,
        limits=limits,
    )  # fmt: skip
    copier = Copier(
        store=store, clock=clock, board=board, view=view, replicas=replicas, hits=hits, node=node, rooms=watch.rooms,
        limits=limits, wake=lambda: reconciler.wake(), failed=wishes.failed,
    )  # fmt: skip
    reconciler = Reconciler(
        store=store, clock=clock, nodes=lambda: list(nodes), board=board, view=view, watch=watch, planner=planner,
        follower=follower, figures=KeptFigures(store=store, clock=clock, board=board, view=view),
        copier=copier, wishes=wishes,
        deleter=Deleter(
            store=store, clock=clock, view=view, stopper=stopper, wake=lambda: reconciler.wake(), online=board.online
        ),
        returning=Returning(
            store=store, clock=clock, board=board, replicas=replicas, hits=hits, wake=lambda: reconciler.wake()
        ),
    )  # fmt: skip
    return reconciler
