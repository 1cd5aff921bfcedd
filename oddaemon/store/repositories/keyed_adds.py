"""Adds with an idempotency key ↔ rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from oddaemon.domain.keyed_add import KeyedAdd
from oddaemon.domain.types import JobId, UserId
from oddaemon.store.rows import RawRow, raw_columns, strings_of, text_of, text_or_none, time_of, uuid_of
from oddaemon.store.scope import Scope
from oddaemon.store.tables import keyed_adds

_C = keyed_adds.c
COLUMNS = (_C.user_id, _C.key, _C.digest, _C.job_ids, _C.created_at, _C.answer)
_OF_USER: sa.BindParameter[Any] = sa.bindparam("of_user")
_OF_KEY: sa.BindParameter[Any] = sa.bindparam("of_key")
_THIS = (_C.user_id == _OF_USER, _C.key == _OF_KEY)
_GET = sa.select(*raw_columns(*COLUMNS)).where(*_THIS)
_INSERT = sa.insert(keyed_adds)
_DELETE = sa.delete(keyed_adds).where(*_THIS)
_TRIM = sa.delete(keyed_adds).where(_C.created_at < sa.bindparam("before", type_=_C.created_at.type))


def keyed_add_of(row: RawRow) -> KeyedAdd:
    user_id, key, digest, job_ids, created_at, answer = row
    return KeyedAdd(
        user_id=UserId(uuid_of(user_id)),
        key=text_of(key),
        digest=text_of(digest),
        job_ids=tuple(JobId(uuid_of(text)) for text in strings_of(job_ids)),
        created_at=time_of(created_at),
        answer=text_or_none(answer),
    )


class SqlKeyedAdds:
    """Meets ports.store_accounts.KeyedAddRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def get(self, user_id: UserId, key: str) -> KeyedAdd | None:
        row = self._scope.row(_GET, {"of_user": user_id, "of_key": key})
        return self._scope.one(keyed_adds, keyed_add_of, row, keys=2)

    def put(self, added: KeyedAdd) -> None:
        self.delete(added.user_id, added.key)
        row = {
            "user_id": added.user_id,
            "key": added.key,
            "digest": added.digest,
            "job_ids": [str(job_id) for job_id in added.job_ids],
            "created_at": added.created_at,
            "answer": added.answer,
        }
        self._scope.run(_INSERT, row)

    def delete(self, user_id: UserId, key: str) -> None:
        self._scope.run(_DELETE, {"of_user": user_id, "of_key": key})

    def trim(self, before: datetime) -> int:
        return self._scope.run(_TRIM, {"before": before})
