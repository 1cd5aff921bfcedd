"""LoadBalancerContract: every clause of `ports.load_balancer` as a test.

class TestMyBalancer(LoadBalancerContract):
    @pytest.fixture
    def make_balancer(self):
        return MyBalancer
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from oddaemon.domain.types import Bytes, EngineName, NodeId
from oddaemon.ports.load_balancer import Candidate, LoadBalancer

ENGINE = EngineName("aria2")


def candidate(
    name: str, *, active: int = 0, max_concurrent: int = 10, available: int = 2**40, weight: float = 1.0
) -> Candidate:
    return Candidate(
        id=NodeId(name),
        is_local=name == "a",
        active=active,
        max_concurrent=max_concurrent,
        available=Bytes(available),
        weight=weight,
    )


GROUPS = (
    [candidate("a")],
    [candidate("a"), candidate("b"), candidate("c")],
    [candidate("c", active=3), candidate("a", active=9), candidate("b", active=0, available=0)],
    [candidate("a", max_concurrent=0), candidate("b", active=5, max_concurrent=0)],
    [candidate("a", weight=0.0), candidate("b", weight=-1.0), candidate("c", weight=float("nan"))],
    [candidate(f"node-{number:03}", active=number % 7, weight=number) for number in range(200)],
)


class LoadBalancerContract:
    """Subclass it and define the fixture `make_balancer`."""

    @pytest.fixture
    def balancer(self, make_balancer: Callable[[], LoadBalancer]) -> LoadBalancer:
        return make_balancer()

    def test_its_name_is_constant_and_plain(self, balancer: LoadBalancer) -> None:
        assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", balancer.name)
        assert balancer.name == balancer.name

    @pytest.mark.parametrize("candidates", GROUPS)
    @pytest.mark.parametrize("size", [None, Bytes(0), Bytes(2**40)])
    def test_it_ranks_every_candidate_once(
        self, balancer: LoadBalancer, candidates: list[Candidate], size: Bytes | None
    ) -> None:
        for _ in range(5):
            order = balancer.rank(ENGINE, size, candidates).order
            assert sorted(order) == sorted(node.id for node in candidates)

    @pytest.mark.parametrize("candidates", GROUPS)
    def test_it_says_why_in_one_line(self, balancer: LoadBalancer, candidates: list[Candidate]) -> None:
        reason = balancer.rank(ENGINE, None, candidates).reason
        assert reason
        assert reason.isprintable()

    @pytest.mark.parametrize("candidates", GROUPS)
    def test_it_is_deterministic(self, make_balancer: Callable[[], LoadBalancer], candidates: list[Candidate]) -> None:
        """The same calls give the same answers, in whatever order the candidates come."""
        one, other = make_balancer(), make_balancer()
        for _ in range(7):
            assert one.rank(ENGINE, None, candidates) == other.rank(ENGINE, None, candidates[::-1])

    def test_candidates_may_come_and_go(self, balancer: LoadBalancer) -> None:
        for names in ("abc", "a", "bc", "d", "abcd", "b"):
            order = balancer.rank(ENGINE, None, [candidate(name) for name in names]).order
            assert sorted(order) == sorted(names)

    def test_equal_nodes_are_all_used_when_load_follows_the_ranking(self, balancer: LoadBalancer) -> None:
        """Whatever it ranks by: when the first gets the work, none of three equal nodes stays idle."""
        active, free = dict.fromkeys("abc", 0), dict.fromkeys("abc", 2**40)
        for _ in range(9):
            nodes = [candidate(name, active=active[name], available=free[name]) for name in "abc"]
            first = balancer.rank(ENGINE, Bytes(2**30), nodes).order[0]
            active[first] += 1
            free[first] -= 2**30
        assert active == {"a": 3, "b": 3, "c": 3}

    def test_it_does_not_wait(self, balancer: LoadBalancer) -> None:
        candidates = GROUPS[-1]
        started = time.monotonic()
        for _ in range(100):
            balancer.rank(ENGINE, None, candidates)
        assert time.monotonic() - started < 5
