"""Connections to PostgreSQL as the store needs them, and the lock that lets one daemon at a time write.

The lock belongs to the connection that writes: when that is lost, so is the lock, and nothing can be written without
taking it again. So a daemon that another one has replaced cannot change a row, whatever it still believes.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.types.string import StrDumper
from sqlalchemy.engine import Dialect

from oddaemon.domain.errors import StoreLocked

STORE_LOCK = 0x6F646462
"""Key of the advisory lock, which is one database's own."""
STATEMENT_TIMEOUT = 30
"""Seconds that the server may take for one statement."""
ANSWER_SECONDS = STATEMENT_TIMEOUT + 5.0
"""For an answer, whether the server's or the news that it gave up: else the connection is given up. A server that is
stopped, or a proxy that keeps a dead connection, would hold a thread for ever."""
LOCK_PATIENCE = 3.0
"""Seconds for a session to end whose daemon was killed a moment ago."""
_LOCK_WAIT = 0.1

_TRY = "SELECT pg_try_advisory_lock(%s)"
_HOLDER = """
SELECT a.pid, a.application_name FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = %s AND l.objsubid = 1
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_SETTINGS = f"""
SET statement_timeout = '{STATEMENT_TIMEOUT}s';
SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
"""
"""The server, too, gives up a daemon whose machine vanished, and with it the lock."""

Connect = Callable[[Dialect, Any, Any, dict[str, Any]], "psycopg.Connection[Any]"]


class _Storable(StrDumper):
    """Text without NUL, which PostgreSQL does not take. What is stored has none; what is looked for may."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)


class Impatient(psycopg.Connection[Any]):
    """A connection that waits for so long and no longer."""

    patience: float | None = None
    """Seconds; None: for ever."""

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()  # nobody knows what it is at
            raise psycopg.OperationalError("the database does not answer") from None


def identity() -> str:
    """The name by which the server lists one engine's connections: host, process, and what tells it from all others."""
    return f"opendebrid {socket.gethostname()[:30]} {os.getpid()} {secrets.token_hex(4)}"


def prepared_connection(name: str) -> Connect:
    """For the event `do_connect`: a connection under this name."""

    def connect(_dialect: Dialect, _record: Any, cargs: Any, cparams: dict[str, Any]) -> psycopg.Connection[Any]:
        connection = Impatient.connect(*cargs, **{**cparams, "application_name": name})
        try:
            connection.patience = ANSWER_SECONDS
            connection.adapters.register_dumper(str, _Storable)
            connection.execute(_SETTINGS)
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    return connect


def locked_connection(shown: str, name: str) -> Connect:
    """For the event `do_connect`: a connection that holds the store's lock. Raises StoreLocked."""
    plain = prepared_connection(name)

    def connect(dialect: Dialect, record: Any, cargs: Any, cparams: dict[str, Any]) -> psycopg.Connection[Any]:
        connection = plain(dialect, record, cargs, cparams)
        try:
            _lock(connection, shown, name)
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    return connect


def _lock(connection: psycopg.Connection[Any], shown: str, name: str) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE
    while not _one(connection, _TRY)[0]:
        holder = connection.execute(_HOLDER, (STORE_LOCK,)).fetchone()
        if holder is not None and holder[1] == name:
            # our own connection before this one, which the server does not know to be lost
            connection.execute("SELECT pg_terminate_backend(%s)", (holder[0],))
        elif time.monotonic() > deadline:
            raise _locked(shown, holder)
        connection.commit()
        time.sleep(_LOCK_WAIT)


def _one(connection: psycopg.Connection[Any], statement: str) -> Any:
    found = connection.execute(statement.encode(), (STORE_LOCK,)).fetchone()
    assert found is not None
    return found


def _locked(shown: str, holder: Any) -> StoreLocked:
    words = str(holder[1]).split() if holder is not None else []
    hint = "use the running daemon, or stop it first"
    if len(words) == 4 and words[0] == "opendebrid" and words[2].isdigit():
        who = f"the daemon with pid {words[2]} on {words[1]}"
        return StoreLocked(f"{shown} is in use by {who}", hint=hint, pid=int(words[2]), host=words[1])
    return StoreLocked(f"{shown} is in use by another program", hint=hint)
