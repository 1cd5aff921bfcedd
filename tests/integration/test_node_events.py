"""What becomes of a node is on record, and its judgement of a full disk outlives the process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from oddaemon.domain.failure import ReasonCode
from oddaemon.domain.job import JobState
from oddaemon.domain.node import DiskUsage
from oddaemon.domain.types import Bytes, Seconds
from oddaemon.services import node_watch
from oddaemon.storage.local import LocalStorage
from tests.support.core import HERE, House, house
from tests.support.wait import until

URL = "http://sim.invalid/file.bin"
RESERVE, MARGIN = 1000, 500


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_watch, "SNAPSHOT_AGE", Seconds(0.05))


async def rows(home: House) -> Sequence[tuple[str, str | None]]:
    """Types and reasons of the stored events of nodes."""
    found = await home.store.read(lambda tx: tx.events.after(0, limit=100))
    return [(event.type, event.data.get("reason")) for event in found if event.node_id == HERE and not event.job_id]


async def test_a_node_comes_loses_its_disk_and_goes(tmp_path: Path) -> None:
    async with house(tmp_path) as home:

        async def recorded(*expected: tuple[str, str | None]) -> bool:
            return await rows(home) == list(expected)

        online = ("node.online", None)
        await until(lambda: recorded(online))
        base = home.storage.base
        base.rename(base.with_name("away"))
        missing = ("node.offline", "storage_missing")
        await until(lambda: recorded(online, missing))
        base.with_name("away").rename(base)
        await until(lambda: recorded(online, missing, online))

        async def left() -> bool:
            # what is on record is known to the reconciler a moment later
            await home.core.reconciler.leave()
            return await recorded(online, missing, online, ("node.offline", "stopped"))

        await until(left)


class Disk:
    """The free bytes that every storage tells."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 10_000
        monkeypatch.setattr(LocalStorage, "usage", lambda _: DiskUsage(total=Bytes(10_000), free=Bytes(self.free)))


async def test_a_restart_between_the_two_marks_does_not_start_what_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    async with house(tmp_path, min_disk_free=Bytes(RESERVE), resume_free=Bytes(MARGIN)) as home:
        disk.free = RESERVE - 1
        await until(lambda: any(event.type == "node.disk_low" for event in home.events))
        assert ("node.disk_low", None) in await rows(home)
        disk.free = RESERVE + MARGIN - 100
        await home.crash()
        await home.start()
        view = await home.add(URL, options={"size": "100"})

        async def waits() -> bool:
            shown = (await home.core.jobs.get(home.admin, str(view.job.number))).job
            return shown.reason is not None and shown.reason.code is ReasonCode.NO_SPACE

        await until(waits)
        disk.free = RESERVE + MARGIN
        await home.until_state(view, JobState.COMPLETED)
