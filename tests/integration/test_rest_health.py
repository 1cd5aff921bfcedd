"""What those see who watch over the daemon: alive, ready or what is missing, and figures without names."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from oddaemon.domain.errors import StoreError
from oddaemon.domain.job import JobState
from oddaemon.domain.types import Bytes
from oddaemon.domain.user import Scope
from oddaemon.services import readiness
from tests.conftest import children
from tests.support.controller import Composed, composed
from tests.support.wait import until

DATABASES = ("sqlite", "postgresql")

URL = "http://sim.invalid/A-Secret-Title.bin"
SAMPLE = re.compile(r'^([a-z_]+)(?:\{((?:[a-z]+="[^"]*",?)+)\})? ([0-9.e+-]+)$')


async def asked(home: Composed, path: str, **headers: str) -> tuple[int, Any]:
    async with ClientSession() as session, session.get(home.controller.http_url + path, headers=headers) as response:
        if response.content_type != "application/json":
            assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            return response.status, await response.text()
        return response.status, await response.json()


async def figures(home: Composed) -> dict[str, float]:
    """Name with labels → value; every line is one that Prometheus can read."""
    _, text = await asked(home, "/metrics")
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.match(line)
            assert match, line
            found[line.rpartition(" ")[0]] = float(match[3])
    return found


async def ready(home: Composed) -> tuple[int, list[str]]:
    status, answer = await asked(home, "/readyz")
    missing = answer["error"]["details"]["missing"] if answer["error"] else []
    return status, [item["part"] for item in missing]


def file_processes() -> list[int]:
    return [pid for pid, command in children().items() if "compose_fileserver" in command]


async def until_ready(home: Composed, *missing: str) -> None:
    wanted = (503 if missing else 200, list(missing))

    async def look() -> bool:
        return await ready(home) == wanted

    await until(look, timeout=20, what=f"/readyz to say {wanted}")


async def test_it_is_alive_and_ready(tmp_path: Path) -> None:
    async with composed(tmp_path) as home:
        assert (await asked(home, "/healthz"))[0] == 200
        await until_ready(home)


async def test_a_full_disk_of_the_store_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    async with composed(tmp_path) as home:
        await until_ready(home)
        monkeypatch.setattr(readiness, "STORE_ROOM", Bytes(1 << 62))
        # a server's disk is not ours to look at
        await until_ready(home, *(["store"] if database == "sqlite" else []))


async def test_a_missing_disk_is_told_and_comes_back(tmp_path: Path) -> None:
    async with composed(tmp_path) as home:
        await until_ready(home)
        sentinel = home.storage.base / ".opendebrid"
        sentinel.rename(tmp_path / "away")
        await until_ready(home, "disk")
        assert (await asked(home, "/healthz"))[0] == 200
        (tmp_path / "away").rename(sentinel)
        await until_ready(home)


async def test_a_dead_file_process_is_told_until_it_is_back(tmp_path: Path) -> None:
    async with composed(tmp_path) as home:
        await until_ready(home)
        (pid,) = file_processes()
        os.kill(pid, signal.SIGKILL)
        seen = set()

        async def back() -> bool:
            status, missing = await ready(home)
            seen.update(missing)
            return status == 200 and file_processes() not in ([], [pid])

        await until(back, timeout=20, every=0.005, what="a new file process")
        assert seen == {"files"}


async def test_a_store_that_fails_and_an_engine_that_is_down_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with composed(tmp_path) as home:
        await until_ready(home)
        engine = home.agent.engines[next(iter(home.agent.engines))]
        await engine.stop()
        await until_ready(home, "engines")

        async def fails(work: object) -> None:
            raise StoreError("the disk is gone")

        monkeypatch.setattr(type(home.store), "read", fails)
        monkeypatch.setattr(home.store, "read", fails, raising=False)
        status, missing = await ready(home)
        assert (status, missing[0]) == (503, "store")
        found = await figures(home)
        assert found["opendebrid_store_up"] == 0
        assert found['opendebrid_engine_up{node="here",engine="simulated"}'] == 0
        assert 'opendebrid_jobs{state="queued"}' not in found
        monkeypatch.undo()


async def test_figures_are_there_and_tell_no_names(tmp_path: Path) -> None:
    async with composed(tmp_path) as home:
        maya = await home.user("maya-the-user")
        for _ in range(2):
            view = await home.add(URL, maya, options={"size": "5000", "rate": "20000"})
            await home.until_state(view, JobState.COMPLETED)
        await until_ready(home)

        async def settled() -> bool:
            return (await figures(home)).get("opendebrid_cache_hits_total") == 1

        await until(settled, what="the events to be counted")
        found = await figures(home)
        assert found['opendebrid_jobs{state="completed"}'] == 2
        assert found['opendebrid_jobs{state="queued"}'] == 0
        assert found["opendebrid_downloaded_bytes_total"] == 5000
        assert found["opendebrid_served_bytes_total"] == 0
        assert found["opendebrid_store_up"] == 1
        assert found['opendebrid_events_total{type="job.created"}'] == 2
        assert found["opendebrid_event_lag_seconds_count"] >= 4
        assert found['opendebrid_store_seconds_count{work="write"}'] > 0
        assert found['opendebrid_store_seconds_count{work="read"}'] > 0
        assert found['opendebrid_node_up{node="here"}'] == 1
        assert found['opendebrid_engine_up{node="here",engine="simulated"}'] == 1
        assert found['opendebrid_disk_free_bytes{node="here"}'] > 0
        assert found['opendebrid_http_requests_total{method="GET",route="/readyz",status="200"}'] >= 1
        text = (await asked(home, "/metrics"))[1]
        for name in ("maya", "admin", "Secret-Title", "sim.invalid", str(maya.user_id), str(view.job.id)):
            assert name not in text


async def test_bytes_served_are_counted(tmp_path: Path) -> None:
    async with composed(tmp_path) as home, ClientSession() as session:
        view = await home.add(URL, options={"size": "5000"})
        await home.until_state(view, JobState.COMPLETED)
        made = await home.controller.links.create(home.admin, str(view.job.number))
        async with session.get(made[0].url) as response:
            assert len(await response.read()) == 5000

        async def counted() -> bool:
            return (await figures(home))["opendebrid_served_bytes_total"] == 5000

        await until(counted, what="the bytes to be counted")


async def test_figures_can_be_kept_for_admins(tmp_path: Path) -> None:
    async with composed(tmp_path, server_metrics_public="false") as home:
        made = await home.controller.accounts.create_key(home.admin, "watch", frozenset({Scope.ADMIN}), None)
        lesser = await home.controller.accounts.create_key(home.admin, "look", frozenset({Scope.READ}), None)
        assert (await asked(home, "/metrics"))[0] == 401
        assert (await asked(home, "/metrics", Authorization=f"Bearer {lesser.secret}"))[0] == 403
        assert (await asked(home, "/metrics", Authorization=f"Bearer {made.secret}"))[0] == 200
        assert (await asked(home, "/healthz"))[0] == 200
