"""API keys, sessions and invitations ↔ rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from oddaemon.domain.credentials import ApiKey, Invitation, InvitationId, KeyId, Session, SessionId
from oddaemon.domain.errors import AlreadyExists, NotFound
from oddaemon.domain.types import UserId
from oddaemon.domain.user import Role
from oddaemon.domain.user import Scope as KeyScope
from oddaemon.store.repositories.portable import insert_new
from oddaemon.store.rows import RawRow, raw_columns, strings_of, text_of, time_of, time_or_none, uuid_of
from oddaemon.store.scope import Scope
from oddaemon.store.tables import api_keys, invitations, sessions

_K, _S, _I = api_keys.c, sessions.c, invitations.c
KEY_COLUMNS = (_K.id, _K.user_id, _K.name, _K.digest, _K.scopes, _K.created_at, _K.expires_at, _K.last_used_at)
SESSION_COLUMNS = (_S.id, _S.user_id, _S.digest, _S.created_at, _S.expires_at)
INVITATION_COLUMNS = (_I.id, _I.digest, _I.role, _I.created_by, _I.created_at, _I.expires_at)

_ROW_ID: sa.BindParameter[Any] = sa.bindparam("row_id")
_OF_USER: sa.BindParameter[Any] = sa.bindparam("of_user")
_KEY = sa.select(*raw_columns(*KEY_COLUMNS))
_KEY_BY_ID = _KEY.where(_K.id == _ROW_ID)
_KEYS_OF = _KEY.where(_K.user_id == _OF_USER).order_by(_K.created_at, _K.id)
_KEY_INSERT = {dialect: insert_new(api_keys, dialect) for dialect in ("sqlite", "postgresql")}
_KEY_UPDATE = (
    sa.update(api_keys)
    .where(_K.id == _ROW_ID)
    .values({_K.digest: sa.bindparam("digest"), _K.expires_at: sa.bindparam("expires_at", type_=_K.expires_at.type)})
)
_KEY_USED = (
    sa.update(api_keys).where(_K.id == _ROW_ID).values(last_used_at=sa.bindparam("at", type_=_K.last_used_at.type))
)
_SESSION = sa.select(*raw_columns(*SESSION_COLUMNS))
_SESSION_BY_ID = _SESSION.where(_S.id == _ROW_ID)
_SESSIONS_OF = _SESSION.where(_S.user_id == _OF_USER).order_by(_S.created_at, _S.id)
_SESSION_INSERT = sa.insert(sessions)
_SESSION_UPDATE = (
    sa.update(sessions)
    .where(_S.id == _ROW_ID)
    .values({_S.digest: sa.bindparam("digest"), _S.expires_at: sa.bindparam("expires_at", type_=_S.expires_at.type)})
)
_INVITATION = sa.select(*raw_columns(*INVITATION_COLUMNS))
_INVITATION_BY_ID = _INVITATION.where(_I.id == _ROW_ID)
_INVITATIONS = _INVITATION.order_by(_I.created_at, _I.id)
_INVITATION_INSERT = sa.insert(invitations)


def key_of(row: RawRow) -> ApiKey:
    id_, user_id, name, digest, scopes, created_at, expires_at, last_used_at = row
    return ApiKey(
        id=KeyId(uuid_of(id_)),
        user_id=UserId(uuid_of(user_id)),
        name=text_of(name),
        digest=text_of(digest),
        scopes=frozenset(KeyScope(scope) for scope in strings_of(scopes)),
        created_at=time_of(created_at),
        expires_at=time_or_none(expires_at),
        last_used_at=time_or_none(last_used_at),
    )


def session_of(row: RawRow) -> Session:
    id_, user_id, digest, created_at, expires_at = row
    return Session(
        id=SessionId(uuid_of(id_)),
        user_id=UserId(uuid_of(user_id)),
        digest=text_of(digest),
        created_at=time_of(created_at),
        expires_at=time_of(expires_at),
    )


def invitation_of(row: RawRow) -> Invitation:
    id_, digest, role, created_by, created_at, expires_at = row
    return Invitation(
        id=InvitationId(uuid_of(id_)),
        digest=text_of(digest),
        role=Role(role),
        created_by=UserId(uuid_of(created_by)),
        created_at=time_of(created_at),
        expires_at=time_of(expires_at),
    )


def key_row(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "user_id": key.user_id,
        "name": key.name,
        "digest": key.digest,
        "scopes": sorted(key.scopes),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
    }


class SqlApiKeys:
    """Meets ports.store_accounts.ApiKeyRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def insert(self, key: ApiKey) -> None:
        if not self._scope.insert(_KEY_INSERT[self._scope.dialect], key_row(key)):
            raise AlreadyExists(f"there is a key named {key.name} already")

    def renew(self, key_id: KeyId, digest: str, expires_at: datetime | None) -> None:
        if not self._scope.run(_KEY_UPDATE, {"row_id": key_id, "digest": digest, "expires_at": expires_at}):
            raise NotFound("there is no such key")

    def get(self, key_id: KeyId) -> ApiKey | None:
        return self._scope.one(api_keys, key_of, self._scope.kept_row(_KEY_BY_ID, {"row_id": key_id}, key_id))

    def of_user(self, user_id: UserId) -> Sequence[ApiKey]:
        return self._scope.converted(api_keys, key_of, self._scope.rows(_KEYS_OF, {"of_user": user_id}))

    def note_used(self, used: Mapping[KeyId, datetime]) -> None:
        if used:
            self._scope.run(_KEY_USED, [{"row_id": key_id, "at": at} for key_id, at in used.items()])

    def delete(self, key_id: KeyId) -> bool:
        return _deleted(self._scope, _K.id, key_id) > 0

    def delete_of(self, user_id: UserId | None) -> int:
        return _deleted(self._scope, _K.user_id, user_id)

    def trim(self, expired_before: datetime) -> int:
        return _trimmed(self._scope, _K.expires_at, expired_before)


class SqlSessions:
    """Meets ports.store_accounts.SessionRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def insert(self, session: Session) -> None:
        row = {
            "id": session.id,
            "user_id": session.user_id,
            "digest": session.digest,
            "created_at": session.created_at,
            "expires_at": session.expires_at,
        }
        self._scope.run(_SESSION_INSERT, row)

    def renew(self, session_id: SessionId, digest: str, expires_at: datetime) -> None:
        if not self._scope.run(_SESSION_UPDATE, {"row_id": session_id, "digest": digest, "expires_at": expires_at}):
            raise NotFound("there is no such session")

    def get(self, session_id: SessionId) -> Session | None:
        row = self._scope.kept_row(_SESSION_BY_ID, {"row_id": session_id}, session_id)
        return self._scope.one(sessions, session_of, row)

    def of_user(self, user_id: UserId) -> Sequence[Session]:
        return self._scope.converted(sessions, session_of, self._scope.rows(_SESSIONS_OF, {"of_user": user_id}))

    def delete(self, session_id: SessionId) -> bool:
        return _deleted(self._scope, _S.id, session_id) > 0

    def delete_of(self, user_id: UserId | None) -> int:
        return _deleted(self._scope, _S.user_id, user_id)

    def trim(self, expired_before: datetime) -> int:
        return _trimmed(self._scope, _S.expires_at, expired_before)


class SqlInvitations:
    """Meets ports.store_accounts.InvitationRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def insert(self, invitation: Invitation) -> None:
        row = {
            "id": invitation.id,
            "digest": invitation.digest,
            "role": invitation.role.value,
            "created_by": invitation.created_by,
            "created_at": invitation.created_at,
            "expires_at": invitation.expires_at,
        }
        self._scope.run(_INVITATION_INSERT, row)

    def get(self, invitation_id: InvitationId) -> Invitation | None:
        row = self._scope.row(_INVITATION_BY_ID, {"row_id": invitation_id})
        return self._scope.one(invitations, invitation_of, row)

    def all(self) -> Sequence[Invitation]:
        return self._scope.converted(invitations, invitation_of, self._scope.rows(_INVITATIONS, {}))

    def delete(self, invitation_id: InvitationId) -> bool:
        return _deleted(self._scope, _I.id, invitation_id) > 0

    def delete_of(self, user_id: UserId | None) -> int:
        return _deleted(self._scope, _I.created_by, user_id)

    def trim(self, expired_before: datetime) -> int:
        return _trimmed(self._scope, _I.expires_at, expired_before)


def _deleted(scope: Scope, column: sa.Column[Any], value: UUID | None) -> int:
    """How many rows of this value went; None: every row."""
    statement = sa.delete(column.table)
    return scope.run(statement if value is None else statement.where(column == value))


def _trimmed(scope: Scope, expires_at: sa.Column[Any], before: datetime) -> int:
    return scope.run(sa.delete(expires_at.table).where(expires_at < before))
