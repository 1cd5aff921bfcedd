"""How the whole is doing: nodes, engines, jobs by state, rates, and what needs the operator's eye."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from oddaemon.domain.admission import Limits, human_bytes
from oddaemon.domain.cache import ReplicaState
from oddaemon.domain.errors import Conflict, NotFound
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
        """As they were last seen. Asks nobody."""
        return [self._node_view(node) for node in self.board.nodes.values()]

    def _active(self, node_id: NodeId, engine: EngineName | None = None) -> int:
        return sum(
            1
            for replica in self.reconciler.view.replicas.values()
            if replica.state is ReplicaState.FILLING
            and replica.node_id == node_id
            and (engine is None or replica.engine == engine)
        )

    def _node_view(self, node: NodeSnapshot) -> NodeView:
        specs = self.option_specs()
        mine = {found.id for found in self.reconciler.view.replicas.values() if found.node_id == node.id}
        statuses = [status for replica_id, status in self.board.statuses.items() if replica_id in mine]
        return NodeView(
            node=node,
            engines=[
                EngineView(health=health, active=self._active(node.id, health.name), options=specs.get(health.name, ()))
                for health in node.engines
            ],
            version=self.version,
            reserve=self.limits().min_disk_free,
            jobs_active=self._active(node.id),
            rate_down=BytesPerSecond(sum(status.rate_down for status in statuses)),
            rate_up=BytesPerSecond(sum(status.rate_up for status in statuses)),
            heartbeat_age=Seconds(0.0) if node.is_controller else None,
        )

    def _notices(self, node: NodeSnapshot) -> Sequence[Notice]:
        found = [*node_notices(node)]
        limits = self.limits()
        if node.disk.present and node.disk.free < limits.min_disk_free:
            found.append(
                Notice(
                    code="disk_low",
                    message=f"node {node.name}: {human_bytes(node.disk.free)} free, "
                    f"the reserve is {human_bytes(limits.min_disk_free)}",
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
        """By id or name; for admins. Raises NotFound."""
        require_admin(who)
        for node in self.board.nodes.values():
            if text in (node.id, node.name):
                return self._node_view(node)
        raise NotFound(f"there is no node {text[:80]!r}", hint=choices(text, list(self.board.nodes), "nodes here"))

    async def remove_node(self, who: Principal, text: str) -> None:
        """For admins. Raises NotFound, and Conflict for the node of the controller itself: there is no other yet."""
        found = await self.node_named(who, text)
        raise Conflict(
            f"{found.node.name} is the controller's own node and cannot be removed",
            hint="to empty it, remove its downloads and clean up its cache", node=found.node.id,
        )  # fmt: skip

    async def engines(self, who: Principal) -> Sequence[EngineView]:
        require(who, Scope.READ)
        return [view for node in self.board.nodes.values() for view in self._node_view(node).engines]

    async def test_engine(self, who: Principal, name: str) -> EngineView:
        """Asks the engine now. Raises NotFound."""
        require(who, Scope.READ)
        node_client = self.node(None)
        node = await node_client.snapshot()
        before = self.board.nodes.get(node.id)
        self.board.nodes[node.id] = node if before is None else replace(node, disk_low=before.disk_low)
        for view in self._node_view(node).engines:
            if view.health.name == name:
                return view
        known = [health.name for health in node.engines]
        raise NotFound(f"there is no engine {name!r}", hint=choices(name, known, "engines here"))


def _damaged_rows(count: int) -> Notice:
    return Notice(
        code="damaged_rows",
        message=f"damaged rows of the store that were put aside: {count}",
        hint="odctl logs says which; a backup may have them whole: oddaemon restore FILE",
    )
