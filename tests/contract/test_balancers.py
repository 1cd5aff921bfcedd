"""The balancers hold the contract, and each ranks by what it is named for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from oddaemon.balancers import least_loaded, most_free, round_robin, weighted
from oddaemon.ports.load_balancer import LoadBalancer
from oddaemon.ports.plugin import Plugin
from oddaemon.testing.balancer_contract import ENGINE, LoadBalancerContract, candidate

PLUGINS: list[Plugin[LoadBalancer]] = [module.PLUGIN for module in (least_loaded, most_free, round_robin, weighted)]


class TestRoundRobin(LoadBalancerContract):
    @pytest.fixture
    def make_balancer(self) -> Callable[[], LoadBalancer]:
        return round_robin.RoundRobin

    def test_each_in_turn(self, balancer: LoadBalancer) -> None:
        firsts = [balancer.rank(ENGINE, None, [candidate(name) for name in "bca"]).order[0] for _ in range(6)]
        assert firsts == ["a", "b", "c", "a", "b", "c"]

    def test_a_node_that_was_away_is_next(self, balancer: LoadBalancer) -> None:
        for names in ("abc", "ab", "ab"):
            balancer.rank(ENGINE, None, [candidate(name) for name in names])
        assert balancer.rank(ENGINE, None, [candidate(name) for name in "abc"]).order[0] == "c"


class TestLeastLoaded(LoadBalancerContract):
    @pytest.fixture
    def make_balancer(self) -> Callable[[], LoadBalancer]:
        return least_loaded.LeastLoaded

    def test_by_the_part_of_the_capacity_that_is_used(self, balancer: LoadBalancer) -> None:
        nodes = [candidate("a", active=3, max_concurrent=10), candidate("b", active=4, max_concurrent=20),
                 candidate("c", active=1, max_concurrent=2)]  # fmt: skip
        assert balancer.rank(ENGINE, None, nodes).order == ("b", "a", "c")
        assert "4 of 20" in balancer.rank(ENGINE, None, nodes).reason


class TestMostFree(LoadBalancerContract):
    @pytest.fixture
    def make_balancer(self) -> Callable[[], LoadBalancer]:
        return most_free.MostFree

    def test_by_free_space(self, balancer: LoadBalancer) -> None:
        nodes = [candidate("a", available=1), candidate("b", available=3 * 2**30), candidate("c", available=2)]
        assert balancer.rank(ENGINE, None, nodes).order == ("b", "c", "a")
        assert "3.0 GiB" in balancer.rank(ENGINE, None, nodes).reason


class TestWeighted(LoadBalancerContract):
    @pytest.fixture
    def make_balancer(self) -> Callable[[], LoadBalancer]:
        return weighted.Weighted

    def test_in_proportion_and_evenly_spread(self, balancer: LoadBalancer) -> None:
        nodes = [candidate("a", weight=5), candidate("b", weight=1), candidate("c", weight=1)]
        firsts = "".join(balancer.rank(ENGINE, None, nodes).order[0] for _ in range(14))
        assert firsts == "aabacaa" * 2

    def test_without_weight_only_when_nobody_else_can(self, balancer: LoadBalancer) -> None:
        nodes = [candidate("a", weight=0), candidate("b", weight=0.1)]
        assert Counter(balancer.rank(ENGINE, None, nodes).order[0] for _ in range(50)) == {"b": 50}
        assert balancer.rank(ENGINE, None, nodes[:1]).order == ("a",)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
def test_plugins_are_named_as_what_they_build(plugin: Plugin[LoadBalancer]) -> None:
    settings = plugin.settings_type()
    assert not plugin.check(settings)
    assert plugin.build(settings, None).name == plugin.name  # type: ignore[arg-type]
