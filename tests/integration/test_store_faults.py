"""What the store survives: damaged rows, a full disk, a busy database, kill -9."""



from __future__ import annotations

import asyncio
import json
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from oddaemon.domain.cache import CacheEntry
from oddaemon.domain.errors import StoreDamaged, StoreError
from oddaemon.domain.events import JobCreated
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.types import Bytes
from oddaemon.domain.user import Role, User
from oddaemon.ports.store import Material, Query, Transaction
from oddaemon.services.operator import ensure_admin
from oddaemon.store.migrate import open_store
from oddaemon.store.sql_store import SqlStore
from oddaemon.testing.store_contract import bump, count_of
from oddaemon.testing.store_samples import (
    ARIA2,
    LATER,
    NOW,
    a_full_job,
    a_job,
    a_link,
    a_replica,
    a_user,
    an_entry,
    filtered,
)  # fmt: skip
from tests.support.wait import until

CHECKOUT = Path(__file__).resolve().parents[2]
KILLED_PROGRAM = """
import asyncio, sys
from oddaemon.domain.events import JobCreated
from oddaemon.store.migrate import open_store
from oddaemon.testing.store_samples import NOW, a_job, a_user

async def main():
    store = await open_store(sys.argv[1])
    user = await store.read(lambda tx: tx.users.by_name("ann"))
    if user is None:
        user = a_user("ann")
        await store.write(lambda tx: tx.users.insert(user))
    def add(tx):
        job = tx.jobs.insert(a_job(tx, user))
        tx.events.add(JobCreated(at=NOW, job_id=job.id, job_number=job.number))
        return job.number
    while True:
        print(await store.write(add), flush=True)
asyncio.run(main())
"""
"""Adds jobs to the store that is named, one after the other, and prints each one's number when it is answered."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlStore]:
    store = await open_store(path)
    yield store
    await store.close()


def damage(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        assert connection.execute(sql).rowcount == 1
        connection.commit()


def quarantined(path: Path) -> list[tuple[str, dict[str, object]]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT table_name, content FROM quarantine ORDER BY id").fetchall()
    return [(table, json.loads(content)) for table, content in rows]


async def three_jobs(store: SqlStore) -> list[Job]:
    def work(tx: Transaction) -> list[Job]:
        user, entry = a_user("ann"), an_entry("aria2:url:k")
        tx.users.insert(user)
        tx.cache.insert_entry(entry)
        jobs = [tx.jobs.insert(replace(a_full_job(tx, user, entry), state=JobState.QUEUED)) for _ in range(3)]
        tx.jobs.update(replace(jobs[0], hold=Hold.NONE))
        return list(tx.jobs.by_numbers([1, 2, 3]))

    return await store.write(work)


# damaged rows


@pytest.mark.parametrize("value", ["'exploded'", "NULL", "x'00ff'", "CAST(x'ff' AS TEXT)"])
async def test_a_job_in_an_unknown_state_is_taken_out(store: SqlStore, path: Path, value: str) -> None:
    first, second, third = await three_jobs(store)
    with closing(sqlite3.connect(path)) as connection:  # NOT NULL does not stop a damaged file
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'VARCHAR(16) NOT NULL', 'VARCHAR(16)')")
        connection.commit()
    await store.close()
    damage(path, f"UPDATE jobs SET state = {value} WHERE number = 2")
    store = await open_store(path)
    try:
        found = await store.read(lambda tx: tx.jobs.page(Query()))
        assert [job.number for job in found.rows] == [1, 3]
        await until(lambda: quarantined(path), what="the quarantine")
        assert (await store.read(lambda tx: tx.jobs.page(Query()))).total == 2
        assert await store.read(lambda tx: tx.jobs.get(second.id)) is None
        assert await store.read(lambda tx: tx.jobs.by_numbers([1, 3])) == [first, third]
        ((table, content),) = quarantined(path)
        assert (table, content["number"], content["source"]) == ("jobs", 2, second.source)
        entry = await store.read(lambda tx: tx.cache.current_entry("aria2:url:k"))
        assert entry is not None
        assert entry.kept
        assert await store.write(lambda tx: tx.jobs.take_number()) == 4
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("column", "value", "field", "expected"),
    [
        ("reason", "'{\"code\": \"later\"}'", "reason", None),
        ("reason", "'{'", "reason", None),
        ("error", "'[]'", "error", None),
        ("tags", "'[1]'", "tags", ()),
        ("tags", "'nonsense'", "tags", ()),
        ("done", "'many'", "done", 0),
        ("hold", "'forever'", "hold", Hold.USER),
        ("next_try_at", "'tomorrow'", "next_try_at", None),
        ("name", "CAST(x'ffee' AS TEXT)", "name", None),
    ],
)
async def test_a_job_goes_on_without_what_can_be_done_without(
    store: SqlStore, path: Path, column: str, value: str, field: str, expected: object
) -> None:
    _, second, _ = await three_jobs(store)
    await store.close()
    damage(path, f"UPDATE jobs SET {column} = {value} WHERE number = 2")
    store = await open_store(path)
    try:
        found = await store.read(lambda tx: tx.jobs.page(filtered("tag=one")))
        assert {1, 3} <= {job.number for job in found.rows}
        await store.read(lambda tx: tx.jobs.by_numbers([1, 2, 3]))
        await until(lambda: quarantined(path), what="the quarantine")
        mended = await store.read(lambda tx: tx.jobs.get(second.id))
        assert mended == replace(second, **{field: expected})  # type: ignore[arg-type]
        assert len(quarantined(path)) == 1
    finally:
        await store.close()


async def test_a_write_that_meets_a_damaged_row_puts_it_away_itself(store: SqlStore, path: Path) -> None:
    await three_jobs(store)
    await store.close()
    damage(path, "UPDATE jobs SET options = '{' WHERE number = 1")
    store = await open_store(path)
    try:
        assert await store.write(lambda tx: len(tx.jobs.by_numbers([1, 2, 3]))) == 2
        assert [table for table, _ in quarantined(path)] == ["jobs"]
    finally:
        await store.close()


async def test_damage_elsewhere_costs_no_more_than_its_row(store: SqlStore, path: Path) -> None:
    """One damaged row in every other table; each list goes on with the others."""

    def work(tx: Transaction) -> None:
        user = a_user("ann", role=Role.ADMIN, password="$2b$hash")
        tx.users.insert(user)
        for number in range(2):
            entry = an_entry(f"aria2:url:{number}", complete_at=NOW)
            tx.cache.insert_entry(entry)
            tx.cache.insert_replica(a_replica(entry, engine_state="seeding"))
            job = tx.jobs.insert(a_job(tx, user, entry_id=entry.id, engine=ARIA2))
            tx.materials.put_for_job(job.id, Material(torrent=b"d", secrets={"password": "geheim"}))
            tx.links.insert(a_link(job))
            tx.settings.put(f"s{number}", number, NOW)
            tx.events.add(JobCreated(at=NOW))

    await store.write(work)
    await store.close()
    first = "rowid = (SELECT min(rowid) FROM {})"
    for table, change in (
        ("users", "role = 'emperor'"),
        ("cache_entries", "complete_at = 'x', owner = 'nobody'"),
        ("replicas", "state = 'odd', handle = x'00'"),
        ("materials", "secrets = '{\"password\": '"),
        ("download_links", "expires_at = 7"),
        ("settings", "value = '{'"),
        ("events", "type = 'job.exploded'"),
    ):
        damage(path, f"UPDATE {table} SET {change} WHERE {first.format(table)}")
    store = await open_store(path)
    try:
        (job, other) = await store.read(lambda tx: tx.jobs.by_numbers([1, 2]))
        assert job.entry_id is not None

        def look(tx: Transaction) -> tuple[object, ...]:
            assert job.entry_id is not None
            return (
                tx.users.by_name("ann"), tx.cache.entry(job.entry_id), len(tx.cache.all_replicas()),
                tx.materials.of_job(job.id), len(tx.links.of_user(None, now=NOW, offset=0, limit=9).rows),
                tx.settings.all(), [event.seq for event in tx.events.after(0, limit=9)],
            )  # fmt: skip

        assert await store.read(look) == (None, None, 1, None, 1, {"s1": 1}, [2])
        await until(lambda: len(quarantined(path)) == 7, what="the quarantine")
        user, entry, replicas, material, links, settings, events = await store.read(look)
        assert isinstance(user, User)
        assert (user.role, user.is_active) == (Role.USER, True)
        assert isinstance(entry, CacheEntry)
        # it was somebody's alone, and nobody knows whose: now nobody else gets it
        assert entry.owner is not None
        assert (replicas, links, settings, events) == (2, 1, {"s1": 1}, [2])
        assert material == Material(torrent=b"d", erased=True)
        assert (await store.read(lambda tx: tx.materials.of_job(other.id))).secrets == {"password": "geheim"}  # type: ignore[union-attr]
        text = json.dumps(quarantined(path))
        assert "geheim" not in text
        assert "$2b$hash" not in text
        admin = await store.write(lambda tx: ensure_admin(tx, "ann", LATER))
        assert (admin.id, admin.role) == (user.id, Role.ADMIN)
    finally:
        await store.close()


# a full disk


async def filled(store: SqlStore, work: Callable[[Transaction], object]) -> StoreError:
    """Writes until that fails."""
    for _ in range(5000):
        try:
            await store.write(work)
        except StoreError as error:
            return error
    raise AssertionError("the disk never filled")


async def test_a_full_disk_loses_nothing_and_passes(path: Path) -> None:
    """With a limit on file sizes as the disk: first the log, then what is written to it at a commit, does not fit."""
    program = """
import asyncio, resource, sys
from oddaemon.domain.errors import StoreError
from oddaemon.store.migrate import open_store
from oddaemon.testing.store_samples import NOW

async def main():
    store = await open_store(sys.argv[1])
    taken = []
    async def add(index):
        def work(tx):
            tx.settings.put(f"s{index}", "x" * 3000, NOW)
            return tx.jobs.take_number()
        taken.append(await store.write(work))
    for limit in (300_000, 400_001, 523_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            for _ in range(1000):
                await add(len(taken))
            raise SystemExit("the disk never filled")
        except StoreError as error:
            print(type(error).__name__, error, flush=True)
        failures = await asyncio.gather(*(add(f"many{i}") for i in range(20)), return_exceptions=True)
        assert all(isinstance(failure, StoreError) for failure in failures), failures
        assert len(await store.read(lambda tx: tx.settings.all())) == len(taken)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await add(len(taken))
    assert taken == list(range(1, len(taken) + 1)), taken
    await store.close()
    store = await open_store(sys.argv[1])
    assert len(await store.read(lambda tx: tx.settings.all())) == len(taken)
    await store.close()
asyncio.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program, str(path)], capture_output=True, text=True, cwd=CHECKOUT,
        timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("StoreError") == 3
    assert "damaged" not in done.stdout


async def test_a_database_without_room_says_so(store: SqlStore) -> None:
    await store.write(bump)
    pages = await asyncio.to_thread(_limit_pages, store, 0)
    await asyncio.to_thread(_limit_pages, store, pages + 3)

    def put(tx: Transaction) -> None:
        tx.settings.put(f"s{random.random()}", "x" * 4000, NOW)

    error = await filled(store, put)
    assert "full" in error.message
    assert error.hint
    assert await store.write(bump) == 2
    await asyncio.to_thread(_limit_pages, store, 2**30)
    await store.write(put)


def _limit_pages(store: SqlStore, most: int) -> int:
    """Sets how large the writer lets the database grow; how large it is."""
    connection = store._writer._connection
    assert connection is not None
    driver = connection.connection.dbapi_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.execute(f"PRAGMA max_page_count = {most}")
    return int(driver.execute("PRAGMA page_count").fetchone()[0])


# others in the way


async def test_another_programs_lock_is_waited_for(store: SqlStore, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        write = asyncio.ensure_future(store.write(bump))
        assert await store.read(count_of) == 0
        assert not write.done()
        other.execute("ROLLBACK")
        assert await write == 1


async def test_a_damaged_file_is_an_error_of_its_own(store: SqlStore, path: Path) -> None:
    await three_jobs(store)
    await store.close()
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.seek(4096)
        file.write(b"\xde\xad" * ((size - 4096) // 2))
    with pytest.raises(StoreDamaged) as caught:
        await _use(path)
    assert "restore" in caught.value.hint


async def _use(path: Path) -> None:
    store = await open_store(path)
    try:
        await store.read(lambda tx: tx.jobs.page(Query()))
    finally:
        await store.close()


async def test_errors_tell_no_values(store: SqlStore) -> None:
    user = a_user("geheim")
    with pytest.raises(StoreError) as caught:
        await store.write(lambda tx: tx.jobs.insert(a_job(tx, user, source="https://geheim")))
    assert "geheim" not in f"{caught.value} {caught.value.hint} {caught.value.details}"


@pytest.mark.parametrize("name", ["a\udcffb", "a\0b"])
async def test_names_that_no_database_holds(store: SqlStore, name: str) -> None:
    user = a_user()
    await store.write(lambda tx: tx.users.insert(user))
    job = await store.write(lambda tx: tx.jobs.insert(a_job(tx, user, name=name, tags=(name,), size=Bytes(1))))
    found = await store.read(lambda tx: tx.jobs.get(job.id))
    assert found is not None
    assert found.name is not None
    assert found.name.encode()
    assert len(found.name) == 3


# kill -9


async def test_what_was_answered_survives_kill_9(path: Path) -> None:
    await survives_kills(path, kills=5, adds=120)


async def survives_kills(place: str | Path, *, kills: int, adds: int) -> None:
    """The answers are on a pipe before the next add begins: after each kill at a random moment, each is in the store,
    with at most the one more that was being answered."""
    answered = 0
    command = [sys.executable, "-c", KILLED_PROGRAM, str(place)]
    for _ in range(kills):
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=CHECKOUT) as child:
            try:
                assert child.stdout is not None
                for _ in range(random.randint(1, adds)):
                    answered = int(await asyncio.to_thread(child.stdout.readline))
            finally:
                child.send_signal(signal.SIGKILL)
            for line in child.stdout.read().splitlines():
                answered = int(line)
        store = await open_store(place)
        try:
            page = await store.read(lambda tx: tx.jobs.page(Query(limit=10_000)))
            assert [job.number for job in page.rows] == list(range(1, page.total + 1))
            assert page.total in (answered, answered + 1)
            events = await store.read(lambda tx: tx.events.after(0, limit=10_000))
            assert [event.job_id for event in events] == [job.id for job in page.rows]
        finally:
            await store.close()
