"""Opening, upgrading, refusing, backing up and restoring stores, on real files."""



from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import oddaemon
from oddaemon.domain.errors import AlreadyExists, InvalidArgument, StoreDamaged, StoreError, StoreLocked, StoreNewer
from oddaemon.domain.user import Role, UserLimits
from oddaemon.ports.store import Transaction
from oddaemon.store import migrate, schema
from oddaemon.store.copies import backup, restore
from oddaemon.store.migrate import migrate_down, migrate_up, open_store
from oddaemon.store.tables import HEAD
from oddaemon.testing.store_samples import NOW, a_job, a_key, a_user

CHECKOUT = Path(__file__).resolve().parents[2]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(sql).fetchall()
        connection.commit()
    return found


def put(tx: Transaction) -> None:
    tx.settings.put("here", "yes", NOW)


async def made(path: Path) -> Path:
    """A store with one setting, closed."""
    store = await open_store(path)
    await store.write(put)
    await store.close()
    return path


async def test_a_new_store_is_private_and_complete(tmp_path: Path) -> None:
    path = await made(tmp_path / "deep" / "data" / "store.db")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert query(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert names(path.parent) == ["store.db", "store.db.lock"]


async def test_a_log_beside_an_open_store_is_private_too(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")
    try:
        await store.write(put)
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
        assert (tmp_path / "store.db-wal").exists()
    finally:
        await store.close()


async def test_a_file_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    path = await made(tmp_path / "store.db")
    path.chmod(0o644)
    await (await open_store(path)).close()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}", "sqlite+aiosqlite:///{}"])
async def test_forms_of_a_place(tmp_path: Path, form: str) -> None:
    await (await open_store(form.format(tmp_path / "a b?c#d%20.db"))).close()
    assert (tmp_path / "a b?c#d%20.db").exists() or "://" in form
    assert not [name for name in names(tmp_path) if name.endswith("-wal")]


@pytest.mark.parametrize("location", ["mysql://ann:geheim@host/x", ":memory:", "", "sqlite://", "://geheim", "x://"])
async def test_other_places_are_refused(location: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await open_store(location)
    assert "geheim" not in str(caught.value)


async def test_a_second_daemon_is_kept_out(tmp_path: Path) -> None:
    path = await made(tmp_path / "store.db")
    (tmp_path / "link.db").symlink_to(path)
    program = (
        "import asyncio, sys\nfrom oddaemon.store.migrate import open_store\n"
        "async def main():\n    store = await open_store(sys.argv[1])\n    print('open', flush=True)\n"
        "    await asyncio.to_thread(sys.stdin.read)\n    await store.close()\nasyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdin is not None
            assert await asyncio.to_thread(holder.stdout.readline) == b"open\n"
            for name in ("store.db", "link.db"):
                with pytest.raises(StoreLocked, match=f"pid {holder.pid}") as caught:
                    await open_store(tmp_path / name)
                assert caught.value.details["pid"] == holder.pid
            with pytest.raises(StoreLocked):
                await restore(path, path)
            holder.kill()
            await asyncio.to_thread(holder.wait)
            await (await open_store(path)).close()
        finally:
            holder.kill()


async def test_a_newer_store_is_left_as_it_is(tmp_path: Path) -> None:
    path = await made(tmp_path / "store.db")
    query(path, "UPDATE alembic_version SET version_num = '9998'")
    query(path, "PRAGMA journal_mode = DELETE")
    before = digest(path)
    with pytest.raises(StoreNewer, match="9998") as caught:
        await open_store(path)
    assert caught.value.hint
    with pytest.raises(StoreNewer):
        await migrate_up(path)
    assert digest(path) == before
    assert names(tmp_path) == ["store.db", "store.db.lock"]
    query(path, f"UPDATE alembic_version SET version_num = '{HEAD}'")
    await (await open_store(path)).close()


@pytest.mark.parametrize("content", [b"x", b"not a database\n" * 500, b"SQLite format 3\0" + b"\xff" * 4080])
async def test_what_is_no_store_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(content)
    with pytest.raises(StoreDamaged):
        await open_store(path)
    assert path.read_bytes() == content


async def test_another_programs_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    query(path, "CREATE TABLE theirs (a)")
    before = digest(path)
    with pytest.raises(StoreDamaged, match="another program"):
        await open_store(path)
    assert digest(path) == before


async def test_a_folder_in_the_files_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "store.db").mkdir()
    with pytest.raises(StoreError):
        await open_store(tmp_path / "store.db")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError):
        await open_store(tmp_path / "file" / "store.db")


async def test_an_interrupted_first_start_is_finished(tmp_path: Path) -> None:
    (tmp_path / "store.db").touch()
    await made(tmp_path / "store.db")


async def made_before(revision: Path, path: Path) -> Path:
    """A store that does not have the revision yet."""
    aside = revision.with_name("aside")
    revision.rename(aside)
    with pytest.MonkeyPatch.context() as older:
        older.setattr(migrate, "HEAD", HEAD)
        await made(path)
    aside.rename(revision)
    return path


async def test_an_older_store_is_upgraded_after_a_backup(tmp_path: Path, next_revision: Path) -> None:
    folder = tmp_path / "data"
    path = await made_before(next_revision, folder / "store.db")
    store = await open_store(path)
    assert (await store.read(lambda tx: tx.settings.all())) == {"here": "yes"}
    await store.close()
    assert query(path, "SELECT version_num FROM alembic_version") == [("9999",)]
    (copy,) = folder.glob(f"store.db.backup-{HEAD}-*")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert query(copy, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert query(copy, "SELECT key FROM settings") == [("here",)]
    await (await open_store(path)).close()
    assert len(list(folder.glob("*.backup-*"))) == 1
    assert await migrate_down(path, HEAD) == HEAD
    assert len(list(folder.glob("*.backup-*"))) == 2
    assert query(path, "SELECT key FROM settings") == [("here",)]


@pytest.mark.parametrize(
    "fault",
    [
        "op.execute('DELETE FROM settings')\n    op.execute('SELECT nonsense FROM nowhere')",
        "op.drop_table('settings')\n    raise KeyError('half way')",
        "op.execute(\"INSERT INTO entry_files VALUES (x'00', 1, '', '', 1, '', 0, NULL, NULL)\")",
    ],
)
async def test_a_migration_that_fails_changes_nothing(tmp_path: Path, next_revision: Path, fault: str) -> None:
    path = await made_before(next_revision, tmp_path / "data" / "store.db")
    text = next_revision.read_text()
    next_revision.write_text(text.replace("def upgrade():\n", f"def upgrade():\n    {fault}\n"))
    for _ in range(2):
        with pytest.raises(StoreError, match="its backup is") as caught:
            await open_store(path)
        assert not isinstance(caught.value, StoreDamaged)
    assert query(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert query(path, "SELECT key FROM settings") == [("here",)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert list(path.parent.glob("*.backup-*"))
    next_revision.write_text(text)
    await (await open_store(path)).close()
    assert query(path, "SELECT version_num FROM alembic_version") == [("9999",)]


async def test_down_to_nothing_and_up_again(tmp_path: Path) -> None:
    path = await made(tmp_path / "store.db")
    assert await migrate_down(path, "base") == "base"
    assert query(path, "SELECT name FROM sqlite_master WHERE name = 'jobs'") == []
    assert await migrate_up(path) == HEAD
    store = await open_store(path)
    assert await store.write(lambda tx: tx.jobs.take_number()) == 1
    await store.close()


async def test_users_from_before_there_were_accounts_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await open_store(path)
    user = a_user("ann", role=Role.ADMIN, password="$2b$kept", limits=UserLimits(jobs=3), unix_uid=7, generation=2)
    await store.write(lambda tx: tx.users.insert(user))
    job = await store.write(lambda tx: tx.jobs.insert(a_job(tx, user)))
    await store.write(lambda tx: tx.api_keys.insert(a_key(user)))
    await store.close()
    assert await migrate_down(path, "0002") == "0002"
    assert query(path, "SELECT username, password FROM users") == [("ann", "$2b$kept")]
    store = await open_store(path)
    before = dataclasses.replace(user, limits=UserLimits(), unix_uid=None, generation=0)
    assert await store.read(lambda tx: tx.users.by_name("ann")) == before
    assert await store.read(lambda tx: tx.jobs.get(job.id)) == job
    assert await store.read(lambda tx: tx.api_keys.of_user(user.id)) == []
    await store.close()


async def test_lost_counters_never_give_a_number_again(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await open_store(path)
    user = a_user()
    await store.write(lambda tx: tx.users.insert(user))
    jobs = [await store.write(lambda tx: tx.jobs.insert(a_job(tx, user))) for _ in range(3)]
    await store.close()
    for damage in ("DELETE FROM counters", "UPDATE counters SET value = 'x'", "UPDATE counters SET value = -5"):
        query(path, damage)
        store = await open_store(path)
        assert await store.write(lambda tx: tx.jobs.take_number()) == 4
        assert await store.read(lambda tx: tx.jobs.highest_rev()) == jobs[-1].rev
        await store.close()
        query(path, "UPDATE counters SET value = 3 WHERE name = 'job_number'")


async def test_a_backup_of_a_store_in_use_comes_back(tmp_path: Path) -> None:
    path, copy = tmp_path / "store.db", tmp_path / "copy.db"
    store = await open_store(path)
    await store.write(put)
    assert await backup(path, copy) == copy
    with pytest.raises(AlreadyExists):
        await backup(path, copy)
    await store.write(lambda tx: tx.settings.put("later", 1, NOW))
    await store.close()
    assert copy.stat().st_mode & 0o777 == 0o600
    kept = await restore(path, copy)
    assert kept is not None
    store = await open_store(path)
    assert await store.read(lambda tx: tx.settings.all()) == {"here": "yes"}
    await store.close()
    assert query(kept, "SELECT count(*) FROM settings") == [(2,)]
    assert not [name for name in names(tmp_path) if "part" in name or "restoring" in name]


async def test_restoring_ignores_the_log_of_a_killed_daemon(tmp_path: Path) -> None:
    """What is only in the old store's log belongs to the old store."""
    path, copy = await made(tmp_path / "store.db"), tmp_path / "copy.db"
    await backup(path, copy)
    program = (
        "import sqlite3, os, sys\nc = sqlite3.connect(sys.argv[1])\nc.execute('PRAGMA wal_autocheckpoint = 0')\n"
        "c.execute(\"UPDATE settings SET key = 'log'\")\nc.commit()\nos._exit(9)\n"
    )
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program, str(path)], check=False)
    assert (tmp_path / "store.db-wal").stat().st_size > 0
    kept = await restore(path, copy)
    assert kept is not None
    assert query(path, "SELECT key FROM settings") == [("here",)]
    assert query(kept, "SELECT key FROM settings") == [("log",)]


async def test_restoring_over_a_damaged_store(tmp_path: Path) -> None:
    path, copy = await made(tmp_path / "store.db"), tmp_path / "copy.db"
    await backup(path, copy)
    path.write_bytes(b"garbage")
    assert await restore(path, copy) is not None
    store = await open_store(path)
    assert await store.read(lambda tx: tx.settings.all()) == {"here": "yes"}
    await store.close()


async def test_a_bad_backup_is_not_restored(tmp_path: Path) -> None:
    path, copy = await made(tmp_path / "store.db"), tmp_path / "copy.db"
    before = digest(path)
    for content in (b"", b"garbage", path.read_bytes()[:-4096]):
        copy.write_bytes(content)
        with pytest.raises(StoreDamaged):
            await restore(path, copy)
    copy.unlink()
    await backup(path, copy)
    query(copy, "UPDATE alembic_version SET version_num = 'zzzz'")
    with pytest.raises(StoreNewer):
        await restore(path, copy)
    assert digest(path) == before


def test_the_migrations_are_found_in_a_checkout_and_in_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert schema.migrations_dir() == CHECKOUT / "migrations"
    package = tmp_path / "oddaemon"
    shutil.copytree(CHECKOUT / "migrations", package / "migrations")
    monkeypatch.setattr(oddaemon, "__file__", str(package / "__init__.py"))
    assert schema.migrations_dir() == package / "migrations"
    shutil.rmtree(package)
    with pytest.raises(StoreError):
        schema.migrations_dir()


async def test_a_cancelled_opening_lets_the_lock_go(tmp_path: Path) -> None:
    path = await made(tmp_path / "store.db")
    opening = asyncio.ensure_future(open_store(path))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with asyncio.timeout(60):
        while True:
            try:
                await (await open_store(path)).close()
                break
            except StoreLocked:
                await asyncio.sleep(0.01)
