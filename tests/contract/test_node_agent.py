"""A node in this process holds the contract of nodes, with the scripted engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from oddaemon.testing.node_contract import NodeClientContract, NodeHarness
from tests.support.node_samples import SIMULATED_CAN, simulated_node


class TestNodeAgent(NodeClientContract):
    @pytest_asyncio.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[NodeHarness]:
        async with simulated_node(tmp_path) as (agent, samples):
            yield NodeHarness(
                node=agent, engine=next(iter(agent.engines)), samples=samples, base=tmp_path / "downloads",
                abilities=SIMULATED_CAN,
            )  # fmt: skip
