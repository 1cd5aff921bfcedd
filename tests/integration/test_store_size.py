"""The store's file does not keep the size of what it once held."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from oddaemon.ports.store import Query
from oddaemon.store.migrate import open_store
from oddaemon.testing.store_samples import a_job, a_user

JOBS = 10_000
SMALL = 2 << 20


def come_and_go(path: Path) -> None:
    """10,000 copies of the only job, each with another id and number, are made and removed."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT * FROM jobs")
        names = [column[0] for column in rows.description]
        (job,) = (dict(zip(names, row, strict=True)) for row in rows)
        copies = (
            [*(job | {"id": uuid4().hex, "number": job["number"] + n, "name": "a name " * 20}).values()]
            for n in range(1, JOBS + 1)
        )
        connection.executemany(f"INSERT INTO jobs VALUES ({','.join('?' * len(names))})", copies)
        connection.execute("DELETE FROM jobs WHERE number > ?", [job["number"]])
        connection.commit()


async def test_after_10_000_jobs_the_file_is_small_again(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await open_store(path)
    user = a_user()
    await store.write(lambda tx: tx.users.insert(user))
    kept = await store.write(lambda tx: tx.jobs.insert(a_job(tx, user)))
    await store.close()
    come_and_go(path)
    full = path.stat().st_size
    store = await open_store(path)
    await store.tidy()
    page = await store.read(lambda tx: tx.jobs.page(Query(limit=10)))
    assert [job.id for job in page.rows] == [kept.id]
    await store.close()
    assert path.stat().st_size < SMALL < full
