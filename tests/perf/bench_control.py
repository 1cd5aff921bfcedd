"""The control API with 10,000 jobs in the store: adds a second, the first page, and the start of the daemon.

Run: python -m tests.perf.bench_control. To reach: 150 adds a second, each durable before it is answered; the first page
of 100, filtered and sorted, in 40 ms (query and encoding, inside the daemon's own process); 2 s from exec to the first
answer. Prints; asserts nothing.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from grpclib.client import Channel
from odproto.gen.opendebrid.control import v1 as pb

from oddaemon.domain.filter_text import parse_filter
from oddaemon.domain.filter_tree import settled
from oddaemon.domain.query import parse_sort
from oddaemon.ports.store import Query
from oddaemon.services.board import Board
from oddaemon.services.job_views import JobViews
from oddaemon.store.migrate import open_store
from oddaemon.wire.messages import job_message
from tests.support.daemons import Daemon

JOBS = 10_000
ADDS = 300
STARTS = 5
FILTERS = (
    "state=paused", "!tag=keep size<10G", "age>1s !engine=ytdlp", "1", "name~/[02468]$/", "id>9900 1",
    "!(linux | tag=tv) reason!=''", " | ".join(f"nothing{number}" for number in range(100)),
)  # fmt: skip


def item(number: int) -> pb.AddItem:
    return pb.AddItem(
        source=f"http://127.0.0.1:9/{number}.bin", engine="aria2", paused=True, name=f"Some name {number % 977}"
    )


async def fill(control: pb.ControlServiceStub) -> None:
    for start in range(0, JOBS, 200):
        items = [item(number) for number in range(start, start + 200)]
        await control.add_jobs(pb.AddJobsRequest(items=items), timeout=60)


async def adds(control: pb.ControlServiceStub) -> tuple[float, float]:
    """Adds a second: one after the other, and twenty at a time, through one connection."""
    began = time.perf_counter()
    for number in range(ADDS):
        await control.add_jobs(pb.AddJobsRequest(items=[item(JOBS + number)]), timeout=10)
    alone = ADDS / (time.perf_counter() - began)

    async def some(worker: int) -> None:
        for number in range(ADDS // 20):
            one = item(2 * JOBS + worker * ADDS + number)
            await control.add_jobs(pb.AddJobsRequest(items=[one]), timeout=10)

    began = time.perf_counter()
    await asyncio.gather(*(some(worker) for worker in range(20)))
    return alone, ADDS / (time.perf_counter() - began)


async def first_page(database: Path) -> float:
    """Milliseconds of the query, the views and the encoding of 100 rows, median of 30."""
    store = await open_store(database)
    views = JobViews(board=Board())
    query = Query(where=parse_filter("state=paused engine=aria2"), sort=parse_sort("name,!created"), limit=100)
    took: list[float] = []
    for _ in range(30):
        began = time.perf_counter()
        rows = await store.read(lambda tx: views.of(tx, tx.jobs.page(query).rows))
        bytes(pb.ListJobsResponse(jobs=[job_message(view) for view in rows], total=JOBS))
        took.append((time.perf_counter() - began) * 1000)
    await store.close()
    return statistics.median(took)


async def filtered(database: Path) -> None:
    """Milliseconds of the first 100 numbers for filters of every kind, median of 10."""
    store = await open_store(database)
    for text in FILTERS:
        query = Query(where=settled(parse_filter(text), now=datetime.now(UTC), me="root"), limit=100)
        took: list[float] = []
        for _ in range(10):
            began = time.perf_counter()
            page = await store.read(lambda tx, query=query: tx.jobs.page_numbers(query))  # type: ignore[misc]
            took.append((time.perf_counter() - began) * 1000)
        print(f"filter {text[:40]!r}: {page.total} jobs in {statistics.median(took):.1f} ms")
    await store.close()


async def start(daemon: Daemon) -> float:
    """Seconds from exec to the first answer of a waiting client."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "oddaemon"], env=daemon.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            channel = Channel(path=str(daemon.socket))
            try:
                await pb.ControlServiceStub(channel).get_status(pb.GetStatusRequest(), timeout=30)
                return time.perf_counter() - began
            except (OSError, Exception):
                await asyncio.sleep(0.02)
            finally:
                channel.close()
    finally:
        process.terminate()
        process.wait(20)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(Path(folder) / "od", {"LOGGING_LEVEL": "warn"})
        async with daemon:
            channel = Channel(path=str(daemon.socket))
            control = pb.ControlServiceStub(channel)
            await fill(control)
            alone, together = await adds(control)
            print(
                f"adds a second with {JOBS} jobs: {alone:.0f} in turn, {together:.0f} with 20 callers (to reach: 150)"
            )
            channel.close()
        page = await first_page(Path(folder) / "od" / "data" / "opendebrid.db")
        print(f"first page of 100 of {JOBS}, filtered and sorted, query and encoding: {page:.1f} ms (to reach: 40)")
        await filtered(Path(folder) / "od" / "data" / "opendebrid.db")
        took = [await start(daemon) for _ in range(STARTS)]
        print(f"exec to the first answer with {JOBS} jobs: {statistics.median(took):.2f} s (to reach: 2)")


if __name__ == "__main__":
    asyncio.run(main())
