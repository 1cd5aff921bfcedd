"""Links ↔ rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from oddaemon.domain.link import Link, LinkKind, LinkState
from oddaemon.domain.types import Bytes, EntryId, JobId, LinkId, NodeId, ReplicaId, UserId
from oddaemon.ports.store import Page
from oddaemon.store.repositories.portable import MAX_INT
from oddaemon.store.rows import (
    RawRow,
    bool_of,
    chunks,
    int_of,
    int_or_none,
    raw_columns,
    storable,
    text_of,
    text_or_none,
    time_of,
    time_or_none,
    uuid_of,
)
from oddaemon.store.scope import Scope
from oddaemon.store.tables import download_links

_C = download_links.c
COLUMNS = (
    _C.id, _C.job_id, _C.user_id, _C.entry_id, _C.replica_id, _C.node_id, _C.kind, _C.path, _C.file_index,
    _C.created_at, _C.expires_at, _C.inline, _C.revoked_at, _C.access_count, _C.bytes_served, _C.last_used_at,
    _C.max_uses, _C.uses_left, _C.address,
)  # fmt: skip
_SELECT = sa.select(*raw_columns(*COLUMNS))
_BY_ID = _SELECT.where(_C.id == sa.bindparam("row_id"))
_LISTED = _SELECT.where(_C.job_removed.is_(sa.false()))
_OF_JOB = _LISTED.where(_C.job_id == sa.bindparam("of_job")).order_by(_C.created_at, _C.id)
_COUNT = sa.select(sa.func.count()).select_from(download_links).where(_C.job_removed.is_(sa.false()))
_EXPIRED = _C.expires_at <= sa.bindparam("now", type_=_C.expires_at.type)
_IN_STATE: Mapping[LinkState | None, sa.ColumnElement[bool]] = {
    None: sa.true(),
    LinkState.REVOKED: _C.revoked_at.is_not(None),
    LinkState.EXPIRED: _C.revoked_at.is_(None) & _EXPIRED,
    LinkState.USED_UP: _C.revoked_at.is_(None) & ~_EXPIRED & (_C.uses_left == 0),
    LinkState.LIVE: _C.revoked_at.is_(None) & ~_EXPIRED & (_C.uses_left.is_(None) | (_C.uses_left > 0)),
}
"""As `Link.state`."""


def _pages(state: LinkState | None, *, of_user: bool) -> tuple[sa.Executable, sa.Executable]:
    wanted = _IN_STATE[state]
    if of_user:
        wanted &= _C.user_id == sa.bindparam("of_user")
    newest = _LISTED.where(wanted).order_by(_C.created_at.desc(), _C.id.desc())
    return newest.offset(sa.bindparam("skip")).limit(sa.bindparam("most")), _COUNT.where(wanted)


_PAGES = {(state, of_user): _pages(state, of_user=of_user) for state in _IN_STATE for of_user in (False, True)}
"""The page, and how many there are."""
_INSERT = sa.insert(download_links)
_REVOKE = (
    sa.update(download_links)
    .where(_C.id.in_(sa.bindparam("ids", expanding=True)), _C.revoked_at.is_(None))
    .values(revoked_at=sa.bindparam("at", type_=_C.revoked_at.type))
)
_ALIVE = sa.select(*raw_columns(_C.id)).where(
    _C.revoked_at.is_(None), _C.expires_at > sa.bindparam("now", type_=_C.expires_at.type)
)
_ALIVE_OF = _ALIVE.where(_C.user_id == sa.bindparam("of_user"))
_REVOKED = sa.select(*raw_columns(_C.id, _C.expires_at)).where(
    _C.revoked_at.is_not(None), _C.expires_at > sa.bindparam("now", type_=_C.expires_at.type)
)
_USE = (
    sa.update(download_links)
    .where(_C.id == sa.bindparam("row_id"))
    .values(
        access_count=_C.access_count + sa.bindparam("accesses"),
        bytes_served=_C.bytes_served + sa.bindparam("served"),
        last_used_at=sa.bindparam("at", type_=_C.last_used_at.type),
    )
)
_TAKE = (
    sa.update(download_links)
    .where(_C.id == sa.bindparam("row_id"), _C.uses_left > 0)
    .values(uses_left=_C.uses_left - 1)
)
_TRIM = sa.delete(download_links).where(_C.expires_at < sa.bindparam("before", type_=_C.expires_at.type))


def link_of(row: RawRow) -> Link:
    """A row of `COLUMNS`."""
    (
        id_, job_id, user_id, entry_id, replica_id, node_id, kind, path, file_index,
        created_at, expires_at, inline, revoked_at, access_count, bytes_served, last_used_at, max_uses, uses_left,
        address,
    ) = row  # fmt: skip
    return Link(
        id=LinkId(uuid_of(id_)),
        job_id=JobId(uuid_of(job_id)),
        user_id=UserId(uuid_of(user_id)),
        entry_id=EntryId(uuid_of(entry_id)),
        replica_id=ReplicaId(uuid_of(replica_id)),
        node_id=NodeId(text_of(node_id)),
        kind=LinkKind(kind),
        path=text_of(path),
        file_index=int_of(file_index),
        created_at=time_of(created_at),
        expires_at=time_of(expires_at),
        inline=bool_of(inline),
        revoked_at=time_or_none(revoked_at),
        access_count=int_of(access_count),
        bytes_served=Bytes(int_of(bytes_served)),
        last_used_at=time_or_none(last_used_at),
        max_uses=int_or_none(max_uses),
        uses_left=int_or_none(uses_left),
        address=text_or_none(address),
    )


def link_row(link: Link) -> dict[str, Any]:
    return {
        "id": link.id,
        "job_id": link.job_id,
        "user_id": link.user_id,
        "entry_id": link.entry_id,
        "replica_id": link.replica_id,
        "node_id": link.node_id,
        "kind": link.kind.value,
        "path": storable(link.path),
        "file_index": link.file_index,
        "created_at": link.created_at,
        "expires_at": link.expires_at,
        "inline": link.inline,
        "revoked_at": link.revoked_at,
        "access_count": link.access_count,
        "bytes_served": link.bytes_served,
        "last_used_at": link.last_used_at,
        "job_removed": False,
        "max_uses": link.max_uses,
        "uses_left": link.uses_left,
        "address": link.address,
    }


class SqlLinks:
    """Meets ports.store.LinkRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def insert(self, link: Link) -> None:
        self._scope.run(_INSERT, link_row(link))

    def get(self, link_id: LinkId) -> Link | None:
        return self._scope.one(download_links, link_of, self._scope.row(_BY_ID, {"row_id": link_id}))

    def of_job(self, job_id: JobId) -> Sequence[Link]:
        return self._many(_OF_JOB, {"of_job": job_id})

    def of_user(
        self, user_id: UserId | None, *, now: datetime, offset: int, limit: int, state: LinkState | None = None
    ) -> Page[Link]:
        page, count = _PAGES[state, user_id is not None]
        wanted: dict[str, Any] = {} if user_id is None else {"of_user": user_id}
        if state not in (None, LinkState.REVOKED):
            wanted["now"] = now
        window = {"skip": min(max(offset, 0), MAX_INT), "most": min(max(limit, 0), MAX_INT)}
        return Page(rows=self._many(page, {**wanted, **window}), total=self._scope.number(count, wanted))

    def alive(self, user_id: UserId | None, now: datetime) -> Sequence[LinkId]:
        whose = {} if user_id is None else {"of_user": user_id}
        rows = self._scope.rows(_ALIVE_OF if whose else _ALIVE, {**whose, "now": now})
        return self._scope.converted(download_links, lambda row: LinkId(uuid_of(row[0])), rows)

    def revoke(self, link_ids: Collection[LinkId], at: datetime) -> None:
        for chunk in chunks(link_ids):
            self._scope.run(_REVOKE, {"ids": chunk, "at": at})

    def revoked(self, now: datetime) -> Sequence[tuple[LinkId, datetime]]:
        rows = self._scope.rows(_REVOKED, {"now": now})
        return self._scope.converted(
            download_links, lambda row: (LinkId(uuid_of(row[0])), time_of(row[1])), rows
        )

    def add_usage(self, usage: Mapping[LinkId, tuple[int, Bytes]], at: datetime) -> None:
        rows = [
            {"row_id": link_id, "accesses": accesses, "served": served, "at": at}
            for link_id, (accesses, served) in usage.items()
        ]
        if rows:
            self._scope.run(_USE, rows)

    def take_use(self, link_id: LinkId) -> bool:
        return self._scope.run(_TAKE, {"row_id": link_id}) == 1

    def trim(self, expired_before: datetime) -> int:
        return self._scope.run(_TRIM, {"before": expired_before})

    def _many(self, statement: sa.Executable, params: Mapping[str, Any]) -> list[Link]:
        return self._scope.converted(download_links, link_of, self._scope.rows(statement, params))
