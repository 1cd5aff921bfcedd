"""How the whole is doing: nodes, engines, jobs by state, rates, and what needs the operator's eye."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from oddaemon.domain.admission import Limits, human_bytes, node_offline, reserve_of, running_at_once
from oddaemon.domain.cache import ReplicaState
from oddaemon.domain.errors import NotFound
from oddaemon.domain.job import JobState
from oddaemon.domain.node import NodeSnapshot
from oddaemon.domain.types import BytesPerSecond, EngineName, NodeId, Seconds
from oddaemon.domain.user import Principal, Scope, require, require_admin
from oddaemon.domain.words import choices
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import OptionSpec
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.board import Board
from oddaemon.services.notices import node_notices
from oddaemon.services.reconciler import Reconciler
from oddaemon.services.views import EngineView, NodeView, Notice, StatusView

QUEUE_PAUSED = Notice(
    code="queue_paused", message="the queue is paused: nothing new starts", hint="odctl resume --queue"
)


@dataclass(slots=True)
class _AtWork:
    """What runs on one node."""

    active: Counter[EngineName] = field(default_factory=Counter)
    rate_down: int = 0
    rate_up: int = 0


@dataclass(slots=True)
class StatusService:
    store: Store
    clock: Clock
    board: Board
    reconciler: Reconciler
    node: Callable[[NodeId | None], NodeClient]
    limits: Callable[[], Limits]
    option_specs: Callable[[], Mapping[EngineName, Sequence[OptionSpec]]]
    version: str
    started_at: datetime

    async def status(self, who: Principal) -> StatusView:
        """Counts are the caller's own jobs, everybody's for an admin. How nodes and engines do is everybody's."""
        require(who, Scope.READ)
        user = None if who.is_admin else who.user_id

        def work(tx: Transaction) -> tuple[Mapping[str, int], int]:
            counts = {str(state): count for state, count in tx.jobs.count_by_state(user).items()}
            paused = tx.jobs.count_paused(user)
            shown = {**counts, str(JobState.QUEUED): counts[JobState.QUEUED] - paused, "paused": paused}
            return {**shown, "total": sum(counts.values())}, tx.quarantined()

        jobs, damaged = await self.store.read(work)
        nodes = self.nodes()
        return StatusView(
            started_at=self.started_at,
            uptime=Seconds((self.clock.now() - self.started_at).total_seconds()),
            jobs=jobs,
            rate_down=BytesPerSecond(sum(node.rate_down for node in nodes)),
            rate_up=BytesPerSecond(sum(node.rate_up for node in nodes)),
            nodes=nodes,
            notices=[
                *([QUEUE_PAUSED] if self.limits().queue_paused else []),
                *(notice for node in self.board.nodes.values() for notice in self._notices(node)),
                *([_damaged_rows(damaged)] if damaged and who.is_admin else []),
            ],
        )

    def nodes(self) -> Sequence[NodeView]:
        """As they were last seen, the controller's own first. Asks nobody."""
        at_work = self._at_work()
        known = sorted(self.board.nodes.values(), key=lambda node: (not node.is_controller, node.id))
        return [self._node_view(node, at_work) for node in known]

    def _at_work(self) -> Mapping[NodeId, _AtWork]:
        """What runs, by node: in one pass, however many nodes there are."""
        found: dict[NodeId, _AtWork] = {}
        for replica in self.reconciler.view.replicas.values():
            here = found.setdefault(replica.node_id, _AtWork())
            if replica.state is ReplicaState.FILLING:
                here.active[replica.engine] += 1
            status = self.board.statuses.get(replica.id)
            if status is not None:
                here.rate_down += status.rate_down
                here.rate_up += status.rate_up
        return found

    def _node_view(self, node: NodeSnapshot, at_work: Mapping[NodeId, _AtWork] | None = None) -> NodeView:
        specs, limits = self.option_specs(), self.limits()
        here = (self._at_work() if at_work is None else at_work).get(node.id, _AtWork())
        own = self.reconciler.watch.local == node.id
        return NodeView(
            node=node,
            engines=[
                EngineView(health=health, active=here.active[health.name], options=specs.get(health.name, ()))
                for health in node.engines
            ],
            version=self.version if own else node.software,
            reserve=reserve_of(node, limits),
            jobs_active=here.active.total(),
            rate_down=BytesPerSecond(here.rate_down),
            rate_up=BytesPerSecond(here.rate_up),
            heartbeat_age=Seconds(0.0) if own else self.reconciler.watch.heard_ago(node.id),
            running_limit=running_at_once(node, limits),
        )

    def _notices(self, node: NodeSnapshot) -> Sequence[Notice]:
        if not node.online:
            # of its disk and engines nothing is known
            return [_offline(node)]
        found = [*node_notices(node)]
        reserve = reserve_of(node, self.limits())
        if node.disk.present and node.disk.free < reserve:
            found.append(
                Notice(
                    code="disk_low",
                    message=f"node {node.name}: {human_bytes(node.disk.free)} free, "
                    f"the reserve is {human_bytes(reserve)}",
                    hint="odctl cache cleanup --until-free SIZE, or odctl rm what is no longer needed",
                )
            )
        strays = self.board.strays.get(node.id, 0)
        if strays:
            found.append(
                Notice(
                    code="strays",
                    message=f"node {node.name}: {strays} directories in the download folder belong to no download",
                    hint="odctl logs names them; they are never deleted by themselves",
                )
            )
        return found

    async def node_named(self, who: Principal, text: str) -> NodeView:
        """By id, else by name; for admins. Raises NotFound."""
        require_admin(who)
        nodes = self.board.nodes
        node = nodes.get(NodeId(text)) or next((one for one in nodes.values() if one.name == text), None)
        if node is not None:
            return self._node_view(node)
        raise NotFound(f"there is no node {text[:80]!r}", hint=choices(text, list(self.board.nodes), "nodes here"))

    async def engines(self, who: Principal) -> Sequence[EngineView]:
        require(who, Scope.READ)
        return [view for node in self.nodes() for view in node.engines]

    async def test_engine(self, who: Principal, name: str) -> EngineView:
        """Asks the engine now. Raises NotFound."""
        require(who, Scope.READ)
        node_client = self.node(None)
        node = await node_client.snapshot()
        before = self.board.nodes.get(node.id)
        self.board.nodes[node.id] = (
            node if before is None else replace(node, disk_low=before.disk_low).marked(before.marks)
        )
        for view in self._node_view(node).engines:
            if view.health.name == name:
                return view
        known = [health.name for health in node.engines]
        raise NotFound(f"there is no engine {name!r}", hint=choices(name, known, "engines here"))


def _offline(node: NodeSnapshot) -> Notice:
    return Notice(
        code="node_offline",
        message=node_offline(node).message if node.offline_since else f"node {node.name} joined and has not come yet",
        hint=f"odctl nodes show {node.id}; if it is gone for good: odctl nodes rm {node.id}",
    )


def _damaged_rows(count: int) -> Notice:
    return Notice(
        code="damaged_rows",
        message=f"damaged rows of the store that were put aside: {count}",
        hint="odctl logs says which; a backup may have them whole: oddaemon restore FILE",
    )
