"""The REST API: a page of downloads, and adds of what is there.

Run: python -m tests.perf.bench_rest. To reach: `GET /api/v1/downloads` (100 of 10,000 jobs) in at most 1.5 times what
the same query and encoding take without HTTP; 300 adds a second at 16 connections, cache hits, on SQLite and on
PostgreSQL. The page is measured in one process with its yardstick, in turns. The adds come from this process to a
daemon in another, over sockets that stay open. Prints; asserts nothing.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter

from oddaemon.api.rest.envelope import success
from oddaemon.api.rest.jobs import Download, download
from oddaemon.api.rest.models import Meta
from tests.perf.bench_running import cpu
from tests.perf.rest_client import Caller, Door, door_of
from tests.support.daemons import Daemon
from tests.support.origin_server import Origin
from tests.support.postgres import running_server
from tests.support.rest_house import RestHouse, rest_house

JOBS = 10_000
PAGES = 60
CONNECTIONS = 16
ADDS = 3000
CONTENTS = 20
LIST = "/downloads?per_page=100&sort=name"


class OnServer(Daemon):
    """With its store in PostgreSQL when there is a `url`."""

    url = ""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | ({"DATABASE_URL": self.url} if self.url else {})


async def page(folder: Path) -> None:
    async with rest_house(folder) as home:
        items = [{"source": f"http://127.0.0.1:9/{n}.bin", "engine": "simulated", "paused": True} for n in range(JOBS)]
        for start in range(0, JOBS, 200):
            await home.admin.data("POST", "/bulk/add", json={"items": items[start : start + 200]})
        where = home.url.removeprefix("http://").split(":")
        door = Door(where[0], int(where[1]), home.admin.key)
        bare, http = [], []
        async with Caller(door) as caller:
            for _ in range(PAGES):
                bare.append(await _bare(home))
                began = time.perf_counter()
                status, _ = await caller.send(door.request("GET", LIST))
                http.append(time.perf_counter() - began)
                assert status == 200
        with_http, without = statistics.median(http) * 1000, statistics.median(bare) * 1000
        print(
            f"page of 100 of {JOBS}: {with_http:.1f} ms over HTTP, {without:.1f} ms query and encoding, "
            f"ratio {with_http / without:.2f} (to reach: 1.5)",
            flush=True,
        )


_rows: TypeAdapter[list[Download]] = TypeAdapter(list[Download])


async def _bare(home: RestHouse) -> float:
    jobs = home.home.controller.core.jobs
    began = time.perf_counter()
    found = await jobs.page(home.home.admin, filter="", sort="name", offset=0, limit=100, include_old=False)
    meta = Meta(page=1, per_page=100, total=found.total).model_dump_json().encode()
    success(_rows.dump_json([download(view) for view in found.rows]), meta)
    return time.perf_counter() - began


async def adds(folder: Path, name: str, url: str) -> None:
    daemon = OnServer(folder, {"LOGGING_LEVEL": "warn"})
    daemon.url = url
    async with Origin() as origin, daemon:
        door = await door_of(daemon)
        sources = [f"/{n}.bin" for n in range(CONTENTS)]
        for path in sources:
            origin.page(path, b"x" * 10_000, etag='"1"')
            number = await daemon.add(origin.url(path), "-e", "aria2")
            await daemon.until_state(number, "completed")
        bodies: list[Mapping[str, object]] = [{"source": origin.url(path), "engine": "aria2"} for path in sources]
        assert daemon.process is not None
        pid, hits = daemon.process.pid, 0

        async def some(worker: int) -> None:
            nonlocal hits
            async with Caller(door) as caller:
                for n in range(ADDS // CONNECTIONS):
                    made = await caller.call("POST", "/downloads", bodies[(worker + n) % CONTENTS])
                    hits += made["cache_hit"] and made["state"] == "completed"

        used, began = cpu(pid), time.perf_counter()
        await asyncio.gather(*(some(worker) for worker in range(CONNECTIONS)))
        took = time.perf_counter() - began
        done = ADDS // CONNECTIONS * CONNECTIONS
        print(
            f"adds of what is there over REST, {CONNECTIONS} connections, {name}: {done / took:.0f} a second "
            f"(to reach: 300); {hits} of {done} hits; {(cpu(pid) - used) / done * 1000:.2f} ms of the daemon's CPU "
            "each",
            flush=True,
        )


async def main() -> None:
    chosen = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        if not chosen or "page" in chosen:
            await page(Path(folder) / "page")
        if not chosen or "sqlite" in chosen:
            await adds(Path(folder) / "sqlite", "SQLite", "")
        if not chosen or "postgresql" in chosen:
            # as it is without settings of the tests': what was answered survives a power cut
            with running_server("fsync=on", "full_page_writes=on") as server:
                await adds(Path(folder) / "postgresql", "PostgreSQL", server.url())


if __name__ == "__main__":
    asyncio.run(main())
