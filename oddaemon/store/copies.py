"""What people ask for: a backup, going back to it, and moving a store to another database.

A backup of either database is a SQLite store in one file, and can be restored into either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from oddaemon.domain.errors import AlreadyExists, Conflict, StoreDamaged, StoreError, Unsupported
from oddaemon.store.backup import check_copy, copy_store, put_in_place, stamped
from oddaemon.store.database import Target, parse_target, read_engine, write_engine
from oddaemon.store.lock import StoreLock
from oddaemon.store.schema import read_revision, revision_of, translated
from oddaemon.store.tables import HEAD
from oddaemon.store.transfer import drop_store, from_file, occupied, to_file


async def backup(location: str | Path, destination: str | Path) -> Path:
    """Copies a store, which may be in use, to a new file. Raises AlreadyExists and StoreError."""
    return await asyncio.to_thread(_back_up, location, Path(destination))


async def restore(location: str | Path, copy: str | Path, *, kept_in: Path | None = None) -> Path | None:
    """Makes a backup the store. The store that was there is kept in the file that is returned: beside it, or in the
    folder `kept_in` for PostgreSQL. Raises StoreLocked while a daemon runs, StoreNewer or StoreDamaged for a backup
    that cannot be used; the store is left as it is then."""
    return await asyncio.to_thread(_restore, location, Path(copy), kept_in)


async def copy(source: str | Path, target: str | Path) -> Mapping[str, int]:
    """Moves a store that nobody uses from a SQLite file to PostgreSQL or back, whole or not at all; how many rows each
    table has. The source stays as it is; a file beside a SQLite store notes where its rows went. Raises StoreLocked
    while a daemon uses either, AlreadyExists when the target is not empty, Conflict when the source is of another
    revision than this program, StoreDamaged and StoreError."""
    return await asyncio.to_thread(_copy, source, target)


def shown(location: str | Path) -> str:
    """The store's place, for messages: without a password."""
    return parse_target(location).shown


def _back_up(location: str | Path, destination: Path) -> Path:
    target, destination = parse_target(location), destination.expanduser().absolute()
    if target.path is not None:
        read_revision(target.path)
        return copy_store(target.path, destination)
    engine = read_engine(target, 1)
    try:
        with translated(), engine.connect() as connection:
            to_file(connection, destination, shown=target.shown)
    finally:
        engine.dispose()
    return destination


def _restore(location: str | Path, backup_file: Path, kept_in: Path | None) -> Path | None:
    target, backup_file = parse_target(location), backup_file.expanduser().resolve()
    if read_revision(backup_file) is None:
        raise StoreDamaged(f"{backup_file} is empty")
    check_copy(backup_file)
    if target.path is None:
        return _restore_server(target, backup_file, kept_in or Path.cwd())
    try:
        target.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{target.path.parent} cannot be made: {error.strerror}") from error
    lock = StoreLock.acquire(target.path)
    try:
        return put_in_place(backup_file, target.path)
    finally:
        lock.release()


def _restore_server(target: Target, backup_file: Path, kept_in: Path) -> Path | None:
    kept = None
    engine = write_engine(target)
    try:
        with translated(), engine.begin() as connection:
            if revision_of(connection, target.shown) is not None:
                kept = stamped(kept_in / "postgresql", "replaced")
                to_file(connection, kept, shown=target.shown)
                drop_store(connection)
            from_file(backup_file, connection)
    finally:
        engine.dispose()
    return kept


def _copy(from_location: str | Path, to_location: str | Path) -> Mapping[str, int]:
    source, target = parse_target(from_location), parse_target(to_location)
    if source.path is not None and target.path is None:
        return _copy_to_server(source.path, target)
    if source.path is None and target.path is not None:
        return _copy_to_file(source, target.path)
    raise Unsupported(
        "store copy goes from SQLite to PostgreSQL or from PostgreSQL to SQLite",
        hint="between two of a kind: oddaemon backup with the one DATABASE_URL, oddaemon restore with the other",
    )


def _copy_to_server(path: Path, target: Target) -> Mapping[str, int]:
    if not path.is_file():
        raise StoreError(f"there is no store at {path}")
    lock = StoreLock.acquire(path)
    engine = write_engine(target)
    try:
        _check_revision(read_revision(path), str(path))
        with translated(), engine.begin() as connection:
            revision_of(connection, target.shown)
            if occupied(connection):
                raise AlreadyExists(
                    f"{target.shown} holds a store already", hint="make an empty database: createdb NAME"
                )
            drop_store(connection)
            copied = from_file(path, connection)
        _note(path).write_text(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, to {target.shown}\n", encoding="utf-8")
        return copied
    finally:
        engine.dispose()
        lock.release()


def copied_to(location: str | Path) -> tuple[str, Path] | None:
    """When and where this SQLite store was copied to, and the file that says so: whoever starts with it may have
    forgotten to name the new one."""
    path = parse_target(location).path
    if path is None or not _note(path).is_file():
        return None
    return _note(path).read_text(encoding="utf-8", errors="replace")[:500].strip(), _note(path)


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.copied")


def _copy_to_file(source: Target, path: Path) -> Mapping[str, int]:
    if path.exists():
        raise AlreadyExists(f"{path} exists already", hint="name another file")
    engine = write_engine(source)  # for its lock: nothing is written
    try:
        with translated(), engine.begin() as connection:
            _check_revision(revision_of(connection, source.shown), source.shown)
            return to_file(connection, path, shown=source.shown)
    finally:
        engine.dispose()


def _check_revision(found: str | None, shown: str) -> None:
    if found is None:
        raise StoreError(f"there is no store in {shown}")
    if found != HEAD:
        raise Conflict(
            f"{shown} is at revision {found}, this program at {HEAD}",
            hint="bring it to this program's first: oddaemon migrate up",
        )
