"""Opening a store: lock it, upgrade it after writing a backup, refuse what cannot be understood."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from oddaemon.domain.errors import InvalidArgument, StoreError
from oddaemon.store.backup import stamped, write_backup
from oddaemon.store.database import Target, parse_target, read_engine, store_error, unhurried, write_engine
from oddaemon.store.lock import StoreLock
from oddaemon.store.repositories.settings import read_settings
from oddaemon.store.schema import change_schema, looking_at, read_revision, revision_of, translated
from oddaemon.store.scope import EVENT_SEQ, JOB_NUMBER, REV
from oddaemon.store.sql_store import Publish, SqlStore
from oddaemon.store.tables import HEAD, counters, events, jobs
from oddaemon.store.transfer import to_file

log = logging.getLogger(__name__)

OLDEST_SQLITE = (3, 35, 0)
"""The first with RETURNING and DROP COLUMN (sqlite.org/changes.html)."""
READERS = 3
"""Reads of a SQLite file at a time; more wait for one another."""
SERVER_READERS = 8
"""Of a PostgreSQL server, if it may have so many connections: each waits for its answers, too."""
MAX_CONNECTIONS = 25


def _ignore(_events: object) -> None:
    """Publishes to nobody."""


async def open_store(
    location: str | Path, *, publish: Publish = _ignore, backups: Path | None = None,
    max_connections: int = MAX_CONNECTIONS,
) -> SqlStore:  # fmt: skip
    """The store at a path or URL, made if there is none, upgraded if it is older. `publish` is called on the event loop
    with the events of each commit, in commit order. `backups` is the folder for a PostgreSQL store's backups; a file's
    lie beside it. `max_connections` to PostgreSQL: one writes, the others read.

    Raises StoreLocked, StoreNewer (the store is left as it is), StoreDamaged, StoreUnavailable, or StoreError when the
    upgrade failed: then the old store is as it was, and there is a backup.
    """
    target = await asyncio.to_thread(parse_target, location)
    preparing = asyncio.ensure_future(asyncio.to_thread(_prepare, target, backups))
    try:
        held = await asyncio.shield(preparing)
    except asyncio.CancelledError:
        preparing.add_done_callback(_let_go)
        raise
    readers = READERS if target.path is not None else max(1, min(SERVER_READERS, max_connections - 1))
    return SqlStore(
        writer=held.writer, reader=read_engine(target, readers), readers=readers, publish=publish, released=held.release
    )


async def migrate_up(location: str | Path, revision: str = "head", *, backups: Path | None = None) -> str:
    """Brings a store that nobody uses to a newer revision, after a backup; the revision it is at then."""
    return await asyncio.to_thread(_migrate_alone, location, revision, "upgrade", backups)


async def migrate_down(location: str | Path, revision: str = "-1", *, backups: Path | None = None) -> str:
    """Takes a store that nobody uses back to an older revision, after a backup; the revision it is at then (`base`:
    none)."""
    return await asyncio.to_thread(_migrate_alone, location, revision, "downgrade", backups)


@dataclass(frozen=True, slots=True)
class _Held:
    """A store that is ours: by the lock beside its file, or by the writer's connection to the server."""

    writer: sa.Engine
    lock: StoreLock | None = None

    def release(self) -> None:
        self.writer.dispose()
        if self.lock is not None:
            self.lock.release()


def _let_go(preparing: asyncio.Future[_Held]) -> None:
    """Whoever wanted the store has gone."""
    if not preparing.cancelled() and preparing.exception() is None:
        preparing.result().release()


def stored_settings(location: str | Path) -> Mapping[str, Any]:
    """What `odctl settings set` keeps in a store, which may be in use and is not changed; empty when there is no store
    yet. Raises StoreError and its kinds."""
    target = parse_target(location)
    if target.path is not None and (not target.path.exists() or read_revision(target.path) is None):
        return {}
    engine = looking_at(target.path) if target.path is not None else read_engine(target, 1)
    try:
        with translated(), engine.connect() as connection:
            return read_settings(connection) if revision_of(connection, target.shown) is not None else {}
    finally:
        engine.dispose()


def _prepare(target: Target, backups: Path | None) -> _Held:
    if target.path is None:
        return _prepare_server(target, backups)
    lock = locked_file(target.path)
    try:
        found = read_revision(target.path)
        if found != HEAD:
            _change_file(target, target.path, found, "upgrade", "head")
        writer = write_engine(target)
        try:
            with translated(), writer.begin() as connection:
                _begin_well(connection)
        finally:
            writer.dispose()
    except BaseException:
        lock.release()
        raise
    return _Held(writer, lock)


def locked_file(path: Path) -> StoreLock:
    """Takes the lock and makes sure that there is a file which only its owner can read."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreError(
            f"SQLite {sqlite3.sqlite_version} is too old", hint="3.35 or newer is needed; use a newer Python"
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path.parent} cannot be made: {error.strerror}") from error
    lock = StoreLock.acquire(path)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_mode & 0o077:
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError as error:
        lock.release()
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
    return lock


def _prepare_server(target: Target, backups: Path | None) -> _Held:
    writer = write_engine(target)
    try:
        with translated():
            with writer.begin() as connection:
                found = revision_of(connection, target.shown)
            if found != HEAD:
                _change_server(writer, target, found, "upgrade", "head", backups)
            with writer.begin() as connection:
                _begin_well(connection)
    except BaseException:
        writer.dispose()
        raise
    return _Held(writer)  # its connection, and with it the lock, stays in the pool


def _migrate_alone(location: str | Path, revision: str, direction: str, backups: Path | None) -> str:
    target = parse_target(location)
    if target.path is None:
        writer = write_engine(target)
        try:
            with translated():
                with writer.begin() as connection:
                    found = revision_of(connection, target.shown)
                _change_server(writer, target, found, direction, revision, backups)
                with writer.begin() as connection:
                    return revision_of(connection, target.shown) or "base"
        finally:
            writer.dispose()
    lock = locked_file(target.path)
    try:
        _change_file(target, target.path, read_revision(target.path), direction, revision)
        return read_revision(target.path) or "base"
    finally:
        lock.release()


def _change_file(target: Target, path: Path, found: str | None, direction: str, revision: str) -> None:
    backup = None if found is None else write_backup(path, revision=found)
    # SQLite rebuilds a table to change it; with foreign keys enforced that would delete what hangs on it
    engine = write_engine(target, foreign_keys=False)
    try:
        _change(engine, direction, revision, found, backup)
    finally:
        engine.dispose()


def _change_server(
    writer: sa.Engine, target: Target, found: str | None, direction: str, revision: str, backups: Path | None
) -> None:
    backup = None
    if found is not None:
        if backups is None:
            raise InvalidArgument("there is no folder for the backup", field="backups")
        with writer.begin() as connection:
            backup = stamped(backups / "postgresql", f"backup-{found}")
            to_file(connection, backup, shown=target.shown)
    _change(writer, direction, revision, found, backup)


def _change(
    engine: sa.Engine, direction: str, revision: str, found: str | None, backup: Path | None
) -> None:  # fmt: skip
    """Changes the schema in one transaction; there is a backup of what was there."""
    if backup is not None:
        log.info(
            "a backup of the store was written",
            extra={"action": "store.backup", "file": str(backup), "revision": found},
        )
    try:
        with engine.begin() as connection:
            with unhurried(connection) if engine.dialect.name == "postgresql" else nullcontext():
                change_schema(connection, direction, revision)
            if engine.dialect.name == "sqlite":
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                if broken is not None:
                    raise StoreError(f"the migration would leave rows of {broken[0]} that point at nothing")
    except Exception as error:
        kept = f"; the store is as it was, and its backup is {backup}" if backup is not None else ""
        if isinstance(error, StoreError | sa.exc.SQLAlchemyError):
            reason = store_error(error).message
        else:
            reason = f"{type(error).__name__}: {error}"
        raise StoreError(f"the store could not be migrated: {reason}{kept}") from error


def _begin_well(connection: sa.Connection) -> None:
    """A counter never stands below what it has already given out, whatever happened to its row."""
    stored = {row[0]: row[1] for row in connection.execute(sa.select(counters.c.name, counters.c.value))}
    used = {JOB_NUMBER: jobs.c.number, REV: jobs.c.rev, EVENT_SEQ: events.c.seq}
    for name, column in used.items():
        least = connection.execute(sa.select(sa.func.max(column))).scalar() or 0
        value = stored.get(name)
        if isinstance(value, int) and value >= least:
            continue
        connection.execute(sa.delete(counters).where(counters.c.name == name))
        connection.execute(sa.insert(counters), {"name": name, "value": least})
