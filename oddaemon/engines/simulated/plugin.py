"""Plugin record of the scripted engine: off unless configured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oddaemon.engines.simulated.engine import SimulatedEngine
from oddaemon.ports.engine import Engine
from oddaemon.ports.plugin import Parts, Plugin, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSettings:
    """Settings of the scripted engine, for tests and for trying things out."""

    enabled: bool = False
    """Whether the engine is there at all."""
    max_concurrent: int = 1000
    """How many downloads run at a time."""


def check(settings: SimulatedSettings) -> Sequence[Problem]:
    if settings.max_concurrent < 1:
        return [Problem(message="engines.simulated.max_concurrent has to be at least 1")]
    return []


def build(settings: SimulatedSettings, parts: Parts) -> Engine:
    return SimulatedEngine(parts.clock, max_concurrent=settings.max_concurrent)


PLUGIN: Plugin[Engine] = Plugin(name="simulated", settings_type=SimulatedSettings, check=check, build=build)
