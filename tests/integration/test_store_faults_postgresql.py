"""What the PostgreSQL store survives: damaged rows, texts that the server refuses, kill -9."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest

from oddaemon.domain.errors import StoreError
from oddaemon.domain.filter_tree import Term
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.types import Bytes
from oddaemon.domain.user import Role
from oddaemon.ports.store import Query, Transaction
from oddaemon.store.migrate import open_store
from oddaemon.store.sql_store import SqlStore
from oddaemon.testing.store_contract import bump
from oddaemon.testing.store_samples import NOW, a_full_job, a_job, a_replica, a_user, an_entry
from tests.integration.test_store_faults import survives_kills
from tests.support.wait import until


@pytest.fixture
async def store(postgres: str) -> AsyncIterator[SqlStore]:
    store = await open_store(postgres)
    yield store
    await store.close()


async def damage(url: str, sql: str) -> None:
    def run() -> int:
        with psycopg.connect(url) as connection:
            return connection.execute(sql.encode()).rowcount

    assert await asyncio.to_thread(run) == 1


async def quarantined(url: str) -> list[tuple[str, dict[str, object]]]:
    def look() -> list[tuple[str, dict[str, object]]]:
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT table_name, content FROM quarantine ORDER BY id").fetchall()
        return [(table, json.loads(content)) for table, content in rows]

    return await asyncio.to_thread(look)


async def three_jobs(store: SqlStore) -> list[Job]:
    def work(tx: Transaction) -> list[Job]:
        user, entry = a_user("ann", role=Role.ADMIN), an_entry("aria2:url:k")
        tx.users.insert(user)
        tx.cache.insert_entry(entry)
        tx.cache.insert_replica(a_replica(entry))
        for _ in range(3):
            tx.jobs.insert(replace(a_full_job(tx, user, entry), state=JobState.QUEUED, hold=Hold.NONE))
        return list(tx.jobs.by_numbers([1, 2, 3]))

    return await store.write(work)


async def test_a_job_in_an_unknown_state_is_taken_out(store: SqlStore, postgres: str) -> None:
    first, second, third = await three_jobs(store)
    await damage(postgres, "UPDATE jobs SET state = 'exploded' WHERE number = 2")
    found = await store.read(lambda tx: tx.jobs.page(Query()))
    assert [job.number for job in found.rows] == [1, 3]
    await until(lambda: quarantined(postgres), what="the quarantine")
    assert await store.read(lambda tx: tx.jobs.get(second.id)) is None
    assert await store.read(lambda tx: tx.jobs.by_numbers([1, 3])) == [first, third]
    ((table, content),) = await quarantined(postgres)
    assert (table, content["number"], content["source"]) == ("jobs", 2, second.source)
    assert await store.write(lambda tx: tx.jobs.take_number()) == 4


@pytest.mark.parametrize(
    ("column", "value", "field", "expected"),
    [
        ("reason", '\'{"code": "later"}\'', "reason", None),
        ("reason", "'3'", "reason", None),
        ("error", "'[]'", "error", None),
        ("tags", "'[1]'", "tags", ()),
        ("tags", "'{\"a\": 1}'", "tags", ()),
        ("hold", "'forever'", "hold", Hold.USER),
    ],
)
async def test_a_job_goes_on_without_what_can_be_done_without(
    store: SqlStore, postgres: str, column: str, value: str, field: str, expected: object
) -> None:
    _, second, _ = await three_jobs(store)
    await damage(postgres, f"UPDATE jobs SET {column} = {value} WHERE number = 2")
    await store.read(lambda tx: tx.jobs.by_numbers([1, 2, 3]))
    await until(lambda: quarantined(postgres), what="the quarantine")
    mended = await store.read(lambda tx: tx.jobs.get(second.id))
    assert mended == replace(second, **{field: expected})  # type: ignore[arg-type]
    assert len(await quarantined(postgres)) == 1


async def test_a_write_that_meets_a_damaged_row_puts_it_away_itself(store: SqlStore, postgres: str) -> None:
    await three_jobs(store)
    await damage(postgres, "UPDATE replicas SET state = 'odd'")
    await damage(postgres, "UPDATE users SET role = 'emperor'")
    assert await store.write(lambda tx: len(tx.cache.all_replicas())) == 0
    assert await store.write(lambda tx: tx.users.by_name("ann")) is None
    assert sorted(table for table, _ in await quarantined(postgres)) == ["replicas", "users"]
    user = await store.read(lambda tx: tx.users.by_name("ann"))
    assert user is not None
    assert user.role is Role.USER


@pytest.mark.parametrize("name", ["a\udcffb", "a\0b"])
async def test_names_that_no_database_holds(store: SqlStore, name: str) -> None:
    user = a_user()
    await store.write(lambda tx: tx.users.insert(user))
    job = await store.write(lambda tx: tx.jobs.insert(a_job(tx, user, name=name, tags=(name,), size=Bytes(1))))
    found = await store.read(lambda tx: tx.jobs.get(job.id))
    assert found is not None
    assert found.name is not None
    assert len(found.name) == 3


async def test_what_is_looked_for_may_hold_anything(store: SqlStore) -> None:
    await three_jobs(store)

    def look(tx: Transaction) -> list[object]:
        wanted = [Query(where=Term(field=field, values=("a\0b",))) for field in ("name", "tag", "user", "node", "key")]
        return [tx.users.by_name("ann\0"), *(tx.jobs.page(query).total for query in wanted)]

    assert await store.read(look) == [None, 0, 0, 0, 0, 0]
    await store.write(lambda tx: tx.settings.put("a\0b", "c\0d", NOW))
    assert await store.read(lambda tx: tx.settings.all()) == {"a\ufffdb": "c\ufffdd"}


async def test_an_error_in_a_work_ends_neither_others_nor_the_connection(store: SqlStore) -> None:
    user = a_user("ann")
    await store.write(lambda tx: tx.users.insert(user))

    def wrong(tx: Transaction) -> None:
        tx.jobs.insert(a_job(tx, a_user("nobody")))  # no such user: a foreign key that is not there

    outcomes = await asyncio.gather(
        *(store.write(work) for _ in range(5) for work in (bump, wrong, bump)), return_exceptions=True
    )
    assert [isinstance(found, StoreError) for found in outcomes] == [False, True, False] * 5
    assert sorted(found for found in outcomes if isinstance(found, int)) == list(range(1, 11))
    assert await store.write(lambda tx: tx.jobs.take_number()) == 1


async def test_errors_tell_no_values(store: SqlStore) -> None:
    user = a_user("geheim")
    with pytest.raises(StoreError) as caught:
        await store.write(lambda tx: tx.jobs.insert(a_job(tx, user, source="https://geheim")))
    assert "geheim" not in f"{caught.value} {caught.value.hint} {caught.value.details}"


async def test_what_was_answered_survives_kill_9(postgres: str) -> None:
    await survives_kills(postgres, kills=2, adds=30)
