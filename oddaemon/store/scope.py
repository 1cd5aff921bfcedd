"""What the repositories of one unit of work share: the connection, the counters, and what has to be told afterwards."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import UUID

import sqlalchemy as sa

from oddaemon.domain.errors import StoreError
from oddaemon.domain.events import Event
from oddaemon.store.rows import RawRow
from oddaemon.store.tables import counters

log = logging.getLogger(__name__)

T = TypeVar("T")
Params = Mapping[str, Any]

JOB_NUMBER, REV, EVENT_SEQ = "job_number", "rev", "event_seq"

ACCESS = frozenset({"users", "api_keys", "sessions"})
"""Tables that say who may do what."""
CONTENT = frozenset({"cache_entries", "entry_files", "replicas"})
"""Tables that say what is there."""
KEPT = ACCESS | {"replicas", "entry_files"}
"""Tables that works look into again and again and hardly any changes. A write to one of them forgets what was kept."""

_ALL_COUNTERS = sa.select(counters.c.name, counters.c.value)
_SET_COUNTER = (
    sa.update(counters)
    .where(counters.c.name == sa.bindparam("counter"))
    .values(value=sa.bindparam("reached"))
)


Kept = dict[tuple[int, UUID], Sequence[RawRow]]
MOST_KEPT = 5000


class Counters:
    """The counter rows of one transaction: read once, written once before the commit. The writer holds the database's
    write lock, so nobody else counts meanwhile. And what its works have in common otherwise.

    `kept` are rows of `KEPT`, by the statement that reads them and an id. They may be of earlier transactions: all
    writes to a store go through its one writer."""

    __slots__ = (
        "_connection", "_stored", "access_changed", "content_changed", "erased", "kept", "touches", "unwritten",
        "values", "writes",
    )  # fmt: skip

    def __init__(self, connection: sa.Connection, kept: Kept) -> None:
        self._connection = connection
        self._stored: dict[str, int] | None = None
        self.values: dict[str, int] = {}
        self.kept = kept
        self.unwritten: list[dict[str, Any]] = []
        """Rows of events that are stored together: by whoever reads events, or before the commit."""
        self.touches: list[Params] = []
        """Uses of cache entries, which are stored together before the commit: they only count up."""
        self.writes = 0
        """Statements that changed something."""
        self.access_changed = False
        """Somebody may do more or less than before, as soon as this is committed."""
        self.content_changed = False
        """And other content may be there."""
        self.erased = False
        """Secrets were erased: what still holds them on disk has to go with the commit."""

    def current(self, name: str) -> int:
        if self._stored is None:
            self._stored = {row[0]: row[1] for row in self._connection.execute(_ALL_COUNTERS)}
            self.values = {**self._stored, **self.values}
        return self.values[name]

    def take(self, name: str) -> int:
        taken = self.current(name) + 1
        self.values[name] = taken
        return taken

    def mark(self) -> tuple[dict[str, int], int, int]:
        """Where a work starts."""
        return dict(self.values), len(self.unwritten), len(self.touches)

    def restore(self, mark: tuple[dict[str, int], int, int]) -> None:
        """Back to where a work started."""
        values, unwritten, touches = mark
        self.kept.clear()
        del self.unwritten[unwritten:]
        del self.touches[touches:]
        self.values = {**(self._stored or {}), **values}

    def flush(self) -> None:
        if self._stored is None:
            return
        changed = [
            {"counter": name, "reached": value}
            for name, value in self.values.items()
            if value != self._stored[name]
        ]
        if changed:
            self._connection.execute(_SET_COUNTER, changed)


def is_undecodable(error: BaseException) -> bool:
    """Whether SQLite met text that is not UTF-8, for which it fails the whole statement."""
    cause = error.orig if isinstance(error, sa.exc.OperationalError) else None
    return isinstance(cause, sqlite3.OperationalError) and "decode to UTF-8" in str(cause)


@contextmanager
def _undecoded(connection: sa.Connection) -> Iterator[None]:
    """Text that is not UTF-8 comes as bytes, which is no valid value anywhere: it costs its own row only."""

    def text_or_bytes(raw: bytes) -> str | bytes:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw

    driver = cast("sqlite3.Connection", connection.connection.dbapi_connection)
    driver.text_factory = text_or_bytes
    try:
        yield
    finally:
        driver.text_factory = str


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row that could not be converted. `key` are its raw primary key values."""

    table: str
    key: tuple[Any, ...]


class Scope:
    """One work's use of a transaction."""

    __slots__ = ("_rev", "_settle", "connection", "counters", "dialect", "events", "suspects")

    def __init__(
        self,
        connection: sa.Connection,
        counters: Counters | None = None,
        settle: Callable[[Scope, Suspect], None] | None = None,
    ) -> None:
        """`counters` is None for a read: nothing may be counted, and the database refuses to write. `settle` puts a
        damaged row away at once; without it, rows are only reported."""
        self.connection = connection
        self.dialect = connection.dialect.name
        self.events: list[Event] = []
        self.suspects: list[Suspect] = []
        self.counters = counters
        self._settle = settle
        self._rev = 0

    def secrets_erased(self) -> None:
        """They leave the log of the database, too, as soon as this is committed."""
        if self.counters is not None:
            self.counters.erased = True

    @property
    def read_only(self) -> bool:
        return self.counters is None

    def run(self, statement: sa.Executable, params: Params | Sequence[Params] | None = None) -> int:
        """Carries out a write; how many rows it touched."""
        self._about_to_write(statement)
        return self.connection.execute(statement, params).rowcount

    def insert(self, statement: sa.Executable, params: Params) -> bool:
        """Carries out an insert that returns what it inserted; whether it did."""
        self._about_to_write(statement)
        return self.connection.execute(statement, params).first() is not None

    def _about_to_write(self, statement: sa.Executable) -> None:
        if self.counters is None:
            raise StoreError("a read cannot write")
        self.counters.writes += 1
        table = getattr(statement, "table", None)
        if table is None or table.name in KEPT or isinstance(statement, sa.Delete):
            # what is deleted takes rows of other tables with it
            self.counters.kept.clear()
        if table is None or table.name in ACCESS:
            self.counters.access_changed = True
        if table is None or table.name in CONTENT:
            self.counters.content_changed = True

    def rows(self, statement: sa.Executable, params: Params | None = None) -> Sequence[RawRow]:
        try:
            return self.connection.execute(statement, params).all()
        except sa.exc.OperationalError as error:
            if not is_undecodable(error):
                raise
        with _undecoded(self.connection):
            return self.connection.execute(statement, params).all()

    def row(self, statement: sa.Executable, params: Params | None = None) -> RawRow | None:
        """The first row of a statement that finds at most one."""
        found = self.rows(statement, params)
        return found[0] if found else None

    def kept(self, statement: sa.Executable, params: Params, key: UUID) -> Sequence[RawRow]:
        """Rows of a table of `KEPT` by an id that is all there is in `params`: where works write, they are read once
        until somebody writes to such a table."""
        if self.counters is None:
            return self.rows(statement, params)
        kept, place = self.counters.kept, (id(statement), key)
        found = kept.get(place)
        if found is None:
            if len(kept) >= MOST_KEPT:
                kept.clear()
            found = kept[place] = self.rows(statement, params)
        return found

    def kept_row(self, statement: sa.Executable, params: Params, key: UUID) -> RawRow | None:
        found = self.kept(statement, params, key)
        return found[0] if found else None

    def number(self, statement: sa.Executable, params: Params | None = None) -> int:
        """The one number of the first row; 0 when there is none."""
        found = self.connection.execute(statement, params).scalar()
        return int(found) if found is not None else 0

    def take(self, counter: str) -> int:
        """The counter's next value."""
        if self.counters is None:
            raise StoreError("a read cannot write")
        return self.counters.take(counter)

    def counted(self, counter: str) -> int:
        """The counter's present value."""
        if self.counters is not None:
            return self.counters.current(counter)
        return self.number(sa.select(counters.c.value).where(counters.c.name == counter))

    def rev(self) -> int:
        """The revision of this unit of work: one, however many jobs it changes."""
        if not self._rev:
            self._rev = self.take(REV)
        return self._rev

    def converted(
        self, table: sa.Table, convert: Callable[[RawRow], T], rows: Iterable[RawRow], keys: int = 1
    ) -> list[T]:
        """Every row that can be read; the others are reported. The first `keys` columns are the primary key."""
        found: list[T] = []
        for row in rows:
            try:
                found.append(convert(row))
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
                self.suspect(table, tuple(row[:keys]), error)
        return found

    def one(
        self, table: sa.Table, convert: Callable[[RawRow], T], row: RawRow | None, keys: int = 1
    ) -> T | None:
        """The row's value; None when there is no row or it cannot be read."""
        found = self.converted(table, convert, () if row is None else (row,), keys)
        return found[0] if found else None

    def suspect(self, table: sa.Table, key: tuple[Any, ...], error: Exception) -> None:
        log.warning(
            "a stored row cannot be read",
            extra={"action": "store.row_damaged", "table": table.name, "key": repr(key), "error": str(error)},
        )
        found = Suspect(table.name, key)
        self.suspects.append(found)
        if self._settle is not None:
            self._settle(self, found)
