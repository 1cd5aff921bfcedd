"""Filters and sort orders of job lists → SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from oddaemon.domain.filter_fields import JOB_FIELDS, PAUSED, Kind
from oddaemon.domain.filter_tree import EVERYTHING, Node, Op, Term
from oddaemon.domain.job import Hold, JobState
from oddaemon.domain.query import ATTENTION, JOB_SORT_FIELDS, LIVE_SORT_FIELDS, SortKey
from oddaemon.domain.types import JobNumber
from oddaemon.ports.store import Query
from oddaemon.store.repositories.filter_sql import Clause, Texts, certain, compared, compiled, text_is, truth
from oddaemon.store.repositories.job_fields import USERNAME, JobFields
from oddaemon.store.repositories.portable import MAX_INT, holds_any, no_field, ordered
from oddaemon.store.scope import Scope
from oddaemon.store.tables import jobs, users

_C = jobs.c


def matching(scope: Scope, query: Query) -> tuple[int, list[JobNumber]]:
    """How many jobs match, and the numbers of those on the page. Raises InvalidFilter for a sort field that there is
    not."""
    clauses = _clauses(scope, query)
    counting = sa.select(sa.func.count()).select_from(jobs).where(*clauses)
    total = scope.number(counting)
    if query.limit <= 0 or query.offset >= total:
        return total, []
    page = (
        sa.select(_C.number)
        .where(*clauses)
        .order_by(*_order(scope, query))
        .offset(min(max(query.offset, 0), MAX_INT))
        .limit(min(query.limit, MAX_INT))
    )
    return total, [JobNumber(row[0]) for row in scope.rows(page)]


def _clauses(scope: Scope, query: Query) -> list[Clause]:
    clauses: list[Clause] = []
    if query.user_id is not None:
        clauses.append(_C.user_id == query.user_id)
    if query.finished_since is not None:
        clauses.append(sa.or_(_C.completed_at.is_(None), _C.completed_at >= query.finished_since))
    if query.where == EVERYTHING:
        return clauses
    leaves = _Leaves(scope, query, clauses)
    return [*clauses, leaves.compile(query.where)]


class _Leaves:
    """The terms of one filter. Text is looked for among the jobs that the caller could be shown, no others."""

    def __init__(self, scope: Scope, query: Query, visible: list[Clause]) -> None:
        self._scope = scope
        self._fields = JobFields(query, scope.dialect)
        self._texts = Texts(scope, _C.number, visible)
        self._visible = visible

    def compile(self, where: Node) -> Clause:
        self._texts = Texts(self._scope, _C.number, [*self._visible, compiled(certain(where), self._leaf)])
        return compiled(where, self._leaf)

    def _leaf(self, term: Term) -> Clause:
        if term.op is Op.HAS:
            return self._texts.found(term, self._fields.expression(term.field))
        if (own := _OWN.get(term.field)) is not None:
            return own(self._scope.dialect, term)
        expression = self._fields.expression(term.field)
        if JOB_FIELDS[term.field].kind is Kind.TEXT:
            return text_is(expression, term)
        return compared(expression, term)


def _order(scope: Scope, query: Query) -> list[sa.ColumnElement[Any]]:
    order: list[sa.ColumnElement[Any]] = []
    fields = JobFields(query, scope.dialect)
    for key in query.sort:
        if key.field == ATTENTION:
            return [*order, *_attention(key)]
        if key.field in LIVE_SORT_FIELDS:
            if (figures := fields.live(key.field)) is not None:
                order.append(ordered(key, figures))
            continue
        if key.field == "name":
            order.append(ordered(key, sa.func.lower(fields.expression("name"))))
            continue
        if key.field in _MOVING:
            order.append(ordered(key, fields.expression(key.field)))
            continue
        if key.field not in _SORTS:
            raise no_field(key.field, JOB_SORT_FIELDS, where="sort")
        order.append(ordered(key, _SORTS[key.field]))
        if key.field == "id":
            return order
    return [*order, _C.number]


def _attention(key: SortKey) -> list[sa.ColumnElement[Any]]:
    """No two jobs are equal in it: what stands behind it in an order would say nothing. Nothing in it is NULL."""
    waits = sa.case((_C.hold == Hold.NONE.value, 2), else_=1)
    rank = sa.case(
        {JobState.ACTIVE.value: 0, JobState.QUEUED.value: waits, JobState.FAILED.value: 1}, value=_C.state, else_=3
    )
    in_turn = sa.and_(_C.state == JobState.QUEUED.value, _C.hold == Hold.NONE.value)
    within = (rank, sa.case((in_turn, -_C.priority), else_=0), sa.case((in_turn, _C.number), else_=-_C.number))
    return [expression.desc() if key.descending else expression for expression in within]


def _ids(_dialect: str, term: Term) -> Clause:
    numbers = [value for value in term.values if not isinstance(value, UUID)]
    ids = [value for value in term.values if isinstance(value, UUID)]
    by_number = [compared(_C.number, Term(field="id", op=term.op, values=tuple(numbers)))] if numbers else []
    return sa.or_(*by_number, *([_C.id.in_(ids)] if ids else []))


def _state(_dialect: str, term: Term) -> Clause:
    """A paused job is queued and held by its user; `queued` are the others."""
    wanted = set(term.values)
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
        clauses.append(_C.state.in_(sorted(str(value) for value in wanted)))
    return sa.or_(*clauses)


def _user(_dialect: str, term: Term) -> Clause:
    return _C.user_id.in_(sa.select(users.c.id).where(compared(users.c.username, term)))


def _tag(dialect: str, term: Term) -> Clause:
    wanted = [value for value in term.values if isinstance(value, str)]
    some = [holds_any(_C.tags, wanted, dialect)] if wanted else []
    return sa.or_(*some, *([sa.not_(holds_any(_C.tags, None, dialect))] if None in term.values else []))


_OWN: Mapping[str, Callable[[str, Term], Clause]] = {
    "id": _ids,
    "state": _state,
    "user": _user,
    "tag": _tag,
    "hit": lambda _dialect, term: truth(_C.cache_hit, term),
}
"""Those that are more than a comparison with one value."""

_MOVING = ("size", "done", "progress")
"""Sorted as they are shown: by what is known now of what runs, in its place by what is stored."""
_SORTS: Mapping[str, sa.ColumnElement[Any]] = {
    "id": _C.number,
    "state": sa.case((sa.and_(_C.state == "queued", _C.hold == "user"), PAUSED), else_=_C.state),
    "created": _C.created_at,
    "started": _C.started_at,
    "completed": _C.completed_at,
    "priority": _C.priority,
    "engine": _C.engine,
    "user": USERNAME,
}
