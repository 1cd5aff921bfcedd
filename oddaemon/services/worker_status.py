"""How a worker is doing, as far as it knows by itself: no jobs and no users, but what its engines work on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from oddaemon.domain.types import Bytes, BytesPerSecond, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import FillState, FillStatus
from oddaemon.services.node_agent import NodeAgent
from oddaemon.services.notices import node_notices
from oddaemon.services.views import EngineView, NodeView, Notice, StatusView


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """Call it. `online`: whether the controller knows this node at the moment; `problem` says why not, and what to
    do."""

    agent: NodeAgent
    clock: Clock
    version: str
    started_at: datetime
    online: Callable[[], bool]
    problem: Callable[[], tuple[str, str]]

    async def __call__(self) -> StatusView:
        snapshot, found = await asyncio.gather(self.agent.snapshot(), self.agent.statuses())
        statuses = list(found.statuses.values())
        node = replace(snapshot, is_controller=False, online=self.online())
        running = sum(status.state is FillState.ACTIVE for status in statuses)
        down = BytesPerSecond(sum(status.rate_down for status in statuses))
        up = BytesPerSecond(sum(status.rate_up for status in statuses))
        view = NodeView(
            node=node,
            engines=[
                EngineView(health=health, active=self.agent.working.get(health.name, 0)) for health in node.engines
            ],
            version=self.version, reserve=Bytes(0), jobs_active=running, rate_down=down, rate_up=up,
        )  # fmt: skip
        return StatusView(
            started_at=self.started_at, uptime=Seconds((self.clock.now() - self.started_at).total_seconds()),
            jobs=_counts(statuses), rate_down=down, rate_up=up, nodes=[view],
            notices=[*self._offline(), *node_notices(node)],
        )  # fmt: skip

    def _offline(self) -> Sequence[Notice]:
        if self.online():
            return []
        message, hint = self.problem()
        return [Notice(code="controller_lost", message=message or "not connected to the controller yet", hint=hint)]


_WORDS = {
    FillState.QUEUED: "queued", FillState.ACTIVE: "downloading", FillState.PAUSED: "paused",
    FillState.COMPLETE: "completed", FillState.FAILED: "failed",
}  # fmt: skip
"""As a job in that state is called."""


def _counts(statuses: Sequence[FillStatus]) -> dict[str, int]:
    counts = dict.fromkeys(_WORDS.values(), 0)
    for status in statuses:
        counts[_WORDS[status.state]] += 1
    return {**counts, "total": len(statuses)}
