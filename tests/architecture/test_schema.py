"""The chain of revisions and the tables give one schema; every field of a row's class has a column."""

from __future__ import annotations

import dataclasses
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.dialects import postgresql

from oddaemon.domain.cache import CacheEntry, EntryFile, Replica
from oddaemon.domain.credentials import ApiKey, Invitation, Session
from oddaemon.domain.job import Job
from oddaemon.domain.join_token import KeptToken
from oddaemon.domain.keyed_add import KeyedAdd
from oddaemon.domain.link import Link
from oddaemon.domain.user import User
from oddaemon.ports.store import Material
from oddaemon.store import quarantine, tables
from oddaemon.store.migrate import migrate_up
from oddaemon.store.schema import known_revisions, migrations_dir
from oddaemon.store.tables import HEAD, metadata


def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(migrations_dir()))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def normal(sql: str | None) -> str:
    """A CREATE statement without the accidents of how it was written."""
    text = " ".join((sql or "").replace('"', "").split()).replace("( ", "(").replace(" )", ")")
    head, _, body = text.partition("(")
    return head + "(" + ", ".join(sorted(part.strip() for part in body.removesuffix(")").split(", ")))


def schema(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name <> 'alembic_version'"
        )
        return {name: normal(sql) for name, sql in rows}


async def test_the_chain_of_revisions_gives_the_tables(tmp_path: Path) -> None:
    await migrate_up(tmp_path / "chain.db")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'tables.db'}")
    metadata.create_all(engine)
    engine.dispose()
    assert schema(tmp_path / "chain.db") == schema(tmp_path / "tables.db")


async def test_autogenerate_sees_no_difference(tmp_path: Path) -> None:
    await migrate_up(tmp_path / "chain.db")
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'chain.db'}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_newest_revision_is_named_without_alembic() -> None:
    found = scripts()
    assert found.get_heads() == [HEAD]
    assert {revision.revision for revision in found.walk_revisions()} == known_revisions()


def test_every_revision_leads_both_ways() -> None:
    for revision in scripts().walk_revisions():
        assert callable(revision.module.upgrade)
        assert callable(revision.module.downgrade)


def test_the_tables_can_be_made_on_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in metadata.sorted_tables:
        text = str(sa.schema.CreateTable(table).compile(dialect=dialect))
        assert "TIMESTAMP WITHOUT" not in text
        assert " JSON," not in text
        for index in table.indexes:
            assert str(sa.schema.CreateIndex(index).compile(dialect=dialect))
    assert "JSONB" in str(sa.schema.CreateTable(tables.jobs).compile(dialect=dialect))


def test_the_migrations_can_be_written_for_postgresql(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Offline, against no server: the same statements as the tables compile to, but for their order."""
    config = Config()
    config.set_main_option("script_location", str(tmp_path))
    config.set_main_option("path_separator", "os")
    (tmp_path / "versions").symlink_to(migrations_dir() / "versions")
    (tmp_path / "env.py").write_text(
        "from alembic import context\n"
        "context.configure(dialect_name='postgresql', as_sql=True)\n"
        "with context.begin_transaction():\n    context.run_migrations()\n"
    )
    command.upgrade(config, "head", sql=True)
    written = capsys.readouterr().out
    for table in metadata.sorted_tables:
        assert f"CREATE TABLE {table.name}" in written


@pytest.mark.parametrize(
    ("kind", "table", "extra"),
    [
        (Job, tables.jobs, {"info_hash"}),
        (CacheEntry, tables.cache_entries, set()),
        (EntryFile, tables.entry_files, {"entry_id"}),
        (Replica, tables.replicas, set()),
        (Link, tables.download_links, {"job_removed"}),
        (User, tables.users, set()),
        (ApiKey, tables.api_keys, set()),
        (Session, tables.sessions, set()),
        (Invitation, tables.invitations, set()),
        (KeyedAdd, tables.keyed_adds, set()),
        (KeptToken, tables.join_tokens, set()),
        (Material, tables.materials, {"id", "job_id", "replica_id"}),
    ],
)
def test_every_field_has_a_column(kind: type, table: sa.Table, extra: set[str]) -> None:
    fields = {field.name for field in dataclasses.fields(kind)}
    assert {column.name for column in table.columns} == fields | extra


def test_damage_is_provided_for_in_every_table_that_is_converted() -> None:
    converted = {"users", "nodes", "cache_entries", "entry_files", "replicas", "jobs", "materials", "download_links",
                 "served_bytes", "settings", "events", "api_keys", "sessions", "invitations", "keyed_adds",
                 "join_tokens"}  # fmt: skip
    assert set(quarantine.KINDS) == converted
    for name, kind in quarantine.KINDS.items():
        columns = {column.name for column in metadata.tables[name].columns}
        assert set(kind.mends) <= columns
        assert set(kind.hidden) <= columns
