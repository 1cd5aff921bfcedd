"""A store moves from SQLite to PostgreSQL and back; backups of either are restored into either."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
import sqlalchemy as sa

from oddaemon.domain.errors import AlreadyExists, Conflict, StoreDamaged, StoreError, StoreLocked, Unsupported
from oddaemon.store import copies, server, transfer
from oddaemon.store.copies import backup, copied_to, copy, restore
from oddaemon.store.database import parse_target, read_engine, write_engine
from oddaemon.store.migrate import migrate_up, open_store
from oddaemon.store.tables import metadata, quarantine
from oddaemon.testing.store_samples import NOW, a_job, a_user
from tests.support.proxy import proxy_to
from tests.support.rows import Rows, all_rows, fill

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOCK_PATIENCE", 0.2)


async def filled(location: str | Path) -> None:
    await migrate_up(location)
    await asyncio.to_thread(_with, write_engine(parse_target(location)), fill)


async def content(location: str | Path) -> Rows:
    return await asyncio.to_thread(_with, read_engine(parse_target(location), 1), all_rows)


def _with(engine: sa.Engine, work: Callable[[sa.Connection], T]) -> T:
    try:
        with engine.begin() as connection:
            return work(connection)
    finally:
        engine.dispose()


async def tables_in(url: str) -> list[str]:
    return await asyncio.to_thread(
        _with, read_engine(parse_target(url), 1), lambda connection: sa.inspect(connection).get_table_names()
    )


async def test_every_row_of_every_table_arrives_and_comes_back(tmp_path: Path, empty_postgres: str) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    await filled(old)
    before = await content(old)
    assert all(len(rows) == 2 for name, rows in before.items() if name)
    counted = await copy(f"sqlite:///{old}", empty_postgres)
    assert counted == dict.fromkeys(metadata.tables, 2)
    assert await content(empty_postgres) == before
    assert await copy(empty_postgres, f"sqlite:///{new}") == counted
    assert await content(new) == before
    assert await content(old) == before
    assert new.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.db", "old.db", "old.db.copied", "old.db.lock"]
    told = copied_to(old)
    assert told is not None
    assert parse_target(empty_postgres).shown in told[0]
    assert copied_to(f"sqlite:///{new}") is None
    assert copied_to(empty_postgres) is None

    def another(connection: sa.Connection) -> int:
        row = {"table_name": "t", "row_key": "k", "content": "c", "error": "e", "at": NOW}
        found = connection.execute(sa.insert(quarantine).returning(quarantine.c.id), row).scalar_one()
        return int(found)

    highest = max(row["id"] for row in before["quarantine"])
    assert await asyncio.to_thread(_with, write_engine(parse_target(empty_postgres)), another) == highest + 1


async def test_numbers_go_on_where_they_were(tmp_path: Path, postgres: str) -> None:
    path = tmp_path / "store.db"
    store = await open_store(path)
    user = a_user("ann")
    await store.write(lambda tx: tx.users.insert(user))
    jobs = [await store.write(lambda tx: tx.jobs.insert(a_job(tx, user))) for _ in range(3)]
    await store.write(lambda tx: tx.jobs.delete(jobs[2].id))
    await store.close()
    await copy(f"sqlite:///{path}", postgres)  # a database whose tables are empty is as good as one without
    store = await open_store(postgres)
    try:
        assert await store.write(lambda tx: tx.jobs.take_number()) == 4
        assert await store.read(lambda tx: tx.jobs.by_numbers([1, 2, 3])) == jobs[:2]
    finally:
        await store.close()


async def test_a_store_in_use_is_not_moved(tmp_path: Path, postgres: str) -> None:
    path, free = tmp_path / "used.db", tmp_path / "free.db"
    await migrate_up(free)
    store = await open_store(path)
    try:
        with pytest.raises(StoreLocked):
            await copy(f"sqlite:///{path}", postgres)
    finally:
        await store.close()
    store = await open_store(postgres)
    try:
        with pytest.raises(StoreLocked):
            await copy(f"sqlite:///{free}", postgres)
        with pytest.raises(StoreLocked):
            await copy(postgres, f"sqlite:///{tmp_path / 'copy.db'}")
    finally:
        await store.close()
    assert not (tmp_path / "copy.db").exists()


async def test_nothing_is_overwritten(tmp_path: Path, postgres: str) -> None:
    path = tmp_path / "store.db"
    await filled(path)
    store = await open_store(postgres)
    await store.write(lambda tx: tx.settings.put("theirs", 1, NOW))
    await store.close()
    with pytest.raises(AlreadyExists, match="holds a store already") as caught:
        await copy(f"sqlite:///{path}", postgres)
    assert caught.value.hint
    before = await content(path)
    with pytest.raises(AlreadyExists):
        await copy(postgres, f"sqlite:///{path}")
    assert await content(path) == before
    assert len((await content(postgres))["settings"]) == 1


async def test_what_cannot_be_moved_is_said(
    tmp_path: Path, empty_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    with pytest.raises(StoreError, match="no store"):
        await copy(f"sqlite:///{path}", empty_postgres)
    with pytest.raises(StoreError, match="no store"):
        await copy(empty_postgres, f"sqlite:///{path}")
    assert not path.exists()
    await filled(path)
    for there in (f"sqlite:///{tmp_path / 'other.db'}", f"sqlite:///{path}"):
        with pytest.raises(Unsupported, match="SQLite to PostgreSQL") as caught:
            await copy(f"sqlite:///{path}", there)
        assert "oddaemon backup" in caught.value.hint
    monkeypatch.setattr(copies, "HEAD", "9999")
    with pytest.raises(Conflict, match="9999") as other:
        await copy(f"sqlite:///{path}", empty_postgres)
    assert "migrate up" in other.value.hint
    assert await tables_in(empty_postgres) == []


# psycopg complains of a cursor that could not be opened, when it is collected
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_move_that_fails_leaves_nothing_and_can_be_made_again(
    tmp_path: Path, empty_postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    await filled(path)
    real = transfer._copy_table
    with proxy_to(empty_postgres) as proxy:

        def breaks(table: sa.Table, source: sa.Connection, target: sa.Connection) -> int:
            if table.name == "jobs":
                proxy.cut()
            return real(table, source, target)

        with monkeypatch.context() as patched:
            patched.setattr(transfer, "_copy_table", breaks)
            with pytest.raises(StoreError):
                await copy(f"sqlite:///{path}", proxy.url)
        assert await tables_in(empty_postgres) == []
        assert await copy(f"sqlite:///{path}", proxy.url)
        with monkeypatch.context() as patched:
            patched.setattr(transfer, "_copy_table", breaks)
            with pytest.raises(StoreError):
                await copy(proxy.url, f"sqlite:///{tmp_path / 'back.db'}")
    assert [found.name for found in tmp_path.iterdir() if "back" in found.name] == []
    assert await content(empty_postgres) == await content(path)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE jobs SET done = 'many' WHERE rowid = 1",
        "UPDATE jobs SET reason = '{' WHERE rowid = 1",
        "UPDATE jobs SET created_at = 'tomorrow' WHERE rowid = 1",
        "UPDATE jobs SET name = CAST(x'ff' AS TEXT) WHERE rowid = 1",
        "UPDATE jobs SET id = 'nobody' WHERE rowid = 1",
    ],
)
async def test_a_damaged_row_is_named_and_nothing_is_moved(tmp_path: Path, empty_postgres: str, damage: str) -> None:
    path = tmp_path / "store.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as file:
        assert file.execute(damage).rowcount == 1
        file.commit()
    with pytest.raises(StoreDamaged, match="a row of jobs") as caught:
        await copy(f"sqlite:///{path}", empty_postgres)
    assert "odctl ls" in caught.value.hint
    assert await tables_in(empty_postgres) == []


# backups


async def test_a_backup_of_a_server_in_use_comes_back(tmp_path: Path, postgres: str) -> None:
    file, kept_in = tmp_path / "backup.db", tmp_path / "kept"
    kept_in.mkdir()
    store = await open_store(postgres)
    try:
        await store.write(lambda tx: tx.settings.put("before", 1, NOW))
        writing = [
            asyncio.ensure_future(store.write(lambda tx, number=number: tx.settings.put(f"s{number}", number, NOW)))  # type: ignore[misc]
            for number in range(200)
        ]
        assert await backup(postgres, file) == file
        await asyncio.gather(*writing)
        with pytest.raises(AlreadyExists):
            await backup(postgres, file)
        with pytest.raises(StoreLocked):
            await restore(postgres, file, kept_in=kept_in)
    finally:
        await store.close()
    now = await content(postgres)
    kept = await restore(postgres, file, kept_in=kept_in)
    assert kept is not None
    assert kept.parent == kept_in
    assert await content(postgres) == await content(file)
    assert "before" in {row["key"] for row in (await content(postgres))["settings"]}
    await restore(postgres, kept, kept_in=kept_in)
    assert await content(postgres) == now
    store = await open_store(postgres)
    assert len(await store.read(lambda tx: tx.settings.all())) == 201
    await store.close()
    assert {path.stat().st_mode & 0o777 for path in (file, kept)} == {0o600}


async def test_a_backup_of_the_one_is_restored_into_the_other(tmp_path: Path, empty_postgres: str) -> None:
    path = tmp_path / "store.db"
    await filled(path)
    before = await content(path)
    await backup(path, tmp_path / "of-sqlite.db")
    assert await restore(empty_postgres, tmp_path / "of-sqlite.db", kept_in=tmp_path) is None
    assert await content(empty_postgres) == before
    await backup(empty_postgres, tmp_path / "of-postgresql.db")
    await restore(tmp_path / "again.db", tmp_path / "of-postgresql.db")
    assert await content(tmp_path / "again.db") == before
    store = await open_store(tmp_path / "again.db")
    await store.close()


async def test_a_bad_backup_is_not_restored(tmp_path: Path, postgres: str) -> None:
    store = await open_store(postgres)
    await store.write(lambda tx: tx.settings.put("here", 1, NOW))
    await store.close()
    before, file = await content(postgres), tmp_path / "bad.db"
    for bad in (b"", b"garbage"):
        file.write_bytes(bad)
        with pytest.raises(StoreDamaged):
            await restore(postgres, file, kept_in=tmp_path)
    file.unlink()
    await filled(file)
    with closing(sqlite3.connect(file)) as damaged:
        damaged.execute("UPDATE events SET data = '{' WHERE rowid = (SELECT max(rowid) FROM events)")
        damaged.commit()
    with pytest.raises(StoreDamaged, match="a row of events"):
        await restore(postgres, file, kept_in=tmp_path)
    assert await content(postgres) == before


async def test_a_backup_cannot_be_made_of_nothing(tmp_path: Path, empty_postgres: str) -> None:
    with pytest.raises(StoreError, match="no store"):
        await backup(empty_postgres, tmp_path / "file.db")
    assert list(tmp_path.iterdir()) == []
