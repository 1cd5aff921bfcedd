"""What a node says of itself to its controller, from its own agent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from oddaemon.domain.errors import StorageFailed, StorageMissing
from oddaemon.domain.types import BytesPerSecond, EngineName, Fraction, ReplicaId
from oddaemon.ports.engine import FillState, FillStatus
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.node_registry import AnnouncedEngine, Announcement, Heartbeat
from oddaemon.services.node_agent import NodeAgent

log = logging.getLogger(__name__)


async def announcement(agent: NodeAgent, *, instance: str, software: str) -> Announcement:
    """What is really there, now. `instance` names this run of the program. A disk that is missing, or cannot be read,
    holds no replicas then: `disk.present` says why."""
    snapshot = await agent.snapshot()
    disk = snapshot.disk
    replicas: tuple[ReplicaId, ...] = ()
    if disk.present:
        try:
            replicas = tuple(await agent.inventory())
        except (StorageMissing, StorageFailed) as error:
            log.error("downloads cannot be listed", extra={"action": "inventory_failed", "error": error.message})
            disk = replace(disk, present=False)
    return Announcement(
        instance=instance, name=snapshot.name, software=software, disk=disk,
        engines=tuple(
            _announced(agent, health.name, AnnouncedEngine(health=health, problem=agent.problems.get(health.name, "")))
            for health in snapshot.engines
        ),
        replicas=replicas, file_endpoint=snapshot.file_endpoint, labels=snapshot.labels,
    )  # fmt: skip


def _announced(agent: NodeAgent, name: EngineName, bare: AnnouncedEngine) -> AnnouncedEngine:
    engine = agent.engines.get(name)
    if engine is None:
        return bare
    can = engine.capabilities
    return AnnouncedEngine(health=bare.health, mime_types=can.mime_types, options=can.options, problem=bare.problem)


async def heartbeat(agent: NodeAgent, *, load: Fraction | None) -> Heartbeat:
    """How it is, now. An engine that does not answer counts for nothing and is shown as down."""
    snapshot, found = await asyncio.gather(agent.snapshot(), agent.statuses())
    statuses = found.statuses.values()
    return Heartbeat(
        disk=snapshot.disk, engines=snapshot.engines,
        rate_down=BytesPerSecond(sum(status.rate_down for status in statuses)),
        rate_up=BytesPerSecond(sum(status.rate_up for status in statuses)),
        running=sum(status.state is FillState.ACTIVE for status in statuses), load=load,
    )  # fmt: skip


@dataclass(slots=True)
class Changes:
    """Call it: the replicas that are in another state than at the last call."""

    node: NodeClient
    _seen: dict[ReplicaId, FillState] = field(default_factory=dict)

    async def __call__(self) -> Sequence[FillStatus]:
        found = await self.node.statuses()
        changed = [status for status in found.statuses.values() if self._seen.get(status.replica_id) != status.state]
        # what an engine that is down works on has not changed, as far as anybody knows
        kept = self._seen if found.down else {}
        self._seen = {**kept, **{status.replica_id: status.state for status in found.statuses.values()}}
        return changed
