"""The chain of revisions on PostgreSQL: the same schema as the tables', up and down, and an upgrade that fails."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from oddaemon.domain.errors import StoreError, StoreNewer
from oddaemon.store import migrate
from oddaemon.store.copies import restore
from oddaemon.store.migrate import migrate_down, migrate_up, open_store, stored_settings
from oddaemon.store.tables import HEAD, metadata
from oddaemon.testing.store_samples import NOW
from tests.support.postgres import Databases

SCHEMA = """
SELECT 'column', table_name || '.' || column_name, data_type || coalesce(character_maximum_length::text, '')
    || is_nullable || coalesce(column_default, '') FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
ORDER BY 1, 2
"""


def query(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def engine_for(url: str) -> sa.Engine:
    return sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool)


async def test_the_chain_of_revisions_gives_the_tables(postgres_databases: Databases) -> None:
    chain, tables = postgres_databases.create(), postgres_databases.create()
    try:
        await migrate_up(chain)
        metadata.create_all(engine_for(tables))
        made = [row for row in query(chain, SCHEMA) if "alembic_version" not in str(row)]
        assert made == query(tables, SCHEMA)
        with engine_for(chain).connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
    finally:
        postgres_databases.drop(chain)
        postgres_databases.drop(tables)


async def test_down_to_nothing_and_up_again(tmp_path: Path, empty_postgres: str) -> None:
    query(empty_postgres, "CREATE TABLE theirs (a int)")  # another program's, in the same database
    assert await migrate_up(empty_postgres) == HEAD
    assert await migrate_down(empty_postgres, "base", backups=tmp_path) == "base"
    assert query(empty_postgres, "SELECT tablename FROM pg_tables WHERE tablename IN ('jobs', 'theirs')") == [
        ("theirs",)
    ]
    assert await migrate_up(empty_postgres, backups=tmp_path) == HEAD
    store = await open_store(empty_postgres)
    assert await store.write(lambda tx: tx.jobs.take_number()) == 1
    await store.close()


async def made_before(revision: Path, url: str) -> None:
    """A store that does not have the revision yet, with one setting."""
    aside = revision.with_name("aside")
    revision.rename(aside)
    with pytest.MonkeyPatch.context() as older:
        older.setattr(migrate, "HEAD", HEAD)
        store = await open_store(url)
        await store.write(lambda tx: tx.settings.put("here", "yes", NOW))
        await store.close()
    aside.rename(revision)


async def test_an_older_store_is_upgraded_after_a_backup(
    tmp_path: Path, empty_postgres: str, next_revision: Path
) -> None:
    backups = tmp_path / "backups"
    backups.mkdir()
    await made_before(next_revision, empty_postgres)
    store = await open_store(empty_postgres, backups=backups)
    assert await store.read(lambda tx: tx.settings.all()) == {"here": "yes"}
    await store.close()
    assert query(empty_postgres, "SELECT version_num FROM alembic_version") == [("9999",)]
    (first,) = backups.glob(f"postgresql.backup-{HEAD}-*")
    query(empty_postgres, "UPDATE settings SET colour = 'blue'")
    assert await migrate_down(empty_postgres, HEAD, backups=backups) == HEAD
    # a backup holds what this program's tables do not know, and goes back with it
    (second,) = backups.glob("postgresql.backup-9999-*")
    for file, revision in ((first, HEAD), (second, "9999")):
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(revision,)]
            assert connection.execute("SELECT key FROM settings").fetchall() == [("here",)]
    await restore(empty_postgres, second, kept_in=tmp_path)
    assert query(empty_postgres, "SELECT key, colour FROM settings") == [("here", "blue")]


@pytest.mark.parametrize(
    "fault",
    ["op.execute('DELETE FROM settings')\n    op.execute('SELECT nonsense FROM nowhere')", "raise KeyError('half')"],
)
async def test_a_migration_that_fails_changes_nothing(
    tmp_path: Path, empty_postgres: str, next_revision: Path, fault: str
) -> None:
    await made_before(next_revision, empty_postgres)
    text = next_revision.read_text()
    next_revision.write_text(text.replace("def upgrade():\n", f"def upgrade():\n    {fault}\n"))
    with pytest.raises(StoreError, match="its backup is"):
        await open_store(empty_postgres, backups=tmp_path)
    assert query(empty_postgres, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert query(empty_postgres, "SELECT key FROM settings") == [("here",)]
    next_revision.write_text(text)
    await (await open_store(empty_postgres, backups=tmp_path)).close()
    assert query(empty_postgres, "SELECT version_num FROM alembic_version") == [("9999",)]


async def test_a_newer_store_is_left_as_it_is(tmp_path: Path, empty_postgres: str) -> None:
    await migrate_up(empty_postgres)
    query(empty_postgres, "UPDATE alembic_version SET version_num = '9998'")
    for opening in (open_store(empty_postgres), migrate_up(empty_postgres, backups=tmp_path)):
        with pytest.raises(StoreNewer, match="9998"):
            await opening
    assert query(empty_postgres, "SELECT version_num FROM alembic_version") == [("9998",)]


async def test_stored_settings_can_be_read_beside_a_daemon(empty_postgres: str) -> None:
    assert stored_settings(empty_postgres) == {}
    store = await open_store(empty_postgres)
    try:
        await store.write(lambda tx: tx.settings.put("limits.retries", 3, NOW))
        assert stored_settings(empty_postgres) == {"limits.retries": 3}
    finally:
        await store.close()
