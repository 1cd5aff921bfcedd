"""The aria2c child itself: missing, hung, killed, and what it finds in its session."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from oddaemon.domain.errors import EngineUnavailable
from oddaemon.domain.types import BytesPerSecond, Seconds
from oddaemon.engines.aria2 import PLUGIN, keeper
from oddaemon.engines.aria2.rpc import Rpc
from oddaemon.ports.engine import FillState
from tests.support.aria2 import QUIET, Bench, aria2, build
from tests.support.origin_server import CHUNK, Origin
from tests.support.wait import until

pytestmark = pytest.mark.real("aria2c")

BODY = os.urandom(3_000_000)


@pytest_asyncio.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as origin:
        origin.page("/x.bin", BODY, etag='"1"', rate=300_000)
        yield origin


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with aria2(tmp_path) as bench:
        yield bench


async def test_without_aria2c_the_engine_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    problems = PLUGIN.check(QUIET)
    assert any("aria2c" in problem.message and problem.fatal and problem.hint for problem in problems)
    engine = build(tmp_path / "state")
    with pytest.raises(EngineUnavailable, match="aria2c"):
        await engine.start()
    health = await engine.health()
    assert not health.ok
    assert "aria2c" in health.message
    with pytest.raises(EngineUnavailable):
        await engine.statuses()
    await engine.stop()


async def test_what_is_there_is_noted_as_often_as_the_disk_can_bear(tmp_path: Path) -> None:
    """At each note of each download aria2 waits for the disk: 500 a second, and it would be killed as hung."""
    for most, seconds in ((5, 1), (500, 50)):
        state = tmp_path / str(most)
        engine = build(state / "state", replace(QUIET, max_concurrent=most))
        await engine.start()
        await engine.stop()
        assert f"auto-save-interval={seconds}" in (state / "state" / "aria2.conf").read_text().splitlines()


@pytest.mark.parametrize(
    "wrong",
    [
        replace(QUIET, listen_ports="1-99999"),
        replace(QUIET, listen_ports="6881\nenable-rpc=false"),
        replace(QUIET, connections_per_server=0),
        replace(QUIET, max_rate_down=BytesPerSecond(-1)),
        replace(QUIET, stall_timeout=Seconds(0)),
        replace(QUIET, ca_certificate="/no/such/file"),
        replace(QUIET, ca_certificate="/etc/hosts\ndir=/"),
    ],
)
def test_settings_that_cannot_work_are_found(wrong: object) -> None:
    assert len(PLUGIN.check(wrong)) == 1
    assert not PLUGIN.check(QUIET)


async def test_every_start_has_its_own_secret_and_port(bench: Bench) -> None:
    def conf() -> set[str]:
        lines = (bench.state_dir / "aria2.conf").read_text().splitlines()
        return {line for line in lines if line.startswith("rpc-secret=")}

    first = conf()
    assert len(first) == 1
    await bench.restart()
    assert not first & conf()
    assert (await bench.engine.health()).ok


async def test_a_hung_aria2c_is_unavailable_and_then_replaced(bench: Bench, origin: Origin) -> None:
    request = bench.request(origin.url("/x.bin"))
    handle = await bench.engine.add(request)
    await bench.bytes_came(request, 300_000)
    first = bench.pid
    os.kill(first, signal.SIGSTOP)
    assert not (await bench.engine.health()).ok

    async def answers() -> bool:
        try:
            return not await bench.engine.statuses()
        except EngineUnavailable:
            return False

    await until(answers, what="another aria2c")
    assert bench.pid != first
    origin.pages["/x.bin"].rate = None
    await bench.engine.recover(handle, request)
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY


async def test_an_aria2c_that_is_held_up_is_not_taken_for_a_hung_origin(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_SILENCE", Seconds(1))
    async with aria2(tmp_path, stall_timeout=3.0) as bench:
        request = bench.request(origin.url("/x.bin"))
        await bench.engine.add(request)
        await bench.bytes_came(request, 300_000)
        origin.pages["/x.bin"].rate = CHUNK / 5  # nothing more to read for five seconds
        os.kill(bench.pid, signal.SIGSTOP)
        asyncio.get_running_loop().call_later(4, os.kill, bench.pid, signal.SIGCONT)
        assert (await bench.status(request)).engine_state == "downloading"
        origin.pages["/x.bin"].rate = None
        assert (await bench.ended(request)).state is FillState.COMPLETE


async def test_nothing_starts_by_itself_after_a_kill(bench: Bench, origin: Origin) -> None:
    """What aria2c finds in its session waits: its origin may have changed, or nobody may want it any more."""
    request = bench.request(origin.url("/x.bin"))
    await bench.engine.add(request)
    await bench.bytes_came(request, 500_000)
    session = bench.state_dir / "aria2.session"
    await until(lambda: "/x.bin" in session.read_text(), what="the session to be saved")
    os.kill(bench.pid, signal.SIGKILL)
    await bench.restart()
    asked = len(origin.requests)
    rows, _ = await bench.engine._rpc.snapshot([])
    assert [row["status"] for row in rows.values()] == ["paused"]
    assert not await bench.engine.statuses()
    assert len(origin.requests) == asked


async def test_what_the_session_kept_is_taken_up_with_the_options_of_now(bench: Bench, origin: Origin) -> None:
    request = bench.request(origin.url("/x.bin"), options={"user-agent": "Before/1"})
    handle = await bench.engine.add(request)
    await bench.bytes_came(request, 500_000)
    session = bench.state_dir / "aria2.session"
    await until(lambda: "/x.bin" in session.read_text(), what="the session to be saved")
    os.kill(bench.pid, signal.SIGKILL)
    await bench.restart()
    before = len(origin.requests)
    origin.pages["/x.bin"].rate = None
    await bench.engine.recover(handle, replace(request, options={"user-agent": "After/2"}))
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY
    assert {seen.headers["user-agent"] for seen in origin.requests[before:]} == {"After/2"}


async def test_a_removed_replica_leaves_the_session(bench: Bench, origin: Origin) -> None:
    request = bench.request(origin.url("/x.bin").replace("//", "//user:hunter2@"))
    await bench.engine.add(request)
    await bench.bytes_came(request, 1)
    session = bench.state_dir / "aria2.session"
    await until(lambda: "/x.bin" in session.read_text(), what="the session to be saved")
    await bench.engine.remove(request.replica_id)
    await until(lambda: "hunter2" not in session.read_text(), what="the session to forget")


async def test_what_nobody_takes_up_is_dropped_in_time(bench: Bench, origin: Origin) -> None:
    request = bench.request(origin.url("/x.bin"))
    await bench.engine.add(request)
    await bench.bytes_came(request, 1)
    session = bench.state_dir / "aria2.session"
    await until(lambda: "/x.bin" in session.read_text(), what="the session to be saved")
    os.kill(bench.pid, signal.SIGKILL)
    await bench.restart()
    await bench.engine.statuses()
    swept, since = bench.engine._keeper._swept
    bench.engine._keeper._swept = (swept, type(since)(since - keeper.ABANDONED_AFTER))
    await bench.engine.statuses()
    rows, _ = await bench.engine._rpc.snapshot([])
    assert not rows


async def test_what_aria2_took_although_its_answer_came_too_late_goes_with_the_replica(
    bench: Bench, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it makes the directory anew when its origin answers, and nobody ever looks for it there."""
    took = Rpc.add_uri

    async def too_late(self: Rpc, uri: str, options: Mapping[str, object]) -> None:
        await took(self, uri, options)
        raise EngineUnavailable("aria2 did not answer within 10 s")

    monkeypatch.setattr(Rpc, "add_uri", too_late)
    request = bench.request(origin.url("/x.bin"))
    await bench.engine.add(request)
    await until(lambda: origin.pages["/x.bin"].sent > 0)
    await until(lambda: not bench.engine._keeper.fills)
    await bench.engine.remove(request.replica_id)
    rows, _ = await bench.engine._rpc.snapshot([])
    assert rows == {}


async def test_nothing_of_an_earlier_session_begins_by_itself(bench: Bench, origin: Origin) -> None:
    """Their origins may have changed, and their replicas may have been removed."""
    requests = [bench.request(origin.url(f"/x.bin?{n}")) for n in range(4)]
    for n, request in enumerate(requests):
        origin.page(f"/x.bin?{n}", BODY, etag='"1"', rate=100_000)
        await bench.engine.add(request)
    session = bench.state_dir / "aria2.session"
    await until(lambda: session.read_bytes().count(b" gid=") == len(requests))
    os.kill(bench.pid, signal.SIGKILL)
    await bench.restart()
    rows, _ = await bench.engine._rpc.snapshot([])
    assert {row["status"] for row in rows.values()} == {"paused"}
    assert len(rows) == len(requests)
