"""Seeding on a real daemon: it outlives restarts, and ends when it is done or the user says so."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from tests.support import torrents
from tests.support.daemons import Daemon
from tests.support.processes import running
from tests.support.swarm import Seeder, Tracker
from tests.support.torrents import Torrent
from tests.support.wait import until

pytestmark = pytest.mark.real("aria2c")


async def until_seeding(daemon: Daemon, number: int, wanted: bool) -> None:
    async def look() -> bool:
        return ((await daemon.job(number))["engine_state"] == "seeding") is wanted

    await until(look, what=f"seeding to be {wanted}")


async def announced(tracker: Tracker, torrent: Torrent) -> None:
    tracker.peers.clear()  # of those that were killed
    await until(lambda: tracker.seeders(torrent), what="the daemon to announce itself")


async def test_seeding_outlives_restarts_and_ends_when_it_is_done_or_the_user_says_so(tmp_path: Path) -> None:
    async with Tracker() as tracker, Daemon(tmp_path / "od") as daemon:
        torrent, short = (
            torrents.single(f"{seed}.mkv", random.Random(seed).randbytes(200_000), tracker=tracker.url)
            for seed in (1, 2)
        )
        async with Seeder(torrent, tmp_path / "seed"), Seeder(short, tmp_path / "short"):
            number = await daemon.add(torrent.magnet_with(tracker.url), "-O", "seed-ratio=50")
            brief = await daemon.add(short.magnet_with(tracker.url), "-O", "seed-time=2s")
            await daemon.until_state(number, "completed")
            await daemon.until_state(brief, "completed")

        async def done() -> bool:
            job = await daemon.job(brief)
            return job["engine_state"] is None and job["options"] == {}

        await until(done, what="the wish to be fulfilled")
        await daemon.stop()
        await daemon.start()
        await announced(tracker, torrent)
        assert daemon.process is not None
        (child,) = running(daemon.process.pid, "aria2c")
        os.kill(child, signal.SIGKILL)
        await announced(tracker, torrent)
        assert not tracker.seeders(short), "what is done is not begun again"
        await until_seeding(daemon, number, True)
        again = await daemon.add(torrent.magnet)
        assert (await daemon.job(again))["cache_hit"], "what is seeded can be had like anything that is ready"
        (await daemon.odctl("set", str(number), "seed_ratio=20", "rate_up=1M")).ok()
        await announced(tracker, torrent)
        await until_seeding(daemon, number, True)
        assert "cancel" in (await daemon.odctl("pause", str(number))).err
        (await daemon.odctl("cancel", str(number))).ok()
        await until_seeding(daemon, number, False)
        job = await daemon.job(number)
        assert (job["state"], job["options"]) == ("completed", {})
