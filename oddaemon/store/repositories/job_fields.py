"""What each field of a job is, as SQL: what is stored, or what is known better at this moment (`Query.live`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import sqlalchemy as sa

from oddaemon.domain.failure import ReasonCode
from oddaemon.domain.filter_fields import PAUSED
from oddaemon.domain.job import UNFINISHED, Hold, JobState
from oddaemon.domain.types import EntryId
from oddaemon.ports.store import Query
from oddaemon.store.repositories.filter_sql import Clause, Expression, among, member
from oddaemon.store.tables import jobs, users

_C = jobs.c
OPEN = _C.state.in_(sorted(state.value for state in UNFINISHED))
QUEUED = _C.state == JobState.QUEUED.value
ACTIVE = _C.state == JobState.ACTIVE.value
USERNAME = sa.select(users.c.username).where(users.c.id == _C.user_id).scalar_subquery()
MOST_PROGRESS = 0.9999
"""Of a job that is not completed; as services.job_views."""
_PAUSES = (ReasonCode.PAUSED.value, ReasonCode.PAUSED_UNTIL.value)
_TYPES: Mapping[str, Callable[[], sa.types.TypeEngine[Any]]] = {
    "done": sa.BigInteger, "size": sa.BigInteger, "name": sa.Text, "engine_state": sa.Text, "seeding": sa.Text,
}  # fmt: skip


class JobFields:
    """The expressions for one query. What only memory knows is written into them: it is of the few that run."""

    def __init__(self, query: Query, dialect: str) -> None:
        self._live = query.live
        self._jobs = query.live_jobs
        self._dialect = dialect

    def expression(self, field: str) -> Expression:
        own = getattr(self, f"_{field}", None)
        found: Expression = own() if own is not None else _STORED[field]
        return found

    def live(self, field: str) -> Expression | None:
        """Of unfinished jobs; None when nothing runs that has such a figure."""
        figure = self._figure(field)
        return None if figure is None else sa.case((OPEN, figure), else_=None)

    def _figure(self, field: str) -> Expression | None:
        known = self._live.get(field)
        if not known:
            return None
        kind = _TYPES.get(field, sa.Float)()
        branches = [(_id(entry_id), sa.literal(value, kind)) for entry_id, value in known.items()]
        return sa.case(*branches, value=_C.entry_id, else_=None)

    def _now(self, field: str, stored: Expression, also: Clause = OPEN) -> Expression:
        """The figure of what runs, in its place what is stored."""
        figure = self._figure(field)
        return stored if figure is None else sa.case((also, sa.func.coalesce(figure, stored)), else_=stored)

    def _of_job(self, field: str, stored: Expression) -> Expression:
        """As `_now`, where a job may have a figure of its own, too."""
        own, running = self._jobs.get(field), self._live.get("running")
        entries = self._figure(field)
        if not running:
            return stored
        figure = stored if entries is None else sa.func.coalesce(entries, stored)
        if own:
            branches = [
                (sa.literal(job_id, _C.id.type), stored if value is None else sa.literal(value, sa.BigInteger()))
                for job_id, value in own.items()
            ]
            figure = sa.case(*branches, value=_C.id, else_=figure)
        return sa.case((sa.and_(OPEN, _C.entry_id.in_(list(running))), figure), else_=stored)

    def _name(self) -> Expression:
        stored = sa.func.nullif(_C.name, "")
        learned = self.live("name")
        return stored if learned is None else sa.func.coalesce(stored, learned)

    def _size(self) -> Expression:
        return self._of_job("size", _C.size)

    def _fresh(self) -> Expression:
        return self._of_job("done", _C.done)

    def _done(self) -> Expression:
        fresh = self._fresh()
        return fresh if fresh is _C.done else sa.case((fresh > _C.done, fresh), else_=_C.done)

    def _progress(self) -> Expression:
        size = self._size()
        part = sa.cast(self._fresh(), sa.Float()) / sa.cast(size, sa.Float())
        return sa.case(
            (_C.state == JobState.COMPLETED.value, 1.0),
            (sa.func.coalesce(size, 0) == 0, 0.0),
            (part > MOST_PROGRESS, MOST_PROGRESS),
            else_=part,
        )

    def _rate_down(self) -> Expression:
        return self._now("rate_down", sa.literal(0.0), ACTIVE)

    def _rate_up(self) -> Expression:
        return self._now("rate_up", sa.literal(0.0))

    def _eta(self) -> Expression:
        return self._now("eta", _unknown(), ACTIVE)

    def _seeders(self) -> Expression:
        return self._now("seeders", _unknown())

    def _peers(self) -> Expression:
        return self._now("peers", _unknown())

    def _quiet(self) -> Expression:
        return self._now("quiet", _unknown())

    def _engine_state(self) -> Expression:
        return self._now("seeding", self._now("engine_state", sa.func.nullif(_C.engine_state, "")), sa.not_(OPEN))

    def _error(self) -> Expression:
        return member(_C.error, "code", self._dialect)

    def _reason(self) -> Expression:
        """As services.job_views says it: what the queue found out now is of memory, and stored is what stays."""
        stored = member(_C.reason, "code", self._dialect)
        turn = sa.case((_C.entry_id.is_(None), ReasonCode.RESOLVING.value), else_=ReasonCode.QUEUED.value)
        codes: dict[str, list[Any]] = {}
        for job_id, code in self._jobs.get("reason", {}).items():
            codes.setdefault(str(code), []).append(job_id)
        found = [(self._waits(code, ids), sa.literal(code, sa.Text())) for code, ids in sorted(codes.items())]
        waiting: Expression = sa.case(*found, else_=turn) if found else turn
        told: list[tuple[Clause, Expression]] = [(sa.not_(QUEUED), stored)]
        if codes:
            known = among(_C.id, [job_id for ids in codes.values() for job_id in ids], self._dialect)
            told.append((sa.and_(_C.hold == Hold.DISK.value, known), waiting))
        return sa.case(*told, else_=sa.func.coalesce(stored, waiting))

    def _waits(self, code: str, ids: Collection[Any]) -> Clause:
        here = among(_C.id, list(ids), self._dialect)
        return sa.and_(here, _C.hold == Hold.USER.value) if code in _PAUSES else here


def _unknown() -> Expression:
    return sa.cast(sa.null(), sa.Float())


def _id(entry_id: EntryId) -> Expression:
    return sa.literal(entry_id, _C.entry_id.type)


_STORED: Mapping[str, Expression] = {
    "id": _C.number,
    "state": sa.case((sa.and_(QUEUED, _C.hold == Hold.USER.value), PAUSED), else_=_C.state),
    "engine": _C.engine,
    "node": _C.node_id,
    "user": USERNAME,
    "tag": _C.tags,
    "hold": _C.hold,
    "kind": _C.kind,
    "priority": _C.priority,
    "key": _C.cache_key,
    "age": _C.created_at,
    "created": _C.created_at,
    "started": _C.started_at,
    "completed": _C.completed_at,
    "files": _C.files_total,
}
