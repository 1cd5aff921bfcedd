"""Join tokens ↔ rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from oddaemon.domain.join_token import KeptToken
from oddaemon.domain.types import UserId
from oddaemon.store.rows import (
    RawRow,
    bool_of,
    bytes_of,
    int_of,
    raw_columns,
    text_of,
    text_or_none,
    time_of,
    time_or_none,
    uuid_of,
)
from oddaemon.store.scope import Scope
from oddaemon.store.tables import join_tokens

_C = join_tokens.c
COLUMNS = (
    _C.id, _C.key, _C.name, _C.reusable, _C.created_by, _C.created_at, _C.expires_at, _C.uses, _C.used_at,
)  # fmt: skip
_ROW_ID: sa.BindParameter[Any] = sa.bindparam("row_id")
_AT: sa.BindParameter[Any] = sa.bindparam("at", type_=_C.used_at.type)
_SELECT = sa.select(*raw_columns(*COLUMNS))
_BY_ID = _SELECT.where(_C.id == _ROW_ID)
_ALL = _SELECT.order_by(_C.created_at, _C.id)
_INSERT = sa.insert(join_tokens)
_USE = (
    sa.update(join_tokens)
    .where(_C.id == _ROW_ID, _C.expires_at > _AT, sa.or_(_C.reusable.is_(sa.true()), _C.uses == 0))
    .values({_C.uses: _C.uses + 1, _C.used_at: _AT})
)
_DELETE = sa.delete(join_tokens).where(_C.id == _ROW_ID)


def token_of(row: RawRow) -> KeptToken:
    id_, key, name, reusable, created_by, created_at, expires_at, uses, used_at = row
    return KeptToken(
        id=text_of(id_),
        key=bytes_of(key),
        name=text_or_none(name),
        reusable=bool_of(reusable),
        created_by=UserId(uuid_of(created_by)),
        created_at=time_of(created_at),
        expires_at=time_of(expires_at),
        uses=int_of(uses),
        used_at=time_or_none(used_at),
    )


class SqlJoinTokens:
    """Meets ports.store_daemon.JoinTokenRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def insert(self, token: KeptToken) -> None:
        row = {
            "id": token.id,
            "key": token.key,
            "name": token.name,
            "reusable": token.reusable,
            "created_by": token.created_by,
            "created_at": token.created_at,
            "expires_at": token.expires_at,
            "uses": token.uses,
            "used_at": token.used_at,
        }
        self._scope.run(_INSERT, row)

    def get(self, token_id: str) -> KeptToken | None:
        return self._scope.one(join_tokens, token_of, self._scope.row(_BY_ID, {"row_id": token_id}))

    def all(self) -> Sequence[KeptToken]:
        return self._scope.converted(join_tokens, token_of, self._scope.rows(_ALL))

    def use(self, token_id: str, at: datetime) -> bool:
        return self._scope.run(_USE, {"row_id": token_id, "at": at}) > 0

    def delete(self, token_id: str) -> bool:
        return self._scope.run(_DELETE, {"row_id": token_id}) > 0

    def trim(self, expired_before: datetime) -> int:
        return self._scope.run(sa.delete(join_tokens).where(_C.expires_at < expired_before))
