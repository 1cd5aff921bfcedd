"""A control API with 10,000 jobs, of which the oldest hundred change four times a second once `go` is written to its
standard input: `python -m tests.perf.restless FOLDER`. Prints its socket."""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import replace
from pathlib import Path

from odproto.gen.opendebrid.control import v1 as pb

from oddaemon.domain.events import JobProgress
from oddaemon.domain.types import Bytes, BytesPerSecond
from tests.support.control import Desk, desk

JOBS, CHANGING, HERTZ = 10_000, 100, 4
SLOW = {"size": "100000000", "rate": "1000"}


async def fill(served: Desk) -> None:
    """Those that run come first: nothing is looked at before them."""
    async with served.client() as client:
        running = [
            pb.AddItem(source=f"http://sim.invalid/r{n}.bin", engine="simulated", options=SLOW, name=f"Running {n}")
            for n in range(CHANGING)
        ]
        await client.add_jobs(pb.AddJobsRequest(items=running), timeout=60)
        while len(served.home.core.board.statuses) < CHANGING:
            await asyncio.sleep(0.1)
        for start in range(0, JOBS - CHANGING, 200):
            items = [
                pb.AddItem(source=f"http://sim.invalid/{n}.bin", engine="simulated", paused=True, name=f"A name {n}")
                for n in range(start, min(start + 200, JOBS - CHANGING))
            ]
            await client.add_jobs(pb.AddJobsRequest(items=items), timeout=60)
        # what they are is found out: else the daemon is at work while the dashboard is measured
        while await served.home.store.read(lambda tx: tx.jobs.unresolved(served.parts.clock.now(), limit=1)):
            await asyncio.sleep(0.2)


async def change(served: Desk) -> None:
    """Other figures for each of those that run, and word of it."""
    home = served.home
    board, clock = home.core.board, served.parts.clock
    active = (await home.core.jobs.page(
        home.admin, filter="state=active", sort="", offset=0, limit=200, include_old=True
    )).rows  # fmt: skip
    replicas = {
        view.job.number: board.replica_of[view.job.entry_id] for view in active if view.job.entry_id is not None
    }
    done = 1000
    while True:
        await asyncio.sleep(1 / HERTZ)
        done += 1000
        for replica_id in replicas.values():
            status = board.statuses.get(replica_id)
            if status is not None:
                rate = BytesPerSecond(random.randrange(1_000_000))
                board.statuses[replica_id] = replace(status, done=Bytes(done), rate_down=rate)
        home.bus.publish([JobProgress(at=clock.now(), job_number=number) for number in replicas])


async def main(folder: Path) -> None:
    async with desk(folder) as served:
        limits = served.home.limits
        served.home.limits = replace(limits, per_node=CHANGING, per_user=CHANGING)
        await fill(served)
        print(served.path, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await change(served)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
