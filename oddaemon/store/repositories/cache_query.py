"""Filters and sort orders of cache lists → SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from oddaemon.domain.filter_fields import CACHE_FIELDS, Kind
from oddaemon.domain.filter_tree import EVERYTHING, Node, Op, Term
from oddaemon.domain.job import JobState
from oddaemon.domain.query import CACHE_SORT_FIELDS
from oddaemon.domain.types import EntryId, JobNumber, UserId
from oddaemon.ports.store import Query
from oddaemon.store.repositories.filter_sql import Texts, certain, compared, compiled, text_is, truth
from oddaemon.store.repositories.portable import MAX_INT, no_field, ordered
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
    if query.where != EVERYTHING:
        leaves = _Leaves(scope, query.user_id, clauses)
        clauses.append(leaves.compile(query.where))
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


class _Leaves:
    """The terms of one filter. Text is looked for among the entries that the caller could be shown, no others; and who
    else claims one, and where, is nobody's to ask."""

    def __init__(self, scope: Scope, user_id: UserId | None, visible: list[Clause]) -> None:
        self._scope = scope
        self._own = () if user_id is None else (jobs.c.user_id == user_id,)
        self._visible = list(visible)
        self._texts = Texts(scope, _E.id, self._visible)
        self._users, self._nodes = Texts(scope, users.c.id), Texts(scope, replicas.c.id)

    def compile(self, where: Node) -> Clause:
        self._texts = Texts(self._scope, _E.id, [*self._visible, compiled(certain(where), self._leaf)])
        return compiled(where, self._leaf)

    def _leaf(self, term: Term) -> Clause:
        if term.field == "user":
            return self._by_user(term)
        if term.field == "node":
            return self._on_node(term)
        if term.field == "pinned":
            return truth(_E.pinned, term)
        expression = _FIELDS[term.field]
        if term.op is Op.HAS:
            return self._texts.found(term, expression)
        return (text_is if CACHE_FIELDS[term.field].kind is Kind.TEXT else compared)(expression, term)

    def _by_user(self, term: Term) -> Clause:
        wanted = (
            self._users.found(term, users.c.username)
            if term.op is Op.HAS
            else compared(users.c.username, term)
        )
        by = jobs.c.user_id.in_(sa.select(users.c.id).where(wanted))
        clauses = [claimed(by, *self._own)]
        if None in term.values:
            clauses.append(sa.not_(claimed(*self._own)))
        return sa.or_(*clauses)

    def _on_node(self, term: Term) -> Clause:
        here = sa.select(sa.literal(1)).where(replicas.c.entry_id == _E.id)
        if term.op is Op.HAS:
            return sa.exists(here.where(self._nodes.found(term, replicas.c.node_id)))
        clauses: list[Clause] = [sa.exists(here.where(compared(replicas.c.node_id, term)))]
        if None in term.values:
            clauses.append(sa.not_(sa.exists(here)))
        return sa.or_(*clauses)


_FIELDS: Mapping[str, sa.ColumnElement[Any]] = {
    "key": _E.key,
    "name": _E.name,
    "engine": _E.engine,
    "size": _E.total_size,
    "hits": _E.hits,
    "age": _E.created_at,
    "created": _E.created_at,
    "last_used": sa.func.coalesce(_E.last_used_at, _E.complete_at, _E.created_at),
}

_SORTS: Mapping[str, sa.ColumnElement[Any]] = {
    "key": _E.key,
    "name": sa.func.lower(_E.name),
    "size": _E.total_size,
    "engine": _E.engine,
    "created": _E.created_at,
    "last_used": _FIELDS["last_used"],
    "hits": _E.hits,
    "pinned": _E.pinned,
}
