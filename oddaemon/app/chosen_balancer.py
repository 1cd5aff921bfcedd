"""The load balancer that is chosen now; another one may be while the daemon runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from oddaemon.app.plugins import LOAD_BALANCERS, PluginBroken, Plugins, PluginTable, with_defaults
from oddaemon.balancers.round_robin import RoundRobin
from oddaemon.domain.types import Bytes, EngineName
from oddaemon.ports.load_balancer import Candidate, LoadBalancer, Ranking
from oddaemon.ports.plugin import Parts

log = logging.getLogger(__name__)


class ChosenBalancer(LoadBalancer):
    def __init__(self, name: str, plugins: Plugins, parts: Parts) -> None:
        self._plugins = plugins
        self._parts = parts
        self._inner = self._built(name)

    @property
    def name(self) -> str:
        return self._inner.name

    def rank(self, engine: EngineName, size: Bytes | None, candidates: Sequence[Candidate]) -> Ranking:
        return self._inner.rank(engine, size, candidates)

    def choose(self, name: str) -> None:
        """What the one before remembered is gone. For one that cannot be used, round robin takes its place."""
        self._inner = self._built(name)

    def _built(self, name: str) -> LoadBalancer:
        found = self._plugins.get(LOAD_BALANCERS, name)
        try:
            chosen = found or with_defaults(PluginTable.installed(), LOAD_BALANCERS, name)
        except PluginBroken as error:
            log.error("load balancer not usable", extra={"action": "balancer_broken", "error": str(error)})
            return RoundRobin()
        built: LoadBalancer = chosen.plugin.build(chosen.settings, self._parts)
        return built
