"""What a node says of itself to its controller, from its own agent."""

from __future__ import annotations

from collections.abc import Mapping

from oddaemon.domain.types import EngineName
from oddaemon.ports.node_registry import AnnouncedEngine, Announcement
from oddaemon.services.node_agent import NodeAgent


async def announcement(
    agent: NodeAgent, *, instance: str, software: str, labels: Mapping[str, str] | None = None
) -> Announcement:
    """What is really there, now. `instance` names this run of the program. A disk that is missing holds no replicas
    then: `disk.present` says why. Raises StorageFailed."""
    snapshot = await agent.snapshot()
    replicas = await agent.inventory() if snapshot.disk.present else ()
    return Announcement(
        instance=instance, name=snapshot.name, software=software, disk=snapshot.disk,
        engines=tuple(
            _announced(agent, health.name, AnnouncedEngine(health=health, problem=agent.problems.get(health.name, "")))
            for health in snapshot.engines
        ),
        replicas=tuple(replicas), file_endpoint=snapshot.file_endpoint, labels=labels or {},
    )  # fmt: skip


def _announced(agent: NodeAgent, name: EngineName, bare: AnnouncedEngine) -> AnnouncedEngine:
    engine = agent.engines.get(name)
    if engine is None:
        return bare
    can = engine.capabilities
    return AnnouncedEngine(health=bare.health, mime_types=can.mime_types, options=can.options, problem=bare.problem)
