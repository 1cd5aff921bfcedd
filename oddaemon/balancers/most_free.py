"""MostFree: the node with the most space above its reserve and its reservations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oddaemon.domain.types import Bytes, EngineName
from oddaemon.ports.load_balancer import Candidate, LoadBalancer, Ranking
from oddaemon.ports.plugin import Parts, Plugin, Problem


class MostFree(LoadBalancer):
    @property
    def name(self) -> str:
        return "most-free"

    def rank(self, engine: EngineName, size: Bytes | None, candidates: Sequence[Candidate]) -> Ranking:
        order = sorted(candidates, key=lambda node: (-node.available, node.active, node.id))
        gigabytes = order[0].available / 2**30
        return Ranking(
            order=tuple(node.id for node in order),
            reason=f"it has the most free space: {gigabytes:.1f} GiB above the reserve",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MostFreeSettings:
    """It has none."""


def check(settings: MostFreeSettings) -> Sequence[Problem]:
    return []


def build(settings: MostFreeSettings, parts: Parts) -> LoadBalancer:
    return MostFree()


PLUGIN: Plugin[LoadBalancer] = Plugin(name="most-free", settings_type=MostFreeSettings, check=check, build=build)
