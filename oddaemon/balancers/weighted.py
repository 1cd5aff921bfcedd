"""Weighted: nodes take turns in proportion to their weights.

The smooth weighted round robin of nginx (commit 52327e0627f4, "Upstream: smooth weighted round-robin balancing"): each
call adds every candidate's weight to its credit, the largest credit is first and pays the sum of the weights. Three
nodes of weights 5, 1, 1 give a a b a c a a, not a a a a a b c.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from oddaemon.domain.types import Bytes, EngineName, NodeId
from oddaemon.ports.load_balancer import Candidate, LoadBalancer, Ranking
from oddaemon.ports.plugin import Parts, Plugin, Problem


class Weighted(LoadBalancer):
    """A node without a weight above 0 is taken only when no other can."""

    def __init__(self) -> None:
        self._credit: dict[NodeId, float] = {}

    @property
    def name(self) -> str:
        return "weighted"

    def rank(self, engine: EngineName, size: Bytes | None, candidates: Sequence[Candidate]) -> Ranking:
        weights = {node.id: _weight(node) for node in candidates}
        total = sum(weights.values())
        # a node that was away keeps no credit: it would take everything at first when it is back
        self._credit = {node: self._credit.get(node, 0.0) + weight for node, weight in weights.items()}
        order = sorted(weights, key=lambda node: (weights[node] <= 0, -self._credit[node], node))
        self._credit[order[0]] -= total
        return Ranking(order=tuple(order), reason=f"it is its turn (weight {weights[order[0]]:g} of {total:g})")


def _weight(node: Candidate) -> float:
    return node.weight if math.isfinite(node.weight) and node.weight > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedSettings:
    """It has none: the weights are the nodes' own."""


def check(settings: WeightedSettings) -> Sequence[Problem]:
    return []


def build(settings: WeightedSettings, parts: Parts) -> LoadBalancer:
    return Weighted()


PLUGIN: Plugin[LoadBalancer] = Plugin(name="weighted", settings_type=WeightedSettings, check=check, build=build)
