"""Every number that limits something: from the setting, in the environment or stored, to what a composed controller
does. Each row fails when its setting is ignored; a new limit without a row fails too."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from oddaemon.app.current_settings import limits_of
from oddaemon.app.load_settings import load
from oddaemon.domain.admission import Limits
from oddaemon.domain.errors import InvalidArgument, LimitExceeded, TooManyRequests
from oddaemon.domain.failure import FailureCode, ReasonCode
from oddaemon.domain.job import JobState
from oddaemon.domain.node import DiskUsage
from oddaemon.domain.types import Bytes, Seconds
from oddaemon.domain.user import Principal, Proof, UserLimits
from oddaemon.services import node_watch, reconciler
from oddaemon.services.views import JobView
from oddaemon.storage.local import LocalStorage
from tests.support.controller import Composed, composed
from tests.support.http import fetch
from tests.support.origin_server import Origin
from tests.support.wait import until

URL = "http://sim.invalid/file.bin"
SLOW = {"size": "1000000", "rate": "1000"}
SMALL = {"size": "5000"}
STALLED = {"size": "5000", "rate": "100000", "stall": "true", "fail-at": "20"}
DONE, QUEUED, ACTIVE, FAILED = JobState.COMPLETED, JobState.QUEUED, JobState.ACTIVE, JobState.FAILED

Row = Callable[[Path, pytest.MonkeyPatch], Awaitable[None]]
ROWS: dict[str, Row] = {}

NO_LIMITS = {
    "server.port": "a place, not a limit",
    "server.grpc_port": "a place, not a limit",
    "node.file_server_port": "a place, not a limit",
    "nodes.port": "a place, not a limit",
    "nodes.heartbeat_every": "how often nodes tell: tests/unit/services/test_node_watch.py",
    "nodes.grace": "how long a node is waited for: tests/faults/test_many_nodes.py, tests/hosts/test_cuts.py",
    "node.serve_unheard": "of nodes that cannot hear: tests/integration/test_files_on_nodes.py",
    "transport.grpc.keepalive": "how soon a silent line is given up: tests/faults/test_node_transport.py",
    "node.file_server_processes": "a number of processes: tests/integration/test_file_server.py",
    "database.max_connections": "PostgreSQL only: tests/faults/test_database_gone.py",
    "auth.jwt_expiry": "no limit of what anybody does: tests/integration/test_account_settings.py",
}


def row(key: str) -> Callable[[Row], Row]:
    def keep(work: Row) -> Row:
        assert key not in ROWS
        ROWS[key] = work
        return work

    return keep


def limiting_keys() -> set[str]:
    keys = load(environ={"OD_ENGINES_SIMULATED_ENABLED": "true"}).keys.values()
    numbers = {key.path for key in keys if key.kind in {"int", "number", "size", "duration"}}
    return numbers | {key.path for key in keys if key.path.startswith("limits.")}


def test_every_limit_has_a_row() -> None:
    assert limiting_keys() - set(NO_LIMITS) == set(ROWS)


@pytest.mark.parametrize("key", sorted(limiting_keys() - set(NO_LIMITS)))
async def test_a_limit_is_heeded(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await ROWS[key](tmp_path, monkeypatch)


def test_each_limit_of_the_environment_reaches_the_services() -> None:
    names = {"per_user": "per_user_concurrent", "per_node": "per_node_concurrent"}
    # yes or no, and what is no setting
    apart = {"queue_paused", "lru_enabled", "retry_wait_max", "storage_split"}
    numbers = {name: 1000 + n for n, name in enumerate(Limits.__dataclass_fields__) if name not in apart}
    given = {f"OD_LIMITS_{names.get(name, name).upper()}": str(number) for name, number in numbers.items()}
    given |= {"OD_LIMITS_RETRIES": "77", "OD_LIMITS_LRU_ENABLED": "true", "OD_SCHEDULER_PAUSED": "true"}
    given |= {"OD_LIMITS_STORAGE_SHARED": "split"}
    limits = limits_of(load(environ=given).settings)
    expected = {**numbers, "retries": 77, "lru_enabled": True, "queue_paused": True, "storage_split": True}
    assert {name: getattr(limits, name) for name in expected} == expected


# ── what rows ask ────────────────────────────────────────────────────────────────────────────────────────────────


async def waits(home: Composed, view: JobView, code: ReasonCode) -> None:
    """Until the job says that it waits for this reason."""

    def told() -> bool:
        reason = home.core.board.reasons.get(view.job.id)
        return reason is not None and reason.code is code

    await until(told, what=f"job {view.job.number} to wait for {code}")
    job = await home.job(view)
    assert job is not None
    assert job.state is QUEUED


async def second_waits(
    home: Composed, code: ReasonCode, *, who: Principal | None = None, other: bool = False
) -> None:
    """Of two downloads one runs and the other says what it waits for."""
    first = await home.add(f"{URL}1", who, options=SLOW)
    await home.until_state(first, ACTIVE)
    who = await home.user("maya") if other else who
    await waits(home, await home.add(f"{URL}2", who, options=SLOW), code)


async def unclaimed(home: Composed) -> None:
    """A finished entry that nobody claims."""
    view = await home.add(URL, options=SMALL)
    await home.until_state(view, DONE)
    await home.core.downloads.remove(home.admin, view.job.id, keep_data=True)


# ── the services' limits, stored ─────────────────────────────────────────────────────────────────────────────────


@row("limits.per_user_concurrent")
async def _per_user(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder) as home:
        await home.set(limits__per_user_concurrent="1")
        await second_waits(home, ReasonCode.USER_LIMIT)
        await second_waits(home, ReasonCode.USER_LIMIT, who=await home.user("noor"))
        maya = await home.user("maya")
        await home.allow(maya, UserLimits(running=2))
        for n in (1, 2):
            await home.until_state(await home.add(f"{URL}-{n}", maya, options=SLOW), ACTIVE)
        await waits(home, await home.add(f"{URL}-3", maya, options=SLOW), ReasonCode.USER_LIMIT)


@row("limits.per_node_concurrent")
async def _per_node(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder) as home:
        await home.set(limits__per_node_concurrent="1")
        await second_waits(home, ReasonCode.NODE_LIMIT, other=True)


@row("limits.jobs_per_user")
async def _jobs_per_user(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder) as home:
        await home.set(limits__jobs_per_user="1")
        maya, noor = await home.user("maya"), await home.user("noor")
        for who in (home.admin, maya):
            await home.add(f"{URL}1", who, options=SLOW)
            with pytest.raises(LimitExceeded):
                await home.add(f"{URL}2", who, options=SLOW)
        await home.allow(noor, UserLimits(jobs=2))
        for n in (1, 2):
            await home.add(f"{URL}{n}", noor, options=SLOW)
        with pytest.raises(LimitExceeded):
            await home.add(f"{URL}3", noor, options=SLOW)


@row("limits.max_download_size")
async def _max_download_size(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder) as home:
        await home.set(limits__max_download_size="5000")
        await home.until_state(await home.add(f"{URL}1", options={"size": "5000"}), DONE)
        # one that is there at once, one whose size is seen while it runs, one whose size is never told
        growing = {"size": "50000", "rate": "10000", "no-length": "true"}
        for n, options in enumerate(({"size": "5001"}, {"size": "5001", "rate": "1000"}, growing)):
            job = await home.until_state(await home.add(f"{URL}-{n}", options=options), DONE, FAILED)
            assert job.error is not None, options
            assert job.error.code is FailureCode.TOO_LARGE


@row("limits.storage_per_user")
async def _storage_per_user(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with Origin() as origin, composed(folder, engines_aria2_enabled="true") as home:
        maya, noor = await home.user("maya"), await home.user("noor")
        origin.page("/a.bin", b"x" * 5001, etag='"1"')
        await home.until_state(await home.add(origin.url("/a.bin"), noor, engine="aria2"), DONE, timeout=30)
        await home.set(limits__storage_per_user="5000")
        # what is known to be too much is refused, what turns out to be waits
        with pytest.raises(LimitExceeded):
            await home.add(origin.url("/a.bin"), maya, engine="aria2")
        await home.until_state(await home.add(f"{URL}1", maya, options={"size": "4000"}), DONE)
        view = await home.add(f"{URL}2", maya, options={"size": "3000", "rate": "1000"})
        await waits(home, view, ReasonCode.STORAGE_LIMIT)
        await home.allow(maya, UserLimits(storage=Bytes(9001)))
        assert (await home.until_state(view, DONE)).size == 3000
        await home.set(limits__storage_per_user="0")
        await home.allow(maya, UserLimits())
        await home.add(origin.url("/a.bin"), maya, engine="aria2")


@row("limits.storage_shared")
async def _storage_shared(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder, limits_storage_per_user="5000") as home:
        maya, noor = await home.user("maya"), await home.user("noor")
        await home.until_state(await home.add(f"{URL}1", maya, options={"size": "4000"}), DONE)
        await home.until_state(await home.add(f"{URL}1", noor, options={"size": "4000"}), DONE)
        view = await home.add(f"{URL}2", maya, options={"size": "3000", "rate": "1000"})
        await waits(home, view, ReasonCode.STORAGE_LIMIT)
        await home.set(limits__storage_shared="split")
        await home.until_state(view, DONE)


@row("limits.min_disk_free")
async def _min_disk_free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk(monkeypatch, lambda: 50_000)
    async with composed(folder, limits_min_disk_free="") as home:
        await home.set(limits__min_disk_free="50001")
        view = await home.add(URL, options=SMALL)
        await waits(home, view, ReasonCode.NO_SPACE)
        await home.set(limits__min_disk_free="10000", limits__resume_free="1")
        await home.until_state(view, DONE)


@row("limits.resume_free")
async def _resume_free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free, asked = [1_000_000_000], [0]

    def measured() -> int:
        asked[0] += 1
        return free[0]

    disk(monkeypatch, measured)
    monkeypatch.setattr(node_watch, "SNAPSHOT_AGE", Seconds(0.05))
    monkeypatch.setattr(reconciler, "FULL_PASS", Seconds(0.1))
    async with composed(folder, limits_min_disk_free="1000000") as home:
        await home.set(limits__resume_free="5000000")
        view = await home.add(URL, options=SLOW)
        await home.until_state(view, ACTIVE)
        free[0] = 900_000
        await home.until_job(lambda job: job.hold == "disk", view)
        for between in (1_500_000, 5_900_000):
            free[0], before = between, asked[0]
            home.core.reconciler.wake()
            # whoever asks a third time has dealt with the first answer
            await until(lambda before=before: asked[0] >= before + 3)  # type: ignore[misc]
            job = await home.job(view)
            assert job is not None
            assert job.hold == "disk", between
        free[0] = 6_100_000
        await home.until_state(view, ACTIVE)


def disk(monkeypatch: pytest.MonkeyPatch, free: Callable[[], int]) -> None:
    """The disk of the downloads has so much room, whatever is written."""
    monkeypatch.setattr(LocalStorage, "usage", lambda _: DiskUsage(total=Bytes(1 << 40), free=Bytes(free())))


@row("limits.link_expiry")
async def _link_expiry(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder) as home:
        view = await home.add(URL, options=SMALL)
        await home.until_state(view, DONE)
        await home.set(limits__link_expiry="100s")
        (link,) = await home.controller.links.create(home.admin, str(view.job.number))
        assert link.link.expires_at - link.link.created_at == timedelta(seconds=100)


@row("limits.link_expiry_max")
async def _link_expiry_max(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder) as home:
        view = await home.add(URL, options=SMALL)
        await home.until_state(view, DONE)
        await home.set(limits__link_expiry_max="100s")
        links = home.controller.links
        with pytest.raises(InvalidArgument, match=r"from 1 second to 1\.67 min"):
            await links.create(home.admin, str(view.job.number), ttl=Seconds(101))
        made = [*await links.create(home.admin, str(view.job.number), ttl=Seconds(100))]
        made += await links.create(home.admin, str(view.job.number))  # limits.link_expiry is an hour
        assert {one.link.expires_at - one.link.created_at for one in made} == {timedelta(seconds=100)}


@row("limits.served_per_day")
async def _served_per_day(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder) as home:
        maya, noor = await home.user("maya"), await home.user("noor")
        urls = {}
        for who in (maya, noor):
            view = await home.add(URL, who, options=SMALL)
            await home.until_state(view, DONE)
            urls[who.username] = [
                link.url for _ in range(2) for link in await home.controller.links.create(who, str(view.job.number))
            ]
        await home.set(limits__served_per_day="9000")
        for url in urls["maya"]:
            assert (await fetch(url)).status == 200

        async def answers(url: str, status: int) -> None:
            await until(lambda: _is_answered(url, status), what=f"{status}")

        for url in urls["maya"]:
            await answers(url, 429)
        assert (await fetch(urls["noor"][0])).status == 200
        # more than was given until the count was heard of
        await home.allow(maya, UserLimits(served_per_day=Bytes(1 << 40)))
        await answers(urls["maya"][0], 200)
        await home.allow(maya, UserLimits(served_per_day=Bytes(1)))
        await answers(urls["maya"][0], 429)
    # counted for good
    async with composed(folder) as home:
        view = await home.add(URL, maya, options=SMALL)
        await home.until_state(view, DONE)
        (link,) = await home.controller.links.create(maya, str(view.job.number))
        assert (await fetch(link.url)).status == 429
        await home.allow(maya, UserLimits())
        await home.set(limits__served_per_day="0")
        await until(lambda: _is_answered(link.url, 200))


async def _is_answered(url: str, status: int) -> bool:
    return (await fetch(url)).status == status


@row("limits.requests_per_minute")
async def _requests_per_minute(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder) as home:
        maya, odd = replace(await home.user("maya"), proof=Proof.API_KEY), await home.user("odd")
        for _n in range(10):
            home.controller.limiter.admit(maya)
        await home.set(limits__requests_per_minute="2")
        for _n in range(2):
            home.controller.limiter.admit(maya)
        with pytest.raises(TooManyRequests):
            home.controller.limiter.admit(maya)
        home.controller.limiter.admit(replace(odd, proof=Proof.API_KEY))
        await home.allow(maya, UserLimits(requests_per_minute=3))
        home.controller.limiter.admit(maya)
        with pytest.raises(TooManyRequests):
            home.controller.limiter.admit(maya)


@row("limits.retries")
async def _retries(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder) as home:
        await home.set(limits__retries="2")
        broken = SMALL | {"fail-at": "0", "fail-code": "ORIGIN_BUSY", "fail-retry": "passing"}
        twice = await home.add(f"{URL}1", options=broken | {"fail-times": "2"})
        often = await home.add(f"{URL}2", options=broken | {"fail-times": "4"})
        await home.until_state(twice, DONE)
        await home.until_state(often, FAILED)


@row("limits.retry_wait")
async def _retry_wait(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder, limits_retry_wait="300s") as home:
        broken = SMALL | {"fail-at": "0", "fail-code": "ORIGIN_BUSY", "fail-retry": "passing"}
        began = home.controller.clock.now()
        view = await home.add(URL, options=broken)

        async def told() -> bool:
            due = [replica.next_try_at for replica in await home.replicas() if replica.next_try_at is not None]
            assert all(at - began > timedelta(seconds=140) for at in due)
            return bool(due)

        await until(told)
        job = await home.job(view)
        assert job is not None
        assert job.state is QUEUED


@row("limits.no_progress_timeout")
async def _no_progress_timeout(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder) as home:
        await home.set(limits__no_progress_timeout="500ms")
        job = await home.until_state(await home.add(URL, options=STALLED), FAILED)
        assert job.error is not None
        assert job.error.code is FailureCode.NO_PROGRESS


@row("limits.stall_yield")
async def _stall_yield(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder, limits_per_node_concurrent="1") as home:
        await home.set(limits__stall_yield="500ms")
        await home.until_state(await home.add(f"{URL}1", options=STALLED), ACTIVE)
        await home.until_state(await home.add(f"{URL}2", options=SMALL), DONE)


@row("limits.lru_enabled")
async def _lru_enabled(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder) as home:
        await home.set(limits__lru_max_age="1ms")
        await unclaimed(home)
        assert await home.controller.cleanup.once() == 0
        await home.set(limits__lru_enabled="true")
        assert await home.controller.cleanup.once() == 5000


@row("limits.lru_max_age")
async def _lru_max_age(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder) as home:
        await home.set(limits__lru_enabled="true", limits__lru_max_age="1h")
        await unclaimed(home)
        assert await home.controller.cleanup.once() == 0
        await home.set(limits__lru_max_age="1ms")
        assert await home.controller.cleanup.once() == 5000


@row("limits.lru_until_free")
async def _lru_until_free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk(monkeypatch, lambda: 50_000)
    async with composed(folder) as home:
        await home.set(limits__lru_enabled="true", limits__lru_until_free="50000")
        await unclaimed(home)
        assert await home.controller.cleanup.once() == 0
        await home.set(limits__lru_until_free="50001")
        assert await home.controller.cleanup.once() == 5000


@row("events.keep")
async def _events_keep(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder) as home:
        await home.until_state(await home.add(URL, options=SMALL), DONE)
        assert await events(home) > 0
    async with composed(folder) as home:  # events are trimmed at the start and then every hour
        await home.until_state(await home.add(f"{URL}2", options=SMALL), DONE)
        assert await events(home) > 3
    async with composed(folder, events_keep="1ms") as home:

        async def trimmed() -> bool:
            found = await home.store.read(lambda tx: tx.events.after(0, limit=100))
            return not any(event.type.startswith("job.") for event in found)

        await until(trimmed)


async def events(home: Composed) -> int:
    return len(await home.store.read(lambda tx: tx.events.after(0, limit=100)))


# ── the engines' limits, from the environment ────────────────────────────────────────────────────────────────────


@row("engines.simulated.max_concurrent")
async def _simulated_max_concurrent(folder: Path, _: pytest.MonkeyPatch) -> None:
    async with composed(folder, engines_simulated_max_concurrent="1") as home:
        await second_waits(home, ReasonCode.ENGINE_LIMIT)


async def second_of_engine_waits(folder: Path, engine: str, path: str, content_type: str) -> None:
    on = {f"engines_{engine}_enabled": "true", f"engines_{engine}_max_concurrent": "1"}
    async with Origin() as origin, composed(folder, **on) as home:
        origin.page(path, b"x" * 2_000_000, etag='"1"', rate=20_000, content_type=content_type)
        first = await home.add(origin.url(f"{path}?1"), engine=engine)
        await home.until_state(first, ACTIVE)
        await waits(home, await home.add(origin.url(f"{path}?2"), engine=engine), ReasonCode.ENGINE_LIMIT)


@row("engines.aria2.max_concurrent")
async def _aria2_max_concurrent(folder: Path, _: pytest.MonkeyPatch) -> None:
    await second_of_engine_waits(folder, "aria2", "/a.bin", "application/octet-stream")


@row("engines.ytdlp.max_concurrent")
async def _ytdlp_max_concurrent(folder: Path, _: pytest.MonkeyPatch) -> None:
    await second_of_engine_waits(folder, "ytdlp", "/a.mp4", "video/mp4")


@row("engines.aria2.max_rate_down")
async def _aria2_max_rate_down(folder: Path, _: pytest.MonkeyPatch) -> None:
    on = {"engines_aria2_enabled": "true", "engines_aria2_max_rate_down": "200kB"}
    async with Origin() as origin, composed(folder, **on) as home:
        origin.page("/a.bin", b"x" * 1_000_000, etag='"1"')
        began = time.monotonic()
        await home.until_state(await home.add(origin.url("/a.bin"), engine="aria2"), DONE)
        assert time.monotonic() - began > 2.5


@row("engines.aria2.max_rate_up")
async def _aria2_max_rate_up(folder: Path, _: pytest.MonkeyPatch) -> None:
    # what it does with it is aria2's: --max-overall-upload-limit
    async with composed(folder, engines_aria2_enabled="true", engines_aria2_max_rate_up="300kB") as home:
        conf = home.controller.node.parts["aria2"].state_dir / "aria2.conf"
        assert f"max-overall-upload-limit={300 * 1024}" in conf.read_text().splitlines()


@row("engines.aria2.connections_per_server")
async def _aria2_connections(folder: Path, _: pytest.MonkeyPatch) -> None:
    on = {"engines_aria2_enabled": "true", "engines_aria2_connections_per_server": "3"}
    async with Origin() as origin, composed(folder, **on) as home:
        page = origin.page("/a.bin", b"x" * 40_000_000, etag='"1"', rate=100_000)
        await home.add(origin.url("/a.bin"), engine="aria2")
        await until(lambda: page.gets >= 3)
        await until(lambda: page.sent > 300_000)  # a fourth would have come by now
        assert page.gets == 3


@row("engines.aria2.stall_timeout")
async def _aria2_stall_timeout(folder: Path, _: pytest.MonkeyPatch) -> None:
    on = {"engines_aria2_enabled": "true", "engines_aria2_stall_timeout": "2s"}
    async with Origin() as origin, composed(folder, **on) as home:
        page = origin.page("/a.bin", b"x" * 200_000, etag='"1"', hang="body", hang_at=50_000)
        view = await home.add(origin.url("/a.bin"), engine="aria2")
        # without it the connection would be left hanging for half a minute
        await until(lambda: page.sent > 0)
        began = time.monotonic()
        await until(lambda: page.gets >= 2, timeout=25)
        assert time.monotonic() - began < 25
        page.hang = ""
        await home.until_state(view, DONE)
