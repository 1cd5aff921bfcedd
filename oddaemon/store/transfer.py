"""A store in PostgreSQL ↔ a store in a SQLite file, whole: for backups, for going back to one, and for moving.

Both sides have the same revision. Tables, columns and types are the server's own, not the program's: a backup before
an upgrade is of an older schema than the program's, and loses nothing of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from oddaemon.domain.errors import StoreDamaged, StoreError
from oddaemon.store.backup import new_file
from oddaemon.store.database import parse_target, unhurried, write_engine
from oddaemon.store.schema import VERSION_TABLE, change_schema, looking_at, read_revision, revision_of
from oddaemon.store.scope import is_undecodable
from oddaemon.store.tables import TZDateTime, metadata

CHUNK = 500
"""Rows at a time."""
_JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def to_file(source: sa.Connection, destination: Path, *, shown: str) -> Mapping[str, int]:
    """Writes the server's store, as the connection's transaction sees it, to a new SQLite file that only its owner can
    read, durable when this returns; how many rows each table has. Raises AlreadyExists and StoreError."""
    revision = revision_of(source, shown)
    if revision is None:
        raise StoreError(f"there is no store in {shown}")
    with new_file(destination) as part:
        engine = write_engine(parse_target(part), foreign_keys=False)
        try:
            with engine.begin() as target:
                change_schema(target, "upgrade", revision)
                copied = copy_rows(source, target)
        finally:
            engine.dispose()
        with closing(sqlite3.connect(part)) as file:  # no log has to lie beside it
            file.execute("PRAGMA journal_mode = DELETE")
    return copied


def from_file(path: Path, target: sa.Connection) -> Mapping[str, int]:
    """Makes a server's tables, of which there are none yet, and fills them from a SQLite store that nobody writes to,
    as part of the connection's transaction; how many rows each got."""
    revision = read_revision(path)
    if revision is None:
        raise StoreDamaged(f"{path} is empty")
    with unhurried(target), looking_at(path).connect() as source:
        change_schema(target, "upgrade", revision)
        return copy_rows(source, target)


def drop_store(connection: sa.Connection) -> None:
    """Takes the store's tables out of a server's database, and no others."""
    there = set(sa.inspect(connection).get_table_names())
    quoted = connection.dialect.identifier_preparer.quote
    ours = [quoted(name) for name in [*metadata.tables, VERSION_TABLE] if name in there]
    if ours:
        connection.exec_driver_sql(f"DROP TABLE {', '.join(ours)}")


def occupied(connection: sa.Connection) -> bool:
    """Whether a database holds a store that was used: a row anywhere but among the counters."""
    there = set(sa.inspect(connection).get_table_names()) & set(metadata.tables) - {"counters"}
    return any(
        connection.execute(sa.select(sa.literal(1)).select_from(metadata.tables[name]).limit(1)).first() is not None
        for name in sorted(there)
    )


def copy_rows(source: sa.Connection, target: sa.Connection) -> Mapping[str, int]:
    """Replaces all rows of the target's tables by the source's; how many each has. Raises StoreDamaged, naming the
    table, for a row that the target cannot hold."""
    server, file = (source, target) if source.dialect.name == "postgresql" else (target, source)
    tables = _tables(server, file)
    with unhurried(server):
        for table in reversed(tables):
            target.execute(sa.delete(table))
        copied = {table.name: _copy_table(table, source, target) for table in tables}
        if target is server:
            for table in tables:
                _advance_sequence(table, target)
        return copied


def _tables(server: sa.Connection, file: sa.Connection) -> list[sa.Table]:
    """In an order in which rows can be inserted."""
    names = sorted(set(sa.inspect(file).get_table_names()) - {VERSION_TABLE})
    found = sa.MetaData()
    found.reflect(server, only=names)
    for table in found.tables.values():
        for column in table.columns:
            column.type = _portable(column.type)
    return found.sorted_tables


def _portable(of_server: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    if isinstance(of_server, sa.DateTime):
        return TZDateTime()
    if isinstance(of_server, postgresql.JSONB):
        return _JSON
    return of_server.as_generic()


def _copy_table(table: sa.Table, source: sa.Connection, target: sa.Connection) -> int:
    try:
        with source.execute(sa.select(table).execution_options(yield_per=CHUNK)) as rows:
            for chunk in rows.partitions():
                target.execute(sa.insert(table), [dict(zip(table.columns.keys(), row, strict=True)) for row in chunk])
    except (sa.exc.StatementError, ValueError, TypeError) as error:
        of_the_row = isinstance(error, sa.exc.DataError | sa.exc.IntegrityError) or is_undecodable(error)
        if isinstance(error, sa.exc.DBAPIError) and not of_the_row:
            raise
        raise StoreDamaged(
            f"a row of {table.name} is damaged: it cannot be copied",
            hint="let the daemon run on the old store and look at everything (odctl ls -a, odctl cache ls): it puts "
            "damaged rows aside; then copy again",
        ) from error
    count = sa.select(sa.func.count()).select_from(table)
    expected, found = source.execute(count).scalar_one(), target.execute(count).scalar_one()
    if expected != found:
        raise StoreError(f"{found} of {expected} rows of {table.name} arrived")
    return int(found)


def _advance_sequence(table: sa.Table, server: sa.Connection) -> None:
    """What the server numbers by itself goes on after what it was given."""
    for column in table.primary_key.columns:
        named = sa.func.pg_get_serial_sequence(table.name, column.name)
        sequence = server.execute(sa.select(named)).scalar()
        highest = server.execute(sa.select(sa.func.max(column))).scalar() if sequence is not None else None
        if highest is not None:
            server.execute(sa.select(sa.func.setval(sa.cast(sequence, postgresql.REGCLASS), highest)))
