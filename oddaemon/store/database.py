"""Where the store is, connections to it, and the one place where the drivers' errors become ours.

Works run on synchronous connections, each in a thread of the store's own: a statement then costs one call, where an
asynchronous driver pays several changes of thread for each (measured: five times as long for an add).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from oddaemon.domain.errors import InvalidArgument, StoreDamaged, StoreError, StoreUnavailable

BUSY_TIMEOUT = 5.0
"""Seconds for which SQLite waits for another process that holds the write lock."""
CONNECT_TIMEOUT = 5
"""Seconds to reach a PostgreSQL server."""
KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
"""A server that vanished without a word is given up within half a minute (libpq's parameters)."""
WAL_LIMIT = 64 * 2**20
"""Bytes to which SQLite cuts its log after a checkpoint."""
CACHE_KIB = 8 * 1024
"""SQLite's page cache per connection."""

_DISK_FULL = "the disk that holds the store is full"
_SQLITE_MESSAGES = {
    sqlite3.SQLITE_IOERR: "the disk that holds the store does not read or write",
    sqlite3.SQLITE_BUSY: "another program holds the store's write lock",
    sqlite3.SQLITE_LOCKED: "another program holds the store's write lock",
    sqlite3.SQLITE_READONLY: "the store is read-only here",
    sqlite3.SQLITE_CANTOPEN: "the store's file cannot be opened",
}
_TRANSIENT_SQLITE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
# PostgreSQL manual, appendix A
_TRANSIENT_POSTGRESQL = {"40001", "40P01", "55P03", "53300", "57P01", "57P02", "57P03"}
"""serialization_failure, deadlock_detected, lock_not_available, too_many_connections, and a server that restarts"""
_POSTGRESQL_MESSAGES = {
    "57014": "the database took too long to answer",
    "25006": "the database is read-only at the moment",
    "53100": "the disk that holds the database is full",
    "53300": "the database takes no more connections",
}
"""query_canceled, read_only_sql_transaction, disk_full, too_many_connections"""


@dataclass(frozen=True, slots=True)
class Target:
    """A store's place: a SQLite file, or the URL of a PostgreSQL database."""

    url: sa.URL
    path: Path | None
    """The SQLite file; None for PostgreSQL."""

    @property
    def shown(self) -> str:
        """For messages: without the password, which may stand among the parameters, too."""
        if self.path is not None:
            return str(self.path)
        query = {"host": self.url.query["host"]} if "host" in self.url.query else {}
        return self.url.set(drivername="postgresql", query=query).render_as_string(hide_password=True)


def parse_target(location: str | Path) -> Target:
    """A path, `sqlite:///path` or `postgresql://…`. Raises InvalidArgument, never showing a password."""
    if location in {"", ":memory:"}:
        raise InvalidArgument("the store needs a file: what is only in memory would be lost", field="database.url")
    if isinstance(location, Path) or "://" not in location:
        return _sqlite_target(Path(location))
    try:
        url = sa.make_url(location)
        backend = url.get_backend_name()
    except (sa.exc.ArgumentError, ValueError):
        raise InvalidArgument("this is not a database URL", field="database.url") from None
    if backend == "sqlite" and url.database and url.database != ":memory:":
        return _sqlite_target(Path(url.database))
    if backend in {"postgresql", "postgres"}:
        return Target(url.set(drivername="postgresql+psycopg"), None)
    raise InvalidArgument(
        f"the store cannot be kept in {backend}",
        field="database.url",
        hint="give a file, sqlite:///file, or postgresql://user:password@host/name",
    )


def _sqlite_target(path: Path) -> Target:
    absolute = path.expanduser().resolve()  # one file, one lock, whatever links lead to it
    return Target(sa.URL.create("sqlite", database=str(absolute)), absolute)


def write_engine(target: Target, *, foreign_keys: bool = True) -> sa.Engine:
    """One connection, whose transactions hold the database's write lock from their beginning. On PostgreSQL the
    connection itself holds the store's lock, so that nobody else writes for as long as it lives: connecting raises
    StoreLocked when another program has it."""
    if target.path is None:
        from oddaemon.store.server import identity, locked_connection  # psycopg costs 0.3 s, which SQLite need not pay

        engine = _postgresql_engine(target, connections=1)
        sa.event.listen(engine, "do_connect", locked_connection(target.shown, identity()))
        return engine
    engine = _sqlite_engine(
        target,
        1,
        # counts only before the first table is made, and before the log is chosen (sqlite.org/pragma.html)
        "auto_vacuum = INCREMENTAL",
        "journal_mode = WAL",
        "synchronous = FULL",
        f"foreign_keys = {'ON' if foreign_keys else 'OFF'}",
        f"journal_size_limit = {WAL_LIMIT}",
        # what is erased is overwritten
        "secure_delete = ON",
    )
    sa.event.listen(engine, "begin", _statement("BEGIN IMMEDIATE"))
    return engine


def read_engine(target: Target, connections: int) -> sa.Engine:
    """Connections whose transactions see one state of the database and cannot change it."""
    if target.path is None:
        from oddaemon.store.server import identity, prepared_connection

        engine = _postgresql_engine(target, connections)
        sa.event.listen(engine, "do_connect", prepared_connection(identity()))
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    engine = _sqlite_engine(target, connections, "query_only = ON")
    sa.event.listen(engine, "begin", _statement("BEGIN"))
    return engine


@contextmanager
def unhurried(server: sa.Connection) -> Iterator[None]:
    """Lets the statements of a transaction on PostgreSQL take as long as they need."""
    from oddaemon.store.server import ANSWER_SECONDS, Impatient

    driver = server.connection.dbapi_connection
    assert isinstance(driver, Impatient)
    server.exec_driver_sql("SET LOCAL statement_timeout = 0")
    driver.patience = None
    try:
        yield
    finally:
        driver.patience = ANSWER_SECONDS


def _sqlite_engine(target: Target, connections: int, *pragmas: str) -> sa.Engine:
    engine = sa.create_engine(
        target.url,
        poolclass=sa.QueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_reset_on_return=None,  # every transaction is ended by whoever began it
        connect_args={"check_same_thread": False, "isolation_level": None, "timeout": BUSY_TIMEOUT},
    )

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in (*pragmas, f"cache_size = -{CACHE_KIB}", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}").close()

    sa.event.listen(engine, "connect", prepare)
    return engine


def _postgresql_engine(target: Target, connections: int) -> sa.Engine:
    return sa.create_engine(
        target.url,
        pool_size=connections,
        max_overflow=0,
        # no ping before each use: a read whose connection turns out to be broken is done again on a new one
        connect_args={"connect_timeout": CONNECT_TIMEOUT, **KEEPALIVES},
    )


def _statement(text: str) -> Any:
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(text)

    return begin


def is_transient(error: sa.exc.DBAPIError) -> bool:
    """Whether the same transaction may succeed when it is tried again at once."""
    if error.connection_invalidated:
        return True
    code = _sqlite_code(error.orig)
    if code is not None:
        return code in _TRANSIENT_SQLITE
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # no connection; one that nobody answered has cost seconds already
        return is_away(error) and type(error.orig).__name__ != "ConnectionTimeout"
    return state in _TRANSIENT_POSTGRESQL


def is_statements_own(error: sa.exc.StatementError) -> bool:
    """Whether the error is one statement's fault, and leaves the transaction around it usable."""
    if not isinstance(error, sa.exc.DBAPIError):
        return True
    own = (sa.exc.IntegrityError, sa.exc.DataError, sa.exc.ProgrammingError, sa.exc.NotSupportedError)
    return isinstance(error, own) and not error.connection_invalidated


def is_away(error: BaseException) -> bool:
    """Whether a PostgreSQL server does not serve at the moment: what was asked is not at fault."""
    if not isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) or isinstance(error.orig, sqlite3.Error):
        return isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
    state = getattr(error.orig, "sqlstate", None)
    # without a state it comes from the client's side: no connection. Classes: connection exception, insufficient
    # resources, operator intervention; and wrong credentials or names, which are somebody's to mend
    return state is None or state[:2] in {"08", "53", "57", "28", "3D"} or state == "25006"


def store_error(error: BaseException) -> StoreError:
    """What callers are told of a driver's error. Statements and their values stay out of it."""
    if isinstance(error, StoreError):
        return error
    cause = error.orig if isinstance(error, sa.exc.StatementError) else error
    code = _sqlite_code(cause)
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return StoreDamaged("the store's file is damaged", hint="restore a backup: oddaemon restore FILE")
    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailable(_DISK_FULL, hint="free some space")
    if code in _SQLITE_MESSAGES:
        return StoreError(_SQLITE_MESSAGES[code])
    if isinstance(cause, sqlite3.Error) or code is not None:
        return StoreError(f"the store failed: {cause}")
    if is_away(error):
        return StoreUnavailable(_POSTGRESQL_MESSAGES.get(getattr(cause, "sqlstate", None) or "", ""))
    return StoreError("the store could not carry this out", kind=type(cause).__name__)


def _sqlite_code(error: BaseException | None) -> int | None:
    """The primary result code: the low byte of an extended one (sqlite.org/rescode.html)."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None
