"""An engine that does not answer holds up nothing that another engine does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.job import JobState
from oddaemon.domain.node import EngineHealth
from oddaemon.domain.types import EngineName, ReplicaId, Seconds
from oddaemon.engines.simulated.engine import SimulatedEngine
from oddaemon.ports.engine import FillStatus
from oddaemon.services import node_agent, node_watch
from tests.support.core import HERE, SIMULATED, House, house
from tests.support.wait import until

URL = "http://sim.invalid/file.bin"
HUNG = EngineName("hung")


class Hung(SimulatedEngine):
    """Answers nothing until it is let go on."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.go_on = asyncio.Event()
        self.asked = 0
        self.asked_health = 0

    async def statuses(self) -> Mapping[ReplicaId, FillStatus]:
        self.asked += 1
        await self.go_on.wait()
        return {}

    async def health(self) -> EngineHealth:
        self.asked_health += 1
        await self.go_on.wait()
        return EngineHealth(name=HUNG, ok=True)


def hang(home: House) -> Hung:
    engine = Hung()
    home.agent.engines = {HUNG: engine, **home.agent.engines}
    return engine


async def test_jobs_of_other_engines_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_agent, "HEALTH_DEADLINE", Seconds(60))
    # waited out once; the other engine has to be in time even where the machine sleeps
    monkeypatch.setattr(node_agent, "STATUS_DEADLINE", Seconds(4))
    monkeypatch.setattr(node_watch, "SNAPSHOT_AGE", Seconds(0.1))
    async with house(tmp_path) as home:
        await until(lambda: HERE in home.core.board.nodes)
        engine = hang(home)
        await until(lambda: engine.asked_health > 0)
        view = await home.add(URL, options={"size": "5000"})
        await home.until_state(view, JobState.COMPLETED)
        engine.go_on.set()


async def test_it_is_not_asked_again_until_it_is_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_agent, "HEALTH_DEADLINE", Seconds(0.1))
    monkeypatch.setattr(node_agent, "STATUS_DEADLINE", Seconds(0.1))
    async with house(tmp_path) as home:
        agent, engine = home.agent, hang(home)
        assert set((await agent.statuses()).down) == {HUNG}
        asked = engine.asked
        assert set((await agent.statuses()).down) == {HUNG}
        health = {found.name: found.ok for found in (await agent.snapshot()).engines}
        assert health == {HUNG: False, SIMULATED: True}
        assert set((await agent.statuses()).down) == {HUNG}
        assert engine.asked == asked
        engine.go_on.set()
        await agent.snapshot()
        assert not (await agent.statuses()).down
        assert engine.asked > asked
