"""Users ↔ rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from oddaemon.domain.errors import AlreadyExists, NotFound
from oddaemon.domain.types import UserId
from oddaemon.domain.user import Role, User, UserLimits
from oddaemon.store.repositories.portable import insert_new
from oddaemon.store.rows import (
    RawRow,
    bool_of,
    int_of,
    int_or_none,
    object_of,
    raw_columns,
    text_of,
    text_or_none,
    time_of,
    time_or_none,
    uuid_of,
)
from oddaemon.store.scope import Scope
from oddaemon.store.tables import users

_C = users.c
COLUMNS = (
    _C.id, _C.username, _C.role, _C.created_at, _C.updated_at, _C.email, _C.password, _C.is_active, _C.limits,
    _C.unix_uid, _C.last_seen_at, _C.generation,
)  # fmt: skip
_SELECT = sa.select(*raw_columns(*COLUMNS))
_BY_ID = _SELECT.where(_C.id == sa.bindparam("row_id"))
_BY_NAME = _SELECT.where(_C.username == sa.bindparam("wanted_name"))
_BY_UID = _SELECT.where(_C.unix_uid == sa.bindparam("wanted_uid"))
_ALL = _SELECT.order_by(_C.username)
_INSERT = {dialect: insert_new(users, dialect) for dialect in ("sqlite", "postgresql")}
_UPDATE = (
    sa.update(users)
    .where(_C.id == sa.bindparam("row_id"))
    .values(
        {
            column: sa.bindparam(column.name, type_=column.type)
            for column in users.columns
            if column not in (_C.id, _C.last_seen_at)
        }
    )
)
_SEEN = (
    sa.update(users)
    .where(_C.id == sa.bindparam("row_id"))
    .values(last_seen_at=sa.bindparam("at", type_=_C.last_seen_at.type))
)
_DELETE = sa.delete(users).where(_C.id == sa.bindparam("row_id"))


def user_of(row: RawRow) -> User:
    (
        id_, username, role, created_at, updated_at, email, password, is_active, limits, unix_uid, last_seen_at,
        generation,
    ) = row  # fmt: skip
    return User(
        id=UserId(uuid_of(id_)),
        username=text_of(username),
        role=Role(role),
        created_at=time_of(created_at),
        updated_at=time_of(updated_at),
        email=text_or_none(email),
        password=text_or_none(password),
        is_active=bool_of(is_active),
        limits=limits_of(limits),
        unix_uid=int_or_none(unix_uid),
        last_seen_at=time_or_none(last_seen_at),
        generation=int_of(generation),
    )


def limits_of(raw: object) -> UserLimits:
    if raw is None:
        return UserLimits()
    return UserLimits(**{name: int_or_none(value) for name, value in object_of(raw).items()})  # type: ignore[arg-type]


def _limits_row(limits: UserLimits) -> dict[str, int] | None:
    """Only those that are set."""
    return {name: value for name, value in dataclasses.asdict(limits).items() if value is not None} or None


def user_row(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "username": user.username,
        "role": user.role.value,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "email": user.email,
        "password": user.password,
        "is_active": user.is_active,
        "limits": _limits_row(user.limits),
        "unix_uid": user.unix_uid,
        "last_seen_at": user.last_seen_at,
        "generation": user.generation,
    }


class SqlUsers:
    """Meets ports.store_accounts.UserRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def insert(self, user: User) -> None:
        if not self._scope.insert(_INSERT[self._scope.dialect], user_row(user)):
            raise AlreadyExists(f"there is a user {user.username} already, or one with the same email address or uid")

    def update(self, user: User) -> None:
        row = user_row(user)
        row["row_id"] = row.pop("id")
        row.pop("last_seen_at")
        if not self._scope.run(_UPDATE, row):
            raise NotFound(f"there is no user {user.username}")

    def get(self, user_id: UserId) -> User | None:
        return self._scope.one(users, user_of, self._scope.kept_row(_BY_ID, {"row_id": user_id}, user_id))

    def by_name(self, username: str) -> User | None:
        return self._scope.one(users, user_of, self._scope.row(_BY_NAME, {"wanted_name": username}))

    def by_uid(self, uid: int) -> User | None:
        return self._scope.one(users, user_of, self._scope.row(_BY_UID, {"wanted_uid": uid}))

    def all(self) -> Sequence[User]:
        return self._scope.converted(users, user_of, self._scope.rows(_ALL))

    def note_seen(self, seen: Mapping[UserId, datetime]) -> None:
        if seen:
            self._scope.run(_SEEN, [{"row_id": user_id, "at": at} for user_id, at in seen.items()])

    def delete(self, user_id: UserId) -> None:
        self._scope.run(_DELETE, {"row_id": user_id})
