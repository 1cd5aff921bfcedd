"""The services over a PostgreSQL server that goes away and comes back. (Their own suites run on both databases.)"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from oddaemon.domain.errors import StoreUnavailable
from oddaemon.domain.job import JobState
from tests.support import core
from tests.support.core import house
from tests.support.proxy import Proxy, proxy_to
from tests.support.wait import until

MISSED = ("store.retry", "reconcile_failed", "resolve_failed")
"""What the log says where the database was wanted and not there."""


@pytest.fixture
def proxy(postgres: str) -> Iterator[Proxy]:
    with proxy_to(postgres) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _every_house_is_on_the_server(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "store_location", lambda _: proxy.url)


async def test_downloads_go_on_while_the_database_is_away(tmp_path: Path, proxy: Proxy) -> None:
    """Calls fail clearly, the engine downloads on, and when the database is back everything is caught up with: what ran
    is complete, what waited starts, and nothing has to be started anew."""
    async with house(tmp_path, per_user=2) as home:
        running = [
            await home.add(f"http://sim.invalid/{name}", options={"size": "40000", "rate": "20000"}) for name in "ab"
        ]

        def sizes() -> list[int]:
            found = [path.stat().st_size for path in (home.folder / "downloads").glob("*/**/*") if path.is_file()]
            return [size for size in found if size]

        # active is what the store says before the engine is told
        await until(lambda: len(sizes()) == 2, what="both to begin")
        waiting = await home.add("http://sim.invalid/c", options={"size": "1000"})
        await asyncio.to_thread(proxy.refuse)
        with pytest.raises(StoreUnavailable):
            await home.add("http://sim.invalid/d")
        with pytest.raises(StoreUnavailable):
            await home.core.downloads.remove(home.admin, waiting.job.id, keep_data=False)

        # both are whole although nobody could be told
        await until(lambda: sum(sizes()) >= 80_000, what="the downloads to go on")
        assert home._task is not None
        assert not home._task.done()
        await asyncio.to_thread(proxy.serve)
        for view in (*running, waiting):
            job = await home.until_state(view, JobState.COMPLETED)
            assert job.attempts == 0
        assert len(await home.replicas()) == 3


async def test_a_database_that_comes_and_goes_costs_no_job(
    tmp_path: Path, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Each time it is away until somebody has missed it, and there until something was stored."""
    caplog.set_level(logging.INFO, "oddaemon")

    def missed() -> int:
        return sum(getattr(record, "action", "") in MISSED for record in caplog.records)

    async with house(tmp_path, per_user=3) as home:
        views = [
            await home.add(f"http://sim.invalid/{number}", options={"size": "9000", "rate": "30000"})
            for number in range(8)
        ]
        for _ in range(6):
            before = missed()
            await asyncio.to_thread(proxy.refuse)
            await until(lambda before=before: missed() > before, what="it to be missed")  # type: ignore[misc]
            before = proxy.commits
            await asyncio.to_thread(proxy.serve)
            await until(lambda before=before: proxy.commits > before, what="a commit")  # type: ignore[misc]
        for view in views:
            job = await home.until_state(view, JobState.COMPLETED, JobState.FAILED)
            assert job.state is JobState.COMPLETED, job.error
        assert len(home.directories()) == 8
