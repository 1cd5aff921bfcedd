"""Accounts in the store, and what goes with them. Read with `ports.store`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from oddaemon.domain.credentials import ApiKey, Invitation, InvitationId, KeyId, Session, SessionId
from oddaemon.domain.keyed_add import KeyedAdd
from oddaemon.domain.types import Bytes, UserId
from oddaemon.domain.user import User


class UserRepository(Protocol):
    def insert(self, user: User) -> None:
        """Raises AlreadyExists."""

    def get(self, user_id: UserId) -> User | None: ...

    def by_name(self, username: str) -> User | None: ...

    def by_uid(self, uid: int) -> User | None:
        """The user to whom a uid of the daemon's machine is linked."""

    def update(self, user: User) -> None:
        """Stores every field but `last_seen_at`. Raises NotFound."""

    def all(self) -> Sequence[User]:
        """By name."""

    def note_seen(self, seen: Mapping[UserId, datetime]) -> None:
        """When users were last seen; unknown ones are passed over."""

    def delete(self, user_id: UserId) -> None:
        """With keys, sessions and the invitations that the user made. Jobs have to be gone or another's."""


class ApiKeyRepository(Protocol):
    def insert(self, key: ApiKey) -> None:
        """Raises AlreadyExists when its user has one of that name."""

    def renew(self, key_id: KeyId, digest: str, expires_at: datetime | None) -> None:
        """Another secret. Raises NotFound."""

    def get(self, key_id: KeyId) -> ApiKey | None: ...

    def of_user(self, user_id: UserId) -> Sequence[ApiKey]:
        """Oldest first."""

    def note_used(self, used: Mapping[KeyId, datetime]) -> None:
        """When keys were last used; unknown ones are passed over."""

    def delete(self, key_id: KeyId) -> bool:
        """Whether there was one."""

    def delete_of(self, user_id: UserId | None) -> int:
        """All of a user, or of everybody; how many."""

    def trim(self, expired_before: datetime) -> int: ...


class SessionRepository(Protocol):
    def insert(self, session: Session) -> None: ...

    def renew(self, session_id: SessionId, digest: str, expires_at: datetime) -> None:
        """The next refresh token of the family. Raises NotFound."""

    def get(self, session_id: SessionId) -> Session | None: ...

    def of_user(self, user_id: UserId) -> Sequence[Session]:
        """Oldest first, expired ones too."""

    def delete(self, session_id: SessionId) -> bool:
        """Whether there was one."""

    def delete_of(self, user_id: UserId | None) -> int:
        """All of a user, or of everybody; how many."""

    def trim(self, expired_before: datetime) -> int: ...


class InvitationRepository(Protocol):
    def insert(self, invitation: Invitation) -> None: ...

    def get(self, invitation_id: InvitationId) -> Invitation | None: ...

    def all(self) -> Sequence[Invitation]:
        """Oldest first, expired ones too."""

    def delete(self, invitation_id: InvitationId) -> bool:
        """Whether there was one: of any number that take it at once, it is there for one."""

    def delete_of(self, user_id: UserId | None) -> int:
        """All that a user made, or all; how many."""

    def trim(self, expired_before: datetime) -> int: ...


class KeyedAddRepository(Protocol):
    """Gone with their user."""

    def get(self, user_id: UserId, key: str) -> KeyedAdd | None: ...

    def put(self, added: KeyedAdd) -> None:
        """Inserts or replaces."""

    def delete(self, user_id: UserId, key: str) -> None: ...

    def trim(self, before: datetime) -> int:
        """Those that were made before; how many."""


class ServedRepository(Protocol):
    """Bytes that users' links have given. A day is its number since 1970-01-01, in UTC."""

    def add(self, day: int, served: Mapping[UserId, Bytes]) -> None:
        """Adds to what is counted already. The users have to exist."""

    def on(self, day: int) -> Mapping[UserId, Bytes]:
        """Of every user of whom something was counted. It goes with its user."""

    def trim(self, before: int) -> int:
        """Forgets all days before."""
