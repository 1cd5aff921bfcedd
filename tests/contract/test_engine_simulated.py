"""The scripted engine holds the contract of engines, and its script."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from oddaemon.domain.errors import EngineUnavailable
from oddaemon.domain.failure import FailureCode, Retry
from oddaemon.domain.source import parse_source
from oddaemon.domain.types import ReplicaId, Seconds
from oddaemon.engines.simulated import PLUGIN
from oddaemon.engines.simulated.engine import SimulatedEngine
from oddaemon.engines.simulated.script import file_bytes, read_script
from oddaemon.ports.engine import FillRequest, FillState
from oddaemon.ports.plugin import Parts
from oddaemon.testing.engine_contract import EngineContract, EngineHarness, Sample
from oddaemon.testing.fakes import FakeSupervisor, ManualClock


def sample(path: str, **options: str) -> Sample:
    source = parse_source(f"http://sim.invalid/{path}")
    given = {name.replace("_", "-"): value for name, value in options.items()}
    script = read_script(given)
    contents = {index: file_bytes(source.uri, script, index) for index in range(1, script.files + 1)}
    return Sample(source=source, options=given, contents=contents)


class TestSimulatedEngine(EngineContract):
    @pytest.fixture
    def harness(self, downloads: Path) -> EngineHarness:
        from oddaemon.app.system_clock import SystemClock

        def build(state_dir: Path) -> SimulatedEngine:
            parts = Parts(supervisor=FakeSupervisor(), clock=SystemClock(), state_dir=state_dir, download_dir=downloads)
            engine = PLUGIN.build(PLUGIN.settings_type(enabled=True), parts)
            assert isinstance(engine, SimulatedEngine)
            return engine

        return EngineHarness(
            build=build,
            small=sample("small.bin", size="100K"),
            slow=sample("slow.bin", size="1M", rate="250K"),
            broken=sample("broken.bin", fail_code="ORIGIN_GONE"),
            several=sample("several", files="4", size="1001"),
            unlimited=sample("unlimited.bin", size="8M"),
            claimed_url="http://sim.invalid/x",
        )


class Bench:
    """An engine on a clock that stands still."""

    def __init__(self, tmp_path: Path) -> None:
        self.clock = ManualClock()
        self.engine = SimulatedEngine(self.clock)
        self.base = tmp_path

    def request(self, path: str = "x.bin", replica_id: ReplicaId | None = None, **options: str) -> FillRequest:
        of = sample(path, **options)
        replica_id = replica_id or ReplicaId(uuid4())
        directory = self.base / str(replica_id)
        directory.mkdir(exist_ok=True)
        return FillRequest(replica_id=replica_id, directory=directory, source=of.source, options=of.options)


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    await bench.engine.start()
    return bench


async def test_bytes_come_at_the_rate_of_the_script(bench: Bench) -> None:
    request = bench.request(size="1000K", rate="100K")
    await bench.engine.add(request)
    await bench.clock.advance(2.5)
    status = (await bench.engine.statuses())[request.replica_id]
    assert (status.done, status.total, status.rate_down, status.eta) == (256000, 1024000, 102400, 7.5)
    assert sum(p.stat().st_size for p in request.directory.iterdir()) == 256000
    await bench.clock.advance(7.5)
    assert (await bench.engine.statuses())[request.replica_id].state is FillState.COMPLETE


async def test_it_fails_as_often_as_it_should_and_keeps_the_bytes(bench: Bench) -> None:
    request = bench.request(fail_at="40", fail_times="2", fail_code="NETWORK", fail_retry="passing", retry_after="7")
    for _ in range(2):
        await bench.engine.add(request)
        status = (await bench.engine.statuses())[request.replica_id]
        assert status.failure is not None
        assert (status.failure.code, status.failure.retry, status.failure.retry_after) == (
            FailureCode.NETWORK,
            Retry.PASSING,
            Seconds(7),
        )
        assert status.done == 1024 * 1024 * 40 // 100
    await bench.engine.add(request)
    assert (await bench.engine.statuses())[request.replica_id].state is FillState.COMPLETE


async def test_a_crash_takes_everything_down_for_a_second(bench: Bench) -> None:
    other = bench.request("other", size="1000K", rate="100K")
    request = bench.request(crash="true", fail_at="50", fail_times="1")
    await bench.engine.add(other)
    await bench.clock.advance(2)
    await bench.engine.add(request)
    with pytest.raises(EngineUnavailable):
        await bench.engine.statuses()
    assert not (await bench.engine.health()).ok
    await bench.clock.advance(1.1)
    assert await bench.engine.statuses() == {}
    await bench.engine.add(other)
    assert (await bench.engine.statuses())[other.replica_id].done == 204800
    await bench.engine.add(request)
    assert (await bench.engine.statuses())[request.replica_id].state is FillState.COMPLETE


async def test_a_hung_engine_does_not_answer_until_the_replica_is_gone(bench: Bench) -> None:
    request = bench.request(hang="true")
    await bench.engine.add(request)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bench.engine.statuses(), 0.05)
    assert not (await bench.engine.health()).ok
    await bench.engine.cancel(request.replica_id)
    assert await bench.engine.statuses() == {}


async def test_stall_metadata_and_unknown_length(bench: Bench) -> None:
    request = bench.request(stall="true", fail_at="10", delay_metadata="5", size="1000", private="true")
    await bench.engine.add(request)
    early = (await bench.engine.statuses())[request.replica_id]
    assert (early.engine_state, early.files_rev, early.total, early.private) == ("metadata", 0, None, False)
    await bench.clock.advance(500)
    late = (await bench.engine.statuses())[request.replica_id]
    assert (late.state, late.done, late.total, late.rate_down, late.private) == (FillState.ACTIVE, 100, 1000, 0, True)
    open_end = bench.request(no_length="true", rate="100", size="1000")
    await bench.engine.add(open_end)
    assert (await bench.engine.statuses())[open_end.replica_id].total is None
    await bench.clock.advance(10)
    assert (await bench.engine.statuses())[open_end.replica_id].total == 1000


@pytest.mark.parametrize(("short", "long", "on_disk"), [("1", "0", 999), ("0", "5", 1005)])
async def test_it_lies_when_it_should(bench: Bench, short: str, long: str, on_disk: int) -> None:
    request = bench.request(size="1000", short=short, long=long)
    await bench.engine.add(request)
    status = (await bench.engine.statuses())[request.replica_id]
    assert (status.state, status.done) == (FillState.COMPLETE, 1000)
    assert [p.stat().st_size for p in request.directory.iterdir()] == [on_disk]


async def test_another_version_is_fetched_from_the_first_byte(bench: Bench) -> None:
    request = bench.request(size="1000", rate="100", version="1")
    await bench.engine.add(request)
    await bench.clock.advance(5)
    await bench.engine.cancel(request.replica_id)
    await bench.engine.add(bench.request(replica_id=request.replica_id, size="1000", rate="100", version="2"))
    assert (await bench.engine.statuses())[request.replica_id].done == 0


async def test_a_thousand_at_a_time_are_cheap(bench: Bench) -> None:
    requests = [bench.request(f"{n}.bin", size="1M", rate="1K") for n in range(1000)]
    for request in requests:
        await bench.engine.add(request)
    before = asyncio.all_tasks()
    await bench.clock.advance(60)
    assert len(await bench.engine.statuses()) == 1000
    assert asyncio.all_tasks() == before


async def test_the_key_is_of_the_url_and_of_what_changes_the_bytes(bench: Bench) -> None:
    async def key(path: str, **options: str) -> str:
        of = sample(path, **options)
        found = await bench.engine.resolve_cache_key(of.source, of.options)
        assert found is not None
        return found.key.full

    assert await key("a") == await key("b/../a", rate="5") != await key("b")
    assert await key("a", size="5") != await key("a", size="6")
