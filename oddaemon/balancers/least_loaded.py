"""LeastLoaded: the node with the smallest part of its capacity in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oddaemon.domain.types import Bytes, EngineName
from oddaemon.ports.load_balancer import Candidate, LoadBalancer, Ranking
from oddaemon.ports.plugin import Parts, Plugin, Problem


class LeastLoaded(LoadBalancer):
    """By active downloads over the number that may run; without such a number, by active downloads."""

    @property
    def name(self) -> str:
        return "least-loaded"

    def rank(self, engine: EngineName, size: Bytes | None, candidates: Sequence[Candidate]) -> Ranking:
        order = sorted(candidates, key=lambda node: (_load(node), node.active, -node.available, node.id))
        first = order[0]
        capacity = f" of {first.max_concurrent}" if first.max_concurrent > 0 else ""
        return Ranking(
            order=tuple(node.id for node in order),
            reason=f"it is the least loaded: {first.active}{capacity} running",
        )


def _load(node: Candidate) -> float:
    # a node without a limit is never full: it is compared as one with room for a thousand
    return node.active / (node.max_concurrent if node.max_concurrent > 0 else 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastLoadedSettings:
    """It has none."""


def check(settings: LeastLoadedSettings) -> Sequence[Problem]:
    return []


def build(settings: LeastLoadedSettings, parts: Parts) -> LoadBalancer:
    return LeastLoaded()


PLUGIN: Plugin[LoadBalancer] = Plugin(name="least-loaded", settings_type=LeastLoadedSettings, check=check, build=build)
