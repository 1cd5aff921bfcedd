"""What users' links give a day ↔ rows."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from oddaemon.domain.types import Bytes, UserId
from oddaemon.store.repositories.portable import adding
from oddaemon.store.rows import RawRow, int_of, raw_columns, uuid_of
from oddaemon.store.scope import Scope
from oddaemon.store.tables import served_bytes

_C = served_bytes.c
COLUMNS = (_C.user_id, _C.day, _C.bytes)
_ON = sa.select(*raw_columns(*COLUMNS)).where(_C.day == sa.bindparam("on_day"))
_ADD = {dialect: adding(served_bytes, dialect, "bytes", "user_id", "day") for dialect in ("sqlite", "postgresql")}
_TRIM = sa.delete(served_bytes).where(_C.day < sa.bindparam("before"))


def served_of(row: RawRow) -> tuple[UserId, int, Bytes]:
    user_id, day, count = row
    return UserId(uuid_of(user_id)), int_of(day), Bytes(int_of(count))


class SqlServed:
    """Meets ports.store_accounts.ServedRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def add(self, day: int, served: Mapping[UserId, Bytes]) -> None:
        rows = [{"user_id": user_id, "day": day, "bytes": count} for user_id, count in served.items()]
        if rows:
            self._scope.run(_ADD[self._scope.dialect], rows)

    def on(self, day: int) -> Mapping[UserId, Bytes]:
        rows = self._scope.rows(_ON, {"on_day": day})
        found = self._scope.converted(served_bytes, served_of, rows, keys=2)
        return {user_id: count for user_id, _, count in found}

    def trim(self, before: int) -> int:
        return self._scope.run(_TRIM, {"before": before})
