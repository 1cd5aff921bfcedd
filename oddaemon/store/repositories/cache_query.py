"""Filters and sort orders of cache lists → SQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import sqlalchemy as sa

from oddaemon.domain.job import JobState
from oddaemon.domain.query import CACHE_FILTER_FIELDS, CACHE_SORT_FIELDS, Term, alternatives
from oddaemon.domain.types import EntryId, JobNumber, UserId
from oddaemon.ports.store import Query
from oddaemon.store.repositories.portable import MAX_INT, no_field, ordered, truths
from oddaemon.store.rows import chunks, uuid_of
from oddaemon.store.scope import Scope
from oddaemon.store.tables import cache_entries, jobs, replicas, users

Clause = sa.ColumnElement[bool]
_E = cache_entries.c

_CLAIMS = (
    sa.select(jobs.c.entry_id, jobs.c.number, users.c.username)
    .select_from(jobs.join(users, jobs.c.user_id == users.c.id))
    .where(
        jobs.c.entry_id.in_(sa.bindparam("ids", expanding=True)),
        jobs.c.state != JobState.CANCELLED.value,
    )
    .order_by(jobs.c.number)
)
_CLAIMS_BY = _CLAIMS.where(jobs.c.user_id == sa.bindparam("claimant"))


def claimed(*conditions: Clause) -> Clause:
    """Whether a job in any state but cancelled wants the entry, with more `conditions` on the job."""
    return sa.exists(
        sa.select(sa.literal(1)).where(
            jobs.c.entry_id == _E.id, jobs.c.state != JobState.CANCELLED.value, *conditions
        )
    )


def matching(scope: Scope, query: Query, key: str | None) -> tuple[int, list[EntryId]]:
    """How many entries match, and those on the page. A user's are those that a job of theirs claims. Raises
    InvalidFilter."""
    clauses: list[Clause] = []
    if key is not None:
        clauses.append(_E.key == key)
    if query.user_id is not None:
        clauses.append(claimed(jobs.c.user_id == query.user_id))
    for term in query.terms:
        if term.field not in _FILTERS:
            raise no_field(term.field, CACHE_FILTER_FIELDS, position=term.position)
        if term.field == "user" and query.user_id is not None:
            # who else claims the same is nobody's to ask
            clauses.append(claimed(_claimed_by(term), jobs.c.user_id == query.user_id))
            continue
        clauses.append(_FILTERS[term.field](term))
    total = scope.number(sa.select(sa.func.count()).select_from(cache_entries).where(*clauses))
    if query.limit <= 0 or query.offset >= total:
        return total, []
    page = (
        sa.select(sa.type_coerce(_E.id, sa.types.NullType()))
        .where(*clauses)
        .order_by(*_order(query), _E.key, _E.generation)
        .offset(min(max(query.offset, 0), MAX_INT))
        .limit(min(query.limit, MAX_INT))
    )
    return total, [EntryId(uuid_of(row[0])) for row in scope.rows(page)]


def claims_of(
    scope: Scope, ids: Collection[EntryId], user_id: UserId | None
) -> Mapping[EntryId, list[tuple[JobNumber, str]]]:
    """Number and user of the jobs that claim each entry, in number order."""
    found: dict[EntryId, list[tuple[JobNumber, str]]] = {entry_id: [] for entry_id in ids}
    for chunk in chunks(found.keys()):
        if user_id is None:
            rows = scope.rows(_CLAIMS, {"ids": chunk})
        else:
            rows = scope.rows(_CLAIMS_BY, {"ids": chunk, "claimant": user_id})
        for entry_id, number, username in rows:
            found[EntryId(entry_id)].append((JobNumber(number), username))
    return found


def _order(query: Query) -> list[sa.ColumnElement[Any]]:
    for key in query.sort:
        if key.field not in _SORTS:
            raise no_field(key.field, CACHE_SORT_FIELDS, where="sort")
    return [ordered(key, _SORTS[key.field]) for key in query.sort]


def _text(column: sa.Column[Any]) -> Callable[[Term], Clause]:
    return lambda term: column.in_(alternatives(term))


def _pinned(term: Term) -> Clause:
    wanted = truths(term)
    return sa.true() if len(wanted) == 2 else _E.pinned.is_(True in wanted)


def _node(term: Term) -> Clause:
    return sa.exists(
        sa.select(sa.literal(1)).where(
            replicas.c.entry_id == _E.id, replicas.c.node_id.in_(alternatives(term))
        )
    )


def _claimed_by(term: Term) -> Clause:
    return jobs.c.user_id.in_(sa.select(users.c.id).where(users.c.username.in_(alternatives(term))))


_FILTERS: Mapping[str, Callable[[Term], Clause]] = {
    "key": _text(_E.key),
    "name": _text(_E.name),
    "engine": _text(_E.engine),
    "pinned": _pinned,
    "node": _node,
    "user": lambda term: claimed(_claimed_by(term)),
}

_SORTS: Mapping[str, sa.ColumnElement[Any]] = {
    "key": _E.key,
    "name": sa.func.lower(_E.name),
    "size": _E.total_size,
    "engine": _E.engine,
    "created": _E.created_at,
    "last_used": sa.func.coalesce(_E.last_used_at, _E.complete_at, _E.created_at),
    "hits": _E.hits,
    "pinned": _E.pinned,
}
