"""Events ↔ rows. They are numbered in commit order: the counter is taken under the database's write lock."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from oddaemon.domain.events import EVENT_TYPES, Event
from oddaemon.domain.types import JobId, JobNumber, NodeId, UserId
from oddaemon.store.repositories.portable import MAX_INT
from oddaemon.store.rows import (
    RawRow,
    int_of,
    int_or_none,
    object_of,
    raw_columns,
    storable_json,
    text_or_none,
    time_of,
    uuid_or_none,
)
from oddaemon.store.scope import EVENT_SEQ, Counters, Scope
from oddaemon.store.tables import events

_C = events.c
COLUMNS = (_C.seq, _C.type, _C.at, _C.job_id, _C.job_number, _C.user_id, _C.node_id, _C.data)
_SELECT = sa.select(*raw_columns(*COLUMNS))
_AFTER = (
    _SELECT.where(_C.seq > sa.bindparam("after")).order_by(_C.seq).limit(sa.bindparam("most", type_=sa.BigInteger()))
)
_OF_JOB = (
    _SELECT.where(_C.job_id == sa.bindparam("of_job", type_=_C.job_id.type))
    .order_by(_C.seq.desc())
    .limit(sa.bindparam("most", type_=sa.BigInteger()))
)
_OF_TYPES = _C.type.in_(sa.bindparam("types", expanding=True))
_OF_USER = _C.user_id == sa.bindparam("of_user")
_INSERT = sa.insert(events)
_OLDEST = sa.select(sa.func.min(_C.seq))
_TRIM = sa.delete(events).where(_C.at < sa.bindparam("before", type_=_C.at.type))


def event_of(row: RawRow) -> Event:
    seq, type_, at, job_id, job_number, user_id, node_id, data = row
    job, number = uuid_or_none(job_id), int_or_none(job_number)
    user, node = uuid_or_none(user_id), text_or_none(node_id)
    return EVENT_TYPES[type_](
        at=time_of(at),
        seq=int_of(seq),
        job_id=None if job is None else JobId(job),
        job_number=None if number is None else JobNumber(number),
        user_id=None if user is None else UserId(user),
        node_id=None if node is None else NodeId(node),
        data=object_of(data),
    )


def write_events(connection: sa.Connection, counters: Counters) -> None:
    """Stores what works have added in this transaction, in one statement."""
    if counters.unwritten:
        rows, counters.unwritten = counters.unwritten, []
        counters.writes += 1
        connection.execute(_INSERT, rows)


class SqlEvents:
    """Meets ports.store_daemon.EventRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def add(self, event: Event) -> Event:
        if event.durable:
            event = replace(event, seq=self._scope.take(EVENT_SEQ))
            row = {
                "seq": event.seq,
                "type": event.type,
                "at": event.at,
                "job_id": event.job_id,
                "job_number": event.job_number,
                "user_id": event.user_id,
                "node_id": event.node_id,
                "data": storable_json(event.data),
            }
            if self._scope.counters is not None:  # else taking the number was refused
                self._scope.counters.unwritten.append(row)
        self._scope.events.append(event)
        return event

    def _write(self) -> None:
        """Before each look at events: those of this transaction are among them."""
        if self._scope.counters is not None:
            write_events(self._scope.connection, self._scope.counters)

    def after(
        self, seq: int, *, limit: int, types: Collection[str] = (), user_id: UserId | None = None
    ) -> Sequence[Event]:
        self._write()
        statement = _AFTER
        params: dict[str, Any] = {"after": min(max(seq, 0), MAX_INT), "most": min(max(limit, 0), MAX_INT)}
        if types:
            statement = statement.where(_OF_TYPES)
            params["types"] = sorted(types)
        if user_id is not None:
            statement = statement.where(_OF_USER)
            params["of_user"] = user_id
        return self._scope.converted(events, event_of, self._scope.rows(statement, params))

    def of_job(self, job_id: JobId, *, limit: int) -> Sequence[Event]:
        self._write()
        rows = self._scope.rows(_OF_JOB, {"of_job": job_id, "most": min(max(limit, 0), MAX_INT)})
        return self._scope.converted(events, event_of, rows)[::-1]

    def oldest_seq(self) -> int:
        self._write()
        return self._scope.number(_OLDEST)

    def newest_seq(self) -> int:
        return self._scope.counted(EVENT_SEQ)

    def trim(self, before: datetime) -> int:
        self._write()
        return self._scope.run(_TRIM, {"before": before})
