"""Filters and sort orders of job lists → SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from oddaemon.domain.job import UNFINISHED, Hold, JobState
from oddaemon.domain.query import JOB_FILTER_FIELDS, JOB_SORT_FIELDS, LIVE_SORT_FIELDS, Term, alternatives
from oddaemon.domain.source import SourceKind
from oddaemon.domain.types import EntryId, JobNumber
from oddaemon.ports.store import Query
from oddaemon.store.repositories.portable import (
    MAX_INT,
    bad_value,
    holds_any,
    no_field,
    one_of,
    ordered,
    truths,
    whole_numbers,
)
from oddaemon.store.scope import Scope
from oddaemon.store.tables import jobs, users

PAUSED = "paused"
_STATES = (*(state.value for state in JobState), PAUSED)
_HOLDS = tuple(hold.value for hold in Hold)
_KINDS = tuple(kind.value for kind in SourceKind)

Clause = sa.ColumnElement[bool]
_C = jobs.c


def matching(scope: Scope, query: Query) -> tuple[int, list[JobNumber]]:
    """How many jobs match, and the numbers of those on the page. Raises InvalidFilter."""
    clauses = _clauses(scope.dialect, query)
    counting = sa.select(sa.func.count()).select_from(jobs).where(*clauses)
    total = scope.number(counting)
    if query.limit <= 0 or query.offset >= total:
        return total, []
    page = (
        sa.select(_C.number)
        .where(*clauses)
        .order_by(*_order(query))
        .offset(min(max(query.offset, 0), MAX_INT))
        .limit(min(query.limit, MAX_INT))
    )
    return total, [JobNumber(row[0]) for row in scope.rows(page)]


def _clauses(dialect: str, query: Query) -> list[Clause]:
    clauses: list[Clause] = []
    if query.user_id is not None:
        clauses.append(_C.user_id == query.user_id)
    if query.finished_since is not None:
        clauses.append(sa.or_(_C.completed_at.is_(None), _C.completed_at >= query.finished_since))
    for term in query.terms:
        if term.field == "tag":
            clauses.append(holds_any(_C.tags, alternatives(term), dialect))
        elif (compile_term := _FILTERS.get(term.field)) is not None:
            clauses.append(compile_term(term))
        else:
            raise no_field(term.field, JOB_FILTER_FIELDS, position=term.position)
    return clauses


def _order(query: Query) -> list[sa.ColumnElement[Any]]:
    order: list[sa.ColumnElement[Any]] = []
    for key in query.sort:
        if key.field in LIVE_SORT_FIELDS:
            if figures := query.live.get(key.field):
                order.append(ordered(key, _live(figures)))
            continue
        if key.field not in _SORTS:
            raise no_field(key.field, JOB_SORT_FIELDS, where="sort")
        order.append(ordered(key, _SORTS[key.field]))
        if key.field == "id":
            return order
    return [*order, _C.number]


def _live(figures: Mapping[EntryId, float]) -> sa.ColumnElement[Any]:
    known = [(sa.literal(entry_id, _C.entry_id.type), sa.literal(value)) for entry_id, value in figures.items()]
    figure = sa.case(*known, value=_C.entry_id, else_=None)
    return sa.case((_C.state.in_([state.value for state in UNFINISHED]), figure), else_=None)


def _ids(term: Term) -> Clause:
    numbers: list[int] = []
    ids: list[UUID] = []
    for value in alternatives(term):
        if value.isascii() and value.isdigit() and len(value) <= 18:
            numbers.append(int(value))
            continue
        try:
            ids.append(UUID(value))
        except ValueError:
            raise bad_value(term, value, "a job's number or UUID") from None
    return sa.or_(_C.number.in_(numbers), _C.id.in_(ids))


def _state(term: Term) -> Clause:
    """A paused job is queued and held by its user; `queued` are the others."""
    wanted = set(one_of(term, _STATES))
    paused = sa.and_(_C.state == JobState.QUEUED.value, _C.hold == Hold.USER.value)
    clauses: list[Clause] = []
    if PAUSED in wanted:
        wanted.discard(PAUSED)
        if JobState.QUEUED.value not in wanted:
            clauses.append(paused)
    elif JobState.QUEUED.value in wanted:
        wanted.discard(JobState.QUEUED.value)
        clauses.append(sa.and_(_C.state == JobState.QUEUED.value, _C.hold != Hold.USER.value))
    if wanted:
        clauses.append(_C.state.in_(sorted(wanted)))
    return sa.or_(*clauses)


def _user(term: Term) -> Clause:
    return _C.user_id.in_(sa.select(users.c.id).where(users.c.username.in_(alternatives(term))))


def _hit(term: Term) -> Clause:
    wanted = truths(term)
    return sa.true() if len(wanted) == 2 else _C.cache_hit.is_(True in wanted)


def _text(column: sa.Column[Any]) -> Callable[[Term], Clause]:
    return lambda term: column.in_(alternatives(term))


_FILTERS: Mapping[str, Callable[[Term], Clause]] = {
    "id": _ids,
    "name": _text(_C.name),
    "state": _state,
    "engine": _text(_C.engine),
    "node": _text(_C.node_id),
    "user": _user,
    "hold": lambda term: _C.hold.in_(one_of(term, _HOLDS)),
    "kind": lambda term: _C.kind.in_(one_of(term, _KINDS)),
    "priority": lambda term: _C.priority.in_(whole_numbers(term)),
    "key": _text(_C.cache_key),
    "hit": _hit,
}

_SORTS: Mapping[str, sa.ColumnElement[Any]] = {
    "id": _C.number,
    "name": sa.func.lower(_C.name),
    "state": sa.case((sa.and_(_C.state == "queued", _C.hold == "user"), PAUSED), else_=_C.state),
    "size": _C.size,
    "done": _C.done,
    "progress": sa.case((_C.size > 0, sa.cast(_C.done, sa.Float()) / sa.cast(_C.size, sa.Float())), else_=None),
    "created": _C.created_at,
    "started": _C.started_at,
    "completed": _C.completed_at,
    "priority": _C.priority,
    "engine": _C.engine,
    "user": sa.select(users.c.username).where(users.c.id == _C.user_id).scalar_subquery(),
}
