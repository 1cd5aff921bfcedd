"""How fast the store is on either database with 10,000 jobs in it. Prints figures, asserts nothing:
`python -m tests.perf.bench_store`."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from oddaemon.domain.cache import CacheEntry
from oddaemon.domain.events import JobCreated
from oddaemon.domain.filter_text import parse_filter
from oddaemon.domain.job import Job, JobState
from oddaemon.domain.query import parse_sort
from oddaemon.domain.types import Bytes
from oddaemon.domain.user import User
from oddaemon.ports.store import Material, Query, Transaction
from oddaemon.services.ids import new_entry_id, new_job_id
from oddaemon.store.migrate import open_store
from oddaemon.store.sql_store import SqlStore
from oddaemon.testing.store_samples import ARIA2, NOW, a_job, a_user
from tests.support.postgres import running_server

JOBS = 10_000
ADDS = 500
PAGES = 20
LISTS = (
    ("", ""),
    ("state=queued", "!name"),
    ("user=user1 state=queued,active", "progress,!size"),
    ("tag=film", "!created"),
    ("name=nothing", "user"),
)


def add(tx: Transaction, user: User, number: int) -> Job:
    """What an add of a new URL stores: number, entry, job, material, event."""
    key = f"aria2:url:{number:064x}"
    if tx.cache.current_entry(key) is not None:
        raise ValueError(key)
    entry = CacheEntry(id=new_entry_id(), key=key, generation=1, engine=ARIA2, created_at=NOW)
    tx.cache.insert_entry(entry)
    job = replace(
        a_job(tx, user),
        id=new_job_id(),
        entry_id=entry.id,
        cache_key=key,
        engine=ARIA2,
        name=f"file {number * 7919 % 10007}.iso",
        tags=("film",) if number % 3 else (),
        size=Bytes(number * 1000),
        done=Bytes(number * 7),
        state=JobState.COMPLETED if number % 2 else JobState.QUEUED,
    )
    job = tx.jobs.insert(job)
    tx.materials.put_for_job(job.id, Material())
    created = JobCreated(at=NOW, job_id=job.id, job_number=job.number, user_id=user.id, data={"source": job.source})
    tx.events.add(created)
    return job


async def rate(what: str, count: int, work: Callable[[], Awaitable[object]]) -> None:
    began = time.perf_counter()
    await work()
    print(f"{what:<58} {count / (time.perf_counter() - began):>9.0f} /s")


async def measure(store: SqlStore) -> None:
    users = [a_user(f"user{number}") for number in range(5)]
    for user in users:
        await store.write(lambda tx, user=user: tx.users.insert(user))  # type: ignore[misc]
    numbers = iter(range(10**9))

    async def one() -> None:
        number = next(numbers)
        await store.write(lambda tx: add(tx, users[number % 5], number))

    async def many(count: int) -> None:
        for _ in range(count):
            await one()

    await asyncio.gather(*(many(JOBS // 50) for _ in range(50)))
    await rate("adds one after the other, each durable before the next", ADDS, lambda: many(ADDS))
    await rate(
        "adds from 50 callers at once", ADDS * 4, lambda: asyncio.gather(*(many(ADDS * 4 // 50) for _ in range(50)))
    )
    for text, order in LISTS:
        query = Query(where=parse_filter(text), sort=parse_sort(order))
        times = []
        for _ in range(PAGES):
            began = time.perf_counter()
            page = await store.read(lambda tx, query=query: tx.jobs.page(query))  # type: ignore[misc]
            times.append(time.perf_counter() - began)
        what = f"first {len(page.rows)} of {page.total}, filter {text!r}, order {order!r}"
        print(f"{what:<58} {sorted(times)[PAGES // 2] * 1000:>9.1f} ms")


async def of(name: str, location: str | Path) -> None:
    print(f"-- {name}")
    store = await open_store(location)
    try:
        await measure(store)
    finally:
        await store.close()
    began = time.perf_counter()
    await (await open_store(location)).close()
    print(f"{'open and close':<58} {(time.perf_counter() - began) * 1000:>9.1f} ms")


async def main() -> None:
    """Both in one run, on one disk, each with durable commits."""
    with tempfile.TemporaryDirectory(prefix="od-bench-") as folder:
        await of("SQLite", Path(folder) / "store.db")
    with running_server("fsync=on", "full_page_writes=on") as server:
        await of("PostgreSQL", server.url())


if __name__ == "__main__":
    asyncio.run(main())
