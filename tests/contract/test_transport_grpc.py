"""A node on another machine holds the contract of nodes: over TLS, on connections that it opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from oddaemon.testing.node_contract import NodeClientContract, NodeHarness
from tests.support.node_samples import ARIA2_CAN, SIMULATED_CAN, aria2_node, simulated_node
from tests.support.nodes import linked, own_judges


class TestTheScriptedEngine(NodeClientContract):
    @pytest_asyncio.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[NodeHarness]:
        async with simulated_node(tmp_path) as (agent, samples), linked(agent, own_judges(agent)) as client:
            yield NodeHarness(
                node=client, engine=next(iter(agent.engines)), samples=samples, base=tmp_path / "downloads",
                abilities=SIMULATED_CAN,
            )  # fmt: skip


@pytest.mark.real("aria2c")
class TestAria2OfAControllerWithoutAria2(NodeClientContract):
    """Options are judged by what the node announced."""

    @pytest_asyncio.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[NodeHarness]:
        async with aria2_node(tmp_path) as (agent, samples), linked(agent) as client:
            yield NodeHarness(
                node=client, engine=next(iter(agent.engines)), samples=samples, base=tmp_path / "downloads",
                abilities=ARIA2_CAN,
            )  # fmt: skip
