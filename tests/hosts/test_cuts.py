"""Cuts between a controller and three workers on hosts of their own, in the midst of real downloads.

`make test-hosts` takes the times that are long; `make test` shorter ones with a grace to match.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.support.fleet import fleet

LONG = os.environ.get("HOSTS") == "long"
CUT = 20.0 if LONG else 5.0
"""Longer than three heartbeats, shorter than the grace."""
GRACE = 60.0 if LONG else 25.0
SLOW = 250_000.0
"""Bytes a second from the origin: a download is under way while things happen to its node."""
SIZE = 4_000_000

pytestmark = pytest.mark.timeout(900 if LONG else 300)


async def test_cuts_shorter_than_the_grace_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    async with fleet(tmp_path, "attic", "cellar", "loft", grace=GRACE) as they:
        jobs = [await they.add(SIZE, "--node", name, rate=SLOW) for name in ("attic", "cellar", "loft") for _ in "ab"]
        await they.until_running(jobs)
        attic, cellar, loft = (member.host for member in they.workers.values())
        assert attic is not None
        assert cellar is not None
        assert loft is not None
        await attic.cut()
        await asyncio.sleep(1)
        await attic.mend()
        await cellar.cut()
        await loft.spoil()
        await they.until_node("cellar", "offline")
        # what runs there keeps its state, and says why nothing is heard of it
        states = [await they.controller.job(job.number) for job in jobs[2:4]]
        assert all(job["state"] in ("active", "completed") for job in states), states
        assert all("cellar is offline since" in job["reason"]["message"] for job in states if job["reason"]), states
        await asyncio.sleep(CUT)
        await cellar.mend()
        await they.until_node("cellar", "online")
        await attic.deafen()
        await asyncio.sleep(CUT / 2)
        await attic.mend()
        await attic.silence()
        await asyncio.sleep(CUT / 2)
        await attic.mend()
        await loft.mend()
        await they.settle()
        assert [await they.node_of(job) for job in jobs] == ["attic", "attic", "cellar", "cellar", "loft", "loft"]
        await they.check()


async def test_past_the_grace_a_download_moves_once_and_the_node_may_come_back(tmp_path: Path) -> None:
    async with fleet(tmp_path, "attic", "cellar", grace=3) as they:
        (await they.controller.odctl("nodes", "drain", "controller")).ok()
        (await they.controller.odctl("nodes", "drain", "cellar")).ok()
        jobs = [await they.add(SIZE, rate=SLOW) for _ in "abc"]
        await they.until_running(jobs, at_least=200_000)
        assert {await they.node_of(job) for job in jobs} == {"attic"}
        (await they.controller.odctl("nodes", "undrain", "cellar")).ok()
        attic = they.workers["attic-0"].host
        assert attic is not None
        await attic.cut()
        await they.until_node("attic", "offline")
        for job in jobs:
            await they.controller.until_state(job.number, "completed")
        assert {await they.node_of(job) for job in jobs} == {"cellar"}
        await attic.mend()
        await they.until_node("attic", "online")
        await they.settle()
        await they.check(fetched_twice=jobs)


async def test_workers_and_controller_are_killed_and_go_on_from_their_bytes(tmp_path: Path) -> None:
    async with fleet(tmp_path, "attic", "cellar", grace=GRACE) as they:
        jobs = [await they.add(SIZE, "--node", name, rate=SLOW) for name in ("attic", "cellar", "controller")]
        await they.until_running(jobs, at_least=200_000)
        attic, cellar = they.workers.values()
        await attic.kill()
        await they.until_node("attic", "offline")
        await attic.start()
        await they.until_node("attic", "online")
        await they.controller.kill()
        await cellar.kill()
        await cellar.start()
        await they.controller.start()
        for name in ("attic", "cellar"):
            await they.until_node(name, "online")
        # frozen: its connections stay, and nothing is heard
        os.kill(attic.pid, signal.SIGSTOP)
        await they.until_node("attic", "offline")
        os.kill(attic.pid, signal.SIGCONT)
        await they.until_node("attic", "online")
        await they.settle()
        await they.check()
