"""The store that runs works.

One thread writes (see `unit_of_work`). Threads of their own read, each from one state of the database, and never wait
for the writer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy as sa

from oddaemon.domain.errors import StoreError, StoreLocked
from oddaemon.domain.events import Event
from oddaemon.ports.store import Transaction
from oddaemon.store import quarantine
from oddaemon.store.database import store_error
from oddaemon.store.scope import Scope, Suspect
from oddaemon.store.transaction import SqlTransaction
from oddaemon.store.unit_of_work import Call, Work, Writer

log = logging.getLogger(__name__)

T = TypeVar("T")
Publish = Callable[[Sequence[Event]], None]

MAX_BATCH = 100
"""Works in one commit."""
PAGES_KEPT = 256
"""Free pages of a SQLite file that are left for what comes next."""
PAGES_AT_ONCE = 256
"""How many are given back in one commit: a megabyte, in some milliseconds."""
KEEP_SECONDS = 5.0
"""Between two looks at whether the store's lock is still held."""


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
        self._writer = Writer(writer)
        self._reader = reader
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._reading = ThreadPoolExecutor(readers, thread_name_prefix="store-reader")
        self._waiting: deque[Call[Any]] = deque()
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
    def folder(self) -> Path | None:
        """Where its file is. None: at a database server."""
        path = self._reader.url.database
        return Path(path).parent if self.kind == "sqlite" and path is not None else None

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
        call: Call[T] = Call(work, self._loop.create_future())
        self._waiting.append(call)
        if not self._busy:
            self._pump()
        return call.future

    def _pump(self) -> None:
        """Hands the next batch to the writer's thread, if there is one."""
        calls: list[Call[Any]] = []
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

    def _finish(self, calls: Sequence[Call[Any]], running: asyncio.Future[list[Event]]) -> None:
        """On the loop: the batch is durable, or has failed."""
        error = StoreError("the store was stopped") if running.cancelled() else running.exception()
        events = running.result() if error is None else []
        if events:
            try:
                self._publish(events)
            except Exception:
                log.exception("events could not be published", extra={"action": "store.publish"})
        for call in calls:
            call.answer(error)
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


def _log_failure(future: asyncio.Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        log.error("a damaged row could not be put away", extra={"action": "store.quarantine", "error": str(error)})
