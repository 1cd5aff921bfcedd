"""The units of work of the one thread that writes.

It takes all works that are waiting and runs them in one transaction, so that they share one commit and its wait for the
disk. One that fails after it has written takes the others with it: then all run again, with a savepoint before each.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast

import sqlalchemy as sa

from oddaemon.domain.errors import StoreError, StoreUnavailable
from oddaemon.domain.events import Event
from oddaemon.ports.store import Transaction
from oddaemon.store import quarantine
from oddaemon.store.database import BUSY_TIMEOUT, is_away, is_statements_own, is_transient, store_error
from oddaemon.store.marks import mark_commit, was_stored
from oddaemon.store.repositories.cache import write_touches
from oddaemon.store.repositories.events import write_events
from oddaemon.store.scope import Counters, Kept, Scope, Suspect
from oddaemon.store.transaction import SqlTransaction

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Transaction], T]

RETRY_WAITS = (0.05, 0.1, 0.2, 0.4)
"""Seconds before a transaction that the database turned away is tried again."""
LEARN_SECONDS = 10.0
"""For a database to come back and say whether a commit happened that it did not answer."""


class Call(Generic[T]):
    """A work on its way, and what came of it."""

    __slots__ = ("error", "future", "suspects", "value", "work")

    def __init__(self, work: Work[T], future: asyncio.Future[T]) -> None:
        self.work = work
        self.future = future
        self.value: T | None = None
        self.error: BaseException | None = None
        self.suspects: list[Suspect] = []

    def answer(self, failure: BaseException | None) -> None:
        """Tells the caller, on its loop. `failure` is the whole batch's."""
        error = failure or self.error
        if self.future.done():  # its caller has gone
            return
        if error is None:
            self.future.set_result(cast("T", self.value))
        elif isinstance(error, StopIteration | asyncio.CancelledError):  # neither can be handed on by a future
            self.future.set_exception(RuntimeError(f"a work on the store raised {type(error).__name__}"))
        else:
            self.future.set_exception(error)


class _Savepoint:
    """What a work that raises is taken back to: one savepoint, moved from work to work. As plain statements, because
    SQLAlchemy's own cost a third of an add."""

    def __init__(self, connection: sa.Connection, counters: Counters) -> None:
        self._connection = connection
        self._counters = counters
        self._is_set = False
        self._moved_since = True
        """Whether works have changed something since it was set."""

    def move(self) -> None:
        """Here, before the next work."""
        write_events(self._connection, self._counters)
        if not self._is_set:
            self._run("SAVEPOINT work")
        elif self._moved_since and self._connection.dialect.name == "postgresql":
            self._run("RELEASE SAVEPOINT work; SAVEPOINT work")  # one round trip
        elif self._moved_since:
            self._run("RELEASE SAVEPOINT work")
            self._run("SAVEPOINT work")
        self._is_set = self._moved_since = True

    def go_back(self) -> None:
        self._run("ROLLBACK TO SAVEPOINT work")
        self._moved_since = False

    def _run(self, statement: str) -> None:
        self._connection.exec_driver_sql(statement)


class Writer:
    """Runs batches of works. Lives in the writer's thread only."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None
        self._kept: Kept = {}
        self.access_rev = 0
        self.content_rev = 0

    def run(self, calls: Sequence[Call[Any]]) -> list[Event]:
        """Every call has its outcome afterwards; the events of those that succeeded, in commit order."""
        try:
            return self._patiently(calls)
        except Exception as error:  # noqa: BLE001 - whatever it is, each caller has to learn of it
            if len(calls) == 1 or isinstance(error, StoreError) or is_away(error):
                for call in calls:
                    call.error = store_error(error)
                    if call.error is not error:
                        call.error.__cause__ = error
                return []
        # The transaction failed as a whole. Alone, each work succeeds or fails for itself.
        return [event for call in calls for event in self.run([call])]

    def close(self) -> None:
        if self._connection is not None:
            with suppress(sa.exc.SQLAlchemyError):
                if self._connection.dialect.name == "sqlite":
                    self._connection.connection.execute("PRAGMA optimize")
            self._drop_connection()
        self._engine.dispose()

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    def keep(self) -> None:
        """Makes sure that the store's lock is held: takes it again if its connection was lost. Raises StoreLocked when
        somebody else has it."""
        try:
            with self._connected().begin():
                self._connected().exec_driver_sql("SELECT 1")
        except BaseException:
            self._roll_back()
            raise

    def _patiently(self, calls: Sequence[Call[Any]]) -> list[Event]:
        for wait in RETRY_WAITS:
            try:
                return self._once(calls)
            except _CommitLost as lost:
                if self._was_stored(lost):
                    return lost.events
            except sa.exc.DBAPIError as error:
                if not is_transient(error):
                    raise
                log.info("the database turned a write away", extra={"action": "store.retry", "error": str(error.orig)})
                time.sleep(wait)
        try:
            return self._once(calls)
        except _CommitLost as lost:
            if self._was_stored(lost):
                return lost.events
            raise StoreUnavailable from lost

    def _was_stored(self, lost: _CommitLost) -> bool:
        """Whether a transaction was stored although its commit was not answered. To be asked, the database has to give
        us the store's lock again: then nothing of the lost connection is under way any more. Raises StoreUnavailable
        when it cannot be asked."""
        log.warning("the connection was lost in a commit", extra={"action": "store.commit_lost"})
        self.access_rev += 1
        self.content_rev += 1
        deadline = time.monotonic() + LEARN_SECONDS
        while True:
            try:
                with self._connected().begin():
                    return was_stored(self._connected(), lost.mark)
            except (sa.exc.DBAPIError, StoreError) as error:
                self._roll_back()
                if isinstance(error, StoreError) or time.monotonic() > deadline:
                    raise StoreUnavailable(
                        "the database went away while this was being stored: it may have been stored",
                        hint="see whether it was before you ask again: odctl ls",
                    ) from error
                time.sleep(RETRY_WAITS[-1])

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _once(self, calls: Sequence[Call[Any]], *, careful: bool = False) -> list[Event]:
        """`careful`: with a savepoint before each work, for one of them will fail after it has changed something.
        Savepoints cost a statement each, and such works are rare."""
        connection = self._connected()
        try:
            transaction = connection.begin()
            counters = Counters(connection, self._kept)
            events = self._works(connection, counters, calls, careful=careful)
            if events is None:
                # nothing but the whole transaction can be taken back
                self._take_back(transaction)
                return self._once(calls, careful=True)
            if all(call.error is not None for call in calls):
                self._take_back(transaction)
                return []
            write_events(connection, counters)
            write_touches(connection, counters)
            counters.flush()
            mark = mark_commit(connection) if connection.dialect.name == "postgresql" else 0
        except BaseException:
            self._roll_back()
            raise
        self._commit(transaction, mark, events)
        self._note_changes(connection, counters)
        return events

    def _works(
        self, connection: sa.Connection, counters: Counters, calls: Sequence[Call[Any]], *, careful: bool
    ) -> list[Event] | None:
        """Runs each work. None: one of several failed after it had changed something, and there is no savepoint."""
        savepoint = _Savepoint(connection, counters) if careful else None
        events: list[Event] = []
        for call in calls:
            writes = counters.writes
            events += self._work(connection, counters, call, savepoint)
            if call.error is not None and counters.writes > writes and savepoint is None and len(calls) > 1:
                return None
        return events

    def _commit(self, transaction: sa.RootTransaction, mark: int, events: list[Event]) -> None:
        try:
            transaction.commit()
        except sa.exc.DBAPIError as error:
            self._roll_back()
            if mark and is_away(error):
                raise _CommitLost(mark, events) from error
            raise
        except BaseException:
            self._roll_back()
            raise

    def _note_changes(self, connection: sa.Connection, counters: Counters) -> None:
        """After a commit."""
        if counters.access_changed:
            self.access_rev += 1
        if counters.content_changed:
            self.content_rev += 1
        if counters.erased and connection.dialect.name == "sqlite":
            self._empty_log(connection)

    def _empty_log(self, connection: sa.Connection) -> None:
        """Erased secrets still stand in the write-ahead log. A reader that needs it puts this off to the next
        checkpoint; nobody waits for it (sqlite.org/pragma.html#pragma_wal_checkpoint)."""
        driver = connection.connection
        with suppress(sa.exc.SQLAlchemyError, sqlite3.Error):
            driver.execute("PRAGMA busy_timeout = 0").close()
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
            driver.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}").close()

    def _work(
        self, connection: sa.Connection, counters: Counters, call: Call[Any], savepoint: _Savepoint | None
    ) -> Iterable[Event]:
        """Runs one work. Raises only what ends the whole transaction."""
        call.value, call.error, call.suspects = None, None, []
        scope = Scope(connection, counters, quarantine.settle)
        if savepoint is not None:
            savepoint.move()
        mark = counters.mark()
        try:
            call.value = call.work(SqlTransaction(scope))
        except BaseException as error:
            if isinstance(error, sa.exc.StatementError):
                if not is_statements_own(error):
                    raise
                counters.writes += 1  # PostgreSQL carries out no more of the transaction
            if savepoint is not None:
                savepoint.go_back()
            counters.restore(mark)
            call.error = _for_caller(error)
            call.suspects = scope.suspects
            return ()
        return scope.events

    def _take_back(self, transaction: sa.RootTransaction) -> None:
        self._kept.clear()  # it may be of rows that never were
        transaction.rollback()

    def _roll_back(self) -> None:
        """Ends the transaction; a connection that cannot even do that is given up."""
        self._kept.clear()
        connection = self._connection
        if connection is None:
            return
        try:
            connection.rollback()
            if connection.dialect.name == "sqlite" and not connection.invalidated:
                # after a commit that failed, SQLAlchemy takes the transaction for ended while SQLite may keep it open
                connection.connection.rollback()
        except Exception:  # noqa: BLE001 - a connection whose state is unknown is not used again
            self._drop_connection()
            return
        if connection.invalidated:
            self._drop_connection()

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        self._kept.clear()  # the store's lock went with it
        if connection is not None:
            with suppress(sa.exc.SQLAlchemyError):
                connection.invalidate()
            with suppress(sa.exc.SQLAlchemyError):
                connection.close()


class _CommitLost(Exception):
    """The connection broke before the commit was answered: only the database knows whether it happened."""

    def __init__(self, mark: int, events: list[Event]) -> None:
        super().__init__()
        self.mark = mark
        self.events = events


def _for_caller(error: BaseException) -> BaseException:
    """What a work's own error becomes: a driver's error is translated, any other is handed on."""
    if not isinstance(error, sa.exc.SQLAlchemyError):
        return error
    told = store_error(error)
    told.__cause__ = error
    return told
