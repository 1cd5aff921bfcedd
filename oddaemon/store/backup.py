"""Copies of a SQLite store: before an upgrade, for `oddaemon backup`, and back again for `oddaemon restore`."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from oddaemon.domain.errors import AlreadyExists, StoreDamaged, StoreError
from oddaemon.store.database import store_error


def stamped(path: Path, what: str) -> Path:
    """`<path>.<what>-<time>`."""
    return path.with_name(f"{path.name}.{what}-{datetime.now(UTC).strftime('%Y%m%dT%H%M%S.%fZ')}")


def write_backup(store: Path, *, revision: str) -> Path:
    """Copies the store to `<store>.backup-<revision>-<time>` beside it. Raises StoreError."""
    return copy_store(store, stamped(store, f"backup-{revision}"))


def copy_store(store: Path, destination: Path) -> Path:
    """One consistent state of the store as a single file that only its owner can read, durable when this returns. The
    store may be in use meanwhile. Raises AlreadyExists rather than replace a file, and StoreError."""
    with new_file(destination) as part, closing(_read_only(store)) as source, closing(sqlite3.connect(part)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")
    return destination


@contextmanager
def new_file(destination: Path) -> Iterator[Path]:
    """An empty file that only its owner can read, under another name. What was written to it is durable and called
    `destination` when the block has ended well; else nothing is left. Raises AlreadyExists rather than replace a file,
    and StoreError."""
    part = destination.with_name(f"{destination.name}.part-{os.getpid()}")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            yield part
            _sync(part)
            try:
                os.link(part, destination)  # unlike a rename, it replaces nothing
            except FileExistsError:
                raise AlreadyExists(f"{destination} exists already", hint="name another file") from None
            sync_folder(destination.parent)
        finally:
            for suffix in ("", "-wal", "-shm"):
                part.with_name(part.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{destination} cannot be written: {error.strerror}") from error
    except sqlite3.Error as error:
        raise store_error(error) from error


def check_copy(copy: Path) -> None:
    """Raises StoreDamaged unless every page of the file is in order."""
    try:
        with closing(_read_only(copy)) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        raise store_error(error) from error
    if found != ("ok",):
        raise StoreDamaged(f"{copy} is damaged: {found[0] if found else 'it cannot be read'}")


def put_in_place(copy: Path, store: Path) -> Path | None:
    """Makes a copy of `copy` the store; the store that was there is kept under the name that is returned. Whoever calls
    holds the store's lock. At every moment, also when it is interrupted, there is a whole store under its name."""
    fresh = store.with_name(f"{store.name}.restoring")
    fresh.unlink(missing_ok=True)
    copy_store(copy, fresh)
    try:
        kept = _set_aside(store) if store.exists() else None
        os.replace(fresh, store)
        sync_folder(store.parent)
    except OSError as error:
        raise StoreError(f"{store} cannot be replaced: {error.strerror}") from error
    return kept


def _set_aside(store: Path) -> Path:
    """A second name for the store; its log is folded into it, because it would be read as the next store's."""
    kept = stamped(store, "replaced")
    with suppress(sqlite3.Error), closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.link(store, kept)
    wal = store.with_name(store.name + "-wal")
    if wal.exists():  # the store is damaged: its log is kept with it
        os.replace(wal, kept.with_name(kept.name + "-wal"))
    store.with_name(store.name + "-shm").unlink(missing_ok=True)
    sync_folder(store.parent)
    return kept


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)


def sync_folder(folder: Path) -> None:
    """Makes new names in a folder durable."""
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
