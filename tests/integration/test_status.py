"""What the whole says of itself: jobs by state, damaged rows, a full disk's figures of now."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import sqlalchemy as sa

from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.job import Hold, JobState
from oddaemon.domain.node import DiskUsage
from oddaemon.domain.types import Bytes, Seconds
from oddaemon.services import node_watch, reconciler
from oddaemon.services.status import StatusService
from oddaemon.storage.local import LocalStorage
from tests.support.core import House, house
from tests.support.wait import until

URL = "http://sim.invalid/file.bin"
SLOW = {"size": "1000000", "rate": "1000"}


def status_of(home: House) -> StatusService:
    clock = SystemClock()
    return StatusService(
        store=home.store, clock=clock, board=home.core.board, reconciler=home.core.reconciler,
        node=lambda _: home.agent, limits=lambda: home.limits, option_specs=dict, version="1", started_at=clock.now(),
    )  # fmt: skip


async def test_paused_jobs_are_counted_apart(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=1) as home:
        first = await home.add(URL, options=SLOW)
        await home.until_state(first, JobState.ACTIVE)
        views = [await home.add(f"{URL}{n}", options=SLOW) for n in range(3)]
        await home.core.downloads.pause(home.admin, views[1].job.id)
        jobs = (await status_of(home).status(home.admin)).jobs
        assert (jobs["active"], jobs["queued"], jobs["paused"], jobs["total"]) == (1, 2, 1, 4)
        stranger = (await status_of(home).status(await home.user("maya"))).jobs
        assert (stranger["paused"], stranger["total"]) == (0, 0)


async def test_damaged_rows_are_told(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        view = await home.add(URL, options=SLOW)
        await home.until_state(view, JobState.ACTIVE)
        assert "damaged_rows" not in {found.code for found in (await status_of(home).status(home.admin)).notices}
        damage = sa.text("UPDATE jobs SET created_at = 'never'")
        await home.store.write(lambda tx: tx.scope.connection.execute(damage))  # type: ignore[attr-defined]

        async def told() -> bool:
            await home.store.read(lambda tx: tx.jobs.get(view.job.id))
            return "damaged_rows" in {found.code for found in (await status_of(home).status(home.admin)).notices}

        await until(told)


async def test_a_full_disk_is_told_with_the_figures_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_watch, "SNAPSHOT_AGE", Seconds(0.05))
    monkeypatch.setattr(reconciler, "FULL_PASS", Seconds(0.1))
    free = 10_000_000
    monkeypatch.setattr(LocalStorage, "usage", lambda _: DiskUsage(total=Bytes(10_000_000), free=Bytes(free)))
    async with house(tmp_path, min_disk_free=Bytes(1 << 20)) as home:
        view = await home.add(URL, options=SLOW)
        await home.until_state(view, JobState.ACTIVE)

        async def says(text: str) -> bool:
            job = (await home.core.jobs.get(home.admin, str(view.job.number))).job
            return job.hold is Hold.DISK and job.reason is not None and text in job.reason.message

        free = 100 << 10
        await until(lambda: says("100.0 KiB free"))
        free = 200 << 10
        await until(lambda: says("200.0 KiB free"))


async def test_a_deletion_that_waits_for_the_disk_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reconciler, "TICK", Seconds(0.02))
    async with house(tmp_path) as home:
        view = await home.add(URL, options={"size": "5000"})
        await home.until_state(view, JobState.COMPLETED)
        base, tries = home.storage.base, 0
        base.rename(base.with_name("away"))
        delete = home.storage.delete

        def counted(*arguments: object) -> object:
            nonlocal tries
            tries += 1
            return delete(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(home.storage, "delete", counted)
        with caplog.at_level(logging.WARNING):
            await home.core.downloads.remove(home.admin, view.job.id, keep_data=False)
            await until(lambda: tries > 3)
        assert [record.message for record in caplog.records].count("not deleted yet, and tried again") == 1
        base.with_name("away").rename(base)
        await until(lambda: home.directories() == [])
