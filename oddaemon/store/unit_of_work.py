"""Transactions, and the store that runs works in them.

One thread writes. It takes all works that are waiting and runs them in one transaction, each in a savepoint of its own,
so that they share one commit and its wait for the disk. Threads of their own read, each from one state of the database,
and never wait for the writer.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar, cast

import sqlalchemy as sa

from oddaemon.domain.errors import StoreError, StoreLocked, StoreUnavailable
from oddaemon.domain.events import Event
from oddaemon.ports.store import Transaction
from oddaemon.store import quarantine
from oddaemon.store.database import BUSY_TIMEOUT, is_away, is_statements_own, is_transient, store_error
from oddaemon.store.marks import mark_commit, was_stored
from oddaemon.store.repositories.cache import SqlCache, write_touches
from oddaemon.store.repositories.credentials import SqlApiKeys, SqlInvitations, SqlSessions
from oddaemon.store.repositories.events import SqlEvents, write_events
from oddaemon.store.repositories.jobs import SqlJobs
from oddaemon.store.repositories.keyed_adds import SqlKeyedAdds
from oddaemon.store.repositories.links import SqlLinks
from oddaemon.store.repositories.materials import SqlMaterials
from oddaemon.store.repositories.nodes import SqlNodes
from oddaemon.store.repositories.served import SqlServed
from oddaemon.store.repositories.settings import SqlSecrets, SqlSettings
from oddaemon.store.repositories.users import SqlUsers
from oddaemon.store.scope import Counters, Kept, Scope, Suspect

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[Transaction], T]
Publish = Callable[[Sequence[Event]], None]

MAX_BATCH = 100
"""Works in one commit."""
PAGES_KEPT = 256
"""Free pages of a SQLite file that are left for what comes next."""
PAGES_AT_ONCE = 256
"""How many are given back in one commit: a megabyte, in some milliseconds."""
RETRY_WAITS = (0.05, 0.1, 0.2, 0.4)
"""Seconds before a transaction that the database turned away is tried again."""
LEARN_SECONDS = 10.0
"""For a database to come back and say whether a commit happened that it did not answer."""
KEEP_SECONDS = 5.0
"""Between two looks at whether the store's lock is still held."""


class SqlTransaction:
    """Meets ports.store.Transaction."""

    __slots__ = (
        "api_keys", "cache", "events", "invitations", "jobs", "keyed_adds", "links", "materials", "nodes", "scope",
        "secrets", "served", "sessions", "settings", "users",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.jobs = SqlJobs(scope)
        self.cache = SqlCache(scope)
        self.materials = SqlMaterials(scope)
        self.users = SqlUsers(scope)
        self.api_keys = SqlApiKeys(scope)
        self.sessions = SqlSessions(scope)
        self.invitations = SqlInvitations(scope)
        self.links = SqlLinks(scope)
        self.served = SqlServed(scope)
        self.settings = SqlSettings(scope)
        self.secrets = SqlSecrets(scope)
        self.events = SqlEvents(scope)
        self.nodes = SqlNodes(scope)
        self.keyed_adds = SqlKeyedAdds(scope)

    def quarantined(self) -> int:
        return quarantine.count(self.scope)


class _Call(Generic[T]):
    """A work on its way, and what came of it."""

    __slots__ = ("error", "future", "suspects", "value", "work")

    def __init__(self, work: Work[T], future: asyncio.Future[T]) -> None:
        self.work = work
        self.future = future
        self.value: T | None = None
        self.error: BaseException | None = None
        self.suspects: list[Suspect] = []


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


class _Writer:
    """Runs batches of works. Lives in the writer's thread only."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None
        self._kept: Kept = {}
        self.access_rev = 0
        self.content_rev = 0

    def run(self, calls: Sequence[_Call[Any]]) -> list[Event]:
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

    def _patiently(self, calls: Sequence[_Call[Any]]) -> list[Event]:
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

    def _once(self, calls: Sequence[_Call[Any]], *, careful: bool = False) -> list[Event]:
        """`careful`: with a savepoint before each work, for one of them will fail after it has changed something.
        Savepoints cost a statement each, and such works are rare."""
        connection = self._connected()
        mark = 0
        try:
            transaction = connection.begin()
            counters = Counters(connection, self._kept)
            savepoint = _Savepoint(connection, counters) if careful else None
            events: list[Event] = []
            for call in calls:
                writes = counters.writes
                events += self._work(connection, counters, call, savepoint)
                if call.error is not None and counters.writes > writes and savepoint is None and len(calls) > 1:
                    # nothing but the whole transaction can be taken back
                    self._take_back(transaction)
                    return self._once(calls, careful=True)
            if all(call.error is not None for call in calls):
                self._take_back(transaction)
                return []
            write_events(connection, counters)
            write_touches(connection, counters)
            counters.flush()
            if connection.dialect.name == "postgresql":
                mark = mark_commit(connection)
        except BaseException:
            self._roll_back()
            raise
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
        if counters.access_changed:
            self.access_rev += 1
        if counters.content_changed:
            self.content_rev += 1
        if counters.erased and connection.dialect.name == "sqlite":
            self._empty_log(connection)
        return events

    def _empty_log(self, connection: sa.Connection) -> None:
        """Erased secrets still stand in the write-ahead log. A reader that needs it puts this off to the next
        checkpoint; nobody waits for it (sqlite.org/pragma.html#pragma_wal_checkpoint)."""
        driver = connection.connection
        with suppress(sa.exc.SQLAlchemyError, sqlite3.Error):
            driver.execute("PRAGMA busy_timeout = 0").close()
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
            driver.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}").close()

    def _work(
        self, connection: sa.Connection, counters: Counters, call: _Call[Any], savepoint: _Savepoint | None
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


class SqlStore:
    """Meets ports.store.Store. Made by `migrate.open_store`, and used from the event loop that it was made in."""

    def __init__(
        self, *, writer: sa.Engine, reader: sa.Engine, readers: int, publish: Publish,
        released: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """`readers`: reads at a time. `released` is called when everything is closed."""
        self._loop = asyncio.get_running_loop()
        self._publish = publish
        self._released = released
        self._writer = _Writer(writer)
        self._reader = reader
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._reading = ThreadPoolExecutor(readers, thread_name_prefix="store-reader")
        self._waiting: deque[_Call[Any]] = deque()
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._shutting = asyncio.Lock()
        self._shut = False
        self._reported: set[Suspect] = set()
        self.observe: Callable[[str, float], None] = lambda kind, seconds: None
        """Told of each `read` and `write`, and how long it took."""

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._writer.dialect

    @property
    def access_rev(self) -> int:
        return self._writer.access_rev

    @property
    def content_rev(self) -> int:
        return self._writer.content_rev

    async def write(self, work: Work[T]) -> T:
        if self._closing:
            raise StoreError("the store is closed")
        began = time.perf_counter()
        try:
            return await self._enqueue(work)
        finally:
            self.observe("write", time.perf_counter() - began)

    async def read(self, work: Work[T]) -> T:
        if self._closing:
            raise StoreError("the store is closed")
        began = time.perf_counter()
        try:
            value, suspects = await self._loop.run_in_executor(self._reading, self._read, work)
        finally:
            self.observe("read", time.perf_counter() - began)
        self._settle(suspects)
        return cast("T", value)

    async def tidy(self) -> None:
        while await self.write(_give_back):
            pass

    async def keep(self) -> None:
        if self.kind == "sqlite":
            return  # the lock is a file's, and held until `close`
        away = False
        while True:
            await asyncio.sleep(KEEP_SECONDS)
            try:
                await self._loop.run_in_executor(self._writing, self._writer.keep)
            except StoreLocked:
                raise
            except (sa.exc.SQLAlchemyError, StoreError) as error:
                away = True
                log.warning("the database is away", extra={"action": "store.away", "error": str(error)[:500]})
            else:
                if away:
                    log.info("the database is back", extra={"action": "store.back"})
                away = False

    async def close(self) -> None:
        self._closing = True
        await self._idle.wait()
        async with self._shutting:
            if not self._shut:
                self._shut = True
                await asyncio.to_thread(self._shut_down)

    def _read(self, work: Work[Any]) -> tuple[Any, list[Suspect]]:
        """In a reader's thread. A connection that breaks meanwhile costs a second reading, no more."""
        try:
            try:
                return self._read_once(work)
            except sa.exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                return self._read_once(work)
        except sa.exc.SQLAlchemyError as error:
            raise store_error(error) from error

    def _read_once(self, work: Work[Any]) -> tuple[Any, list[Suspect]]:
        with self._reader.connect() as connection:
            transaction = connection.begin()
            scope = Scope(connection)
            try:
                return work(SqlTransaction(scope)), scope.suspects
            finally:
                transaction.rollback()

    def _enqueue(self, work: Work[T]) -> asyncio.Future[T]:
        call: _Call[T] = _Call(work, self._loop.create_future())
        self._waiting.append(call)
        if not self._busy:
            self._pump()
        return call.future

    def _pump(self) -> None:
        """Hands the next batch to the writer's thread, if there is one."""
        calls: list[_Call[Any]] = []
        while self._waiting and len(calls) < MAX_BATCH:
            call = self._waiting.popleft()
            if not call.future.done():  # else its caller gave up before it began
                calls.append(call)
        self._busy = bool(calls)
        if not calls:
            self._idle.set()
            return
        self._idle.clear()
        running = self._loop.run_in_executor(self._writing, self._writer.run, calls)
        running.add_done_callback(partial(self._finish, calls))

    def _finish(self, calls: Sequence[_Call[Any]], running: asyncio.Future[list[Event]]) -> None:
        """On the loop: the batch is durable, or has failed."""
        error = StoreError("the store was stopped") if running.cancelled() else running.exception()
        events = running.result() if error is None else []
        if events:
            try:
                self._publish(events)
            except Exception:
                log.exception("events could not be published", extra={"action": "store.publish"})
        for call in calls:
            _resolve(call, error)
            self._settle(call.suspects)
        self._pump()

    def _settle(self, suspects: Iterable[Suspect]) -> None:
        """Has damaged rows that a read met put away. Nobody waits for it."""
        fresh = [suspect for suspect in suspects if suspect not in self._reported]
        if not fresh or self._closing:
            return
        self._reported.update(fresh)
        for suspect in fresh:
            self._enqueue(partial(_put_away, suspect)).add_done_callback(_log_failure)

    def _shut_down(self) -> None:
        """In a thread, when nothing is queued."""
        try:
            self._reading.shutdown(wait=True)
            self._writing.shutdown(wait=True)
            self._writer.close()
            self._reader.dispose()
        finally:
            self._released()


def _give_back(tx: Transaction) -> bool:
    """Some of the file's free pages; whether there are more than are worth keeping. PostgreSQL does it by itself."""
    scope = cast("SqlTransaction", tx).scope
    if scope.dialect != "sqlite":
        return False
    connection = scope.connection.connection
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    going = min(free - PAGES_KEPT, PAGES_AT_ONCE)
    for _ in range(going):
        # one page each: the driver takes a single step of a statement that has no columns
        connection.execute("PRAGMA incremental_vacuum(1)").close()
    return bool(free - PAGES_KEPT > PAGES_AT_ONCE)


def _put_away(suspect: Suspect, tx: Transaction) -> None:
    quarantine.settle(cast("SqlTransaction", tx).scope, suspect)


def _resolve(call: _Call[Any], failure: BaseException | None) -> None:
    future = call.future
    error = failure or call.error
    if future.done():  # its caller has gone
        return
    if error is None:
        future.set_result(call.value)
    elif isinstance(error, StopIteration | asyncio.CancelledError):  # neither can be handed on by a future
        future.set_exception(RuntimeError(f"a work on the store raised {type(error).__name__}"))
    else:
        future.set_exception(error)


def _for_caller(error: BaseException) -> BaseException:
    """What a work's own error becomes: a driver's error is translated, any other is handed on."""
    if not isinstance(error, sa.exc.SQLAlchemyError):
        return error
    told = store_error(error)
    told.__cause__ = error
    return told


def _log_failure(future: asyncio.Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error(
            "a damaged row could not be put away", extra={"action": "store.quarantine", "error": str(error)}
        )
