"""RoundRobin: the node that has waited longest is next. The default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oddaemon.domain.types import Bytes, EngineName, NodeId
from oddaemon.ports.load_balancer import Candidate, LoadBalancer, Ranking
from oddaemon.ports.plugin import Parts, Plugin, Problem


class RoundRobin(LoadBalancer):
    """Remembers when each node was first, so that nodes may come and go between the calls."""

    def __init__(self) -> None:
        self._turn = 0
        self._last_first: dict[NodeId, int] = {}

    @property
    def name(self) -> str:
        return "round-robin"

    def rank(self, engine: EngineName, size: Bytes | None, candidates: Sequence[Candidate]) -> Ranking:
        order = sorted(candidates, key=lambda node: (self._last_first.get(node.id, 0), node.id))
        self._turn += 1
        self._last_first[order[0].id] = self._turn
        reason = "it is the only one that can take it" if len(order) == 1 else "it is its turn (round robin)"
        return Ranking(order=tuple(node.id for node in order), reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRobinSettings:
    """It has none."""


def check(settings: RoundRobinSettings) -> Sequence[Problem]:
    return []


def build(settings: RoundRobinSettings, parts: Parts) -> LoadBalancer:
    return RoundRobin()


PLUGIN: Plugin[LoadBalancer] = Plugin(name="round-robin", settings_type=RoundRobinSettings, check=check, build=build)
