"""What a worker tells its controller as things change, and what it says when it may not come in any more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from odproto import NODE_MINOR

from oddaemon.app.compose_worker import Link
from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.node import EngineHealth
from oddaemon.domain.node_proof import new_credential
from oddaemon.domain.types import Bytes, Fraction, ReplicaId
from oddaemon.engines.simulated.engine import SimulatedEngine
from oddaemon.ports.engine import FillState, FillStatus
from oddaemon.ports.node_transport import Identity, Told
from oddaemon.services.announcing import Changes, announcement, heartbeat
from oddaemon.services.node_agent import NodeAgent
from oddaemon.transports.grpc import handshake
from oddaemon.transports.grpc.worker import Worker
from tests.support.nodes import WORKER, Controller, agent_of, controller
from tests.support.tcp_relay import tcp_relay
from tests.support.wait import until


class Moody(SimulatedEngine):
    """Is as well as the test says, and works on what the test says."""

    broken = ""
    version = "1"
    found: dict[ReplicaId, FillStatus]

    async def health(self) -> EngineHealth:
        health = await super().health()
        return replace(health, ok=not self.broken, message=self.broken, version=self.version)

    async def statuses(self) -> dict[ReplicaId, FillStatus]:
        return dict(self.found)

    async def cancel(self, replica_id: ReplicaId) -> None:
        await super().cancel(replica_id)
        self.found.pop(replica_id, None)


@dataclass(slots=True)
class Attic:
    engine: Moody
    agent: NodeAgent
    controller: Controller
    worker: Worker
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def announced(self) -> EngineHealth:
        (engine,) = self.controller.registry.announced[WORKER].engines
        return engine.health


def worker_of(agent: NodeAgent, built: Controller, news: asyncio.Event, port: int | None = None) -> Worker:
    told = Told(
        node=agent, announce=lambda: announcement(agent, instance="1", software="1.0"),
        beat=lambda: heartbeat(agent, load=Fraction(0.5)), changes=Changes(agent), news=news, clock=SystemClock(),
    )  # fmt: skip
    return Worker(built.address(port), built.identity(), told)


@contextlib.asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[None]:
    task = asyncio.ensure_future(worker.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oddaemon.domain.backoff.FIRST", 0.05)
    monkeypatch.setattr("oddaemon.domain.backoff.LONGEST", 0.1)
    monkeypatch.setattr("oddaemon.transports.grpc.worker.SELDOM", 0.1)


@pytest.fixture
def engine() -> Moody:
    found = Moody(SystemClock())
    found.found = {}
    return found


@pytest.fixture
async def attic(engine: Moody, tmp_path: Path, quick: None) -> AsyncIterator[Attic]:
    agent, news = agent_of(engine, tmp_path), asyncio.Event()
    await engine.start()
    async with controller() as built:
        built.registry.every = 0.05  # type: ignore[assignment]
        worker = worker_of(agent, built, news)
        async with running(worker):
            await asyncio.wait_for(worker.online.wait(), 60)
            yield Attic(engine, agent, built, worker, news)
    await engine.stop()


def status(state: FillState, replica: ReplicaId) -> FillStatus:
    return FillStatus(replica_id=replica, state=state, rate_down=3, rate_up=1, done=Bytes(9))  # type: ignore[arg-type]


async def test_an_engine_that_falls_ill_and_comes_back_is_announced(attic: Attic) -> None:
    registry = attic.controller.registry
    attic.engine.broken = "it crashed"
    await until(lambda: not attic.announced.ok, what="it is announced as down")
    beats = len(registry.beats)
    told = registry.announced[WORKER]
    attic.engine.broken = "it crashed again"
    await until(lambda: len(registry.beats) > beats + 2, what="more beats")
    assert registry.announced[WORKER] is told, "why it is down is no reason to announce everything anew"
    attic.engine.broken, attic.engine.version = "", "2"
    await until(lambda: attic.announced.ok and attic.announced.version == "2", what="it is announced as back")


async def test_a_heartbeat_says_how_the_node_is(attic: Attic) -> None:
    one, other = ReplicaId(uuid4()), ReplicaId(uuid4())
    attic.engine.found = {one: status(FillState.ACTIVE, one), other: status(FillState.COMPLETE, other)}
    _, beat = await until(
        lambda: next((found for found in attic.controller.registry.beats if found[1].running), None), what="a beat"
    )
    assert (beat.running, beat.rate_down, beat.rate_up, beat.load) == (1, 6, 2, 0.5)
    assert beat.disk.present
    assert beat.disk.total > beat.disk.free > 0
    assert [health.name for health in beat.engines] == [attic.engine.name]


async def test_a_missing_disk_is_announced_and_so_is_its_return(attic: Attic, tmp_path: Path) -> None:
    registry = attic.controller.registry
    sentinel = tmp_path / ".opendebrid"
    sentinel.rename(tmp_path / "away")
    await until(lambda: not registry.announced[WORKER].disk.present, what="the disk is told as missing")
    (tmp_path / "away").rename(sentinel)
    await until(lambda: registry.announced[WORKER].disk.present, what="the disk is told as there")


async def test_what_ends_is_reported_at_once_and_once(attic: Attic) -> None:
    attic.controller.registry.every = 3600.0  # type: ignore[assignment]
    reports = attic.controller.registry.reports
    one, other = ReplicaId(uuid4()), ReplicaId(uuid4())
    attic.engine.found = {one: status(FillState.ACTIVE, one), other: status(FillState.ACTIVE, other)}
    attic.news.set()
    await until(lambda: len(reports) == 2, what="both are reported")
    attic.engine.found[other] = status(FillState.COMPLETE, other)
    attic.news.set()
    await until(lambda: len(reports) > 2, what="the end is reported")
    assert reports[2:] == [(WORKER, attic.engine.found[other])]
    attic.news.set()
    await until(lambda: not attic.news.is_set(), what="another look")


async def test_a_line_in_the_log_for_each_change_and_no_more(
    engine: Moody, tmp_path: Path, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "oddaemon.transports.grpc.worker")
    agent = agent_of(engine, tmp_path)
    await engine.start()

    def told() -> list[str]:
        return [record.action for record in caplog.records if record.name.endswith("grpc.worker")]  # type: ignore[attr-defined]

    async with controller() as built, tcp_relay(built.port) as relay:
        worker = worker_of(agent, built, asyncio.Event(), relay.port)
        async with running(worker):
            await asyncio.wait_for(worker.online.wait(), 60)
            there, relay.to = relay.to, 1
            relay.cut()
            await until(lambda: relay.refused > 5, what="some tries")
            relay.to = there
            await asyncio.wait_for(worker.online.wait(), 60)
            assert worker.problem == ""
    lost = told().count("controller_lost")
    assert told()[0] == told()[-1] == "controller_connected"
    # that it was lost, and why it cannot be reached
    assert 1 <= lost <= 2, told()
    assert len(told()) == lost + 2
    await engine.stop()


async def test_a_node_that_was_removed_says_so_and_knocks_seldom(
    attic: Attic, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("oddaemon.transports.grpc.worker.SELDOM", 3600.0)
    kept = attic.agent.storage.allocate(ReplicaId(uuid4()))
    (kept / "film.mkv").write_bytes(b"x")
    del attic.controller.registry.credentials[WORKER]
    attic.controller.listener.forget(WORKER)
    await until(lambda: "removed there" in attic.worker.problem, what="it knows")
    assert "odctl nodes token create" in attic.worker.hint
    assert (kept / "film.mkv").exists()
    assert not attic.worker.online.is_set()
    assert [found.error for found in caplog.records if "removed there" in getattr(found, "error", "")]  # type: ignore[attr-defined]


async def test_a_node_that_was_removed_downloads_no_more_and_keeps_what_it_has(
    attic: Attic, caplog: pytest.LogCaptureFixture
) -> None:
    link = Link(None, None, SimpleNamespace(agent=attic.agent), SystemClock(), "1", None)  # type: ignore[arg-type]
    heard: list[None] = []

    async def removed() -> None:
        await link.removed()
        heard.append(None)

    attic.worker.told = replace(attic.worker.told, removed=removed)
    running, ready = ReplicaId(uuid4()), ReplicaId(uuid4())
    attic.engine.found = {running: status(FillState.ACTIVE, running), ready: status(FillState.COMPLETE, ready)}
    kept = attic.agent.storage.allocate(running) / "film.mkv"
    kept.write_bytes(b"x")
    del attic.controller.registry.credentials[WORKER]
    attic.controller.listener.forget(WORKER)
    await until(lambda: len(heard) > 1, what="it was refused, and refused again")
    assert not attic.engine.found
    assert kept.exists()
    said = [found for found in caplog.records if getattr(found, "action", "") == "downloads_stopped"]
    assert [found.count for found in said] == [2]  # type: ignore[attr-defined]


async def test_a_node_that_was_removed_may_come_back_as_another(attic: Attic) -> None:
    registry = attic.controller.registry

    async def another() -> Identity | None:
        return replace(attic.worker.identity, credential=registry.add(WORKER))

    attic.worker.another = another
    registry.credentials[WORKER] = new_credential()
    registry.announced.clear()
    attic.controller.listener.forget(WORKER)
    await until(lambda: WORKER in registry.announced and attic.worker.online.is_set(), what="it is back")


@pytest.mark.parametrize("minor", [NODE_MINOR + 1, max(NODE_MINOR - 1, 0)])
async def test_a_worker_that_is_a_minor_version_older_or_newer_works(
    minor: int, engine: Moody, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = handshake.own_version()
    theirs.minor, theirs.software = minor, "9.9"
    for end in ("dialer", "node_service"):
        monkeypatch.setattr(f"oddaemon.transports.grpc.{end}.own_version", lambda: theirs)
    agent = agent_of(engine, tmp_path)
    await engine.start()
    async with controller() as built:
        built.registry.every = 0.05  # type: ignore[assignment]
        worker = worker_of(agent, built, asyncio.Event())
        async with running(worker):
            await until(lambda: len(built.registry.beats) > 1, what="heartbeats")
            assert (await (await built.connected()).snapshot()).name == "attic"
    await engine.stop()


async def test_a_worker_of_another_major_version_is_told_so(
    engine: Moody, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = handshake.own_version()
    theirs.major += 1
    monkeypatch.setattr("oddaemon.transports.grpc.dialer.own_version", lambda: theirs)
    agent = agent_of(engine, tmp_path)
    async with controller() as built:
        worker = worker_of(agent, built, asyncio.Event())
        async with running(worker):
            await until(lambda: "of the node protocol" in worker.problem, what="it says why")
            assert "upgrade" in worker.hint
        assert not built.changes
