"""Who is calling, as whom, and what that allows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from oddaemon.domain.errors import InvalidArgument, NotAllowed
from oddaemon.domain.types import Bytes, UserId

_USERNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_ID = re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"


class Scope(StrEnum):
    """What a credential may be used for. Each allows what those above it do."""

    READ = "read"
    """Look at one's own."""
    JOBS = "jobs"
    """Add and change one's own jobs and links."""
    ADMIN = "admin"
    """All that the role allows: for a user one's own account, for an admin everything."""


ALL_SCOPES = frozenset(Scope)
_ENOUGH = {
    Scope.READ: ALL_SCOPES,
    Scope.JOBS: frozenset({Scope.JOBS, Scope.ADMIN}),
    Scope.ADMIN: frozenset({Scope.ADMIN}),
}
"""For each scope those that allow it."""


class Proof(StrEnum):
    """How a principal proved who it is."""

    PEER_UID = "peercred"
    API_KEY = "apikey"
    ACCESS_TOKEN = "token"  # noqa: S105
    LOCAL = "local"
    """The daemon itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserLimits:
    """One user's own limits. None: what the settings say; 0: none."""

    running: int | None = None
    jobs: int | None = None
    storage: Bytes | None = None
    served_per_day: Bytes | None = None
    requests_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    id: UserId
    username: str
    role: Role
    created_at: datetime
    updated_at: datetime
    email: str | None = None
    password: str | None = field(default=None, repr=False)
    """A bcrypt hash; None: cannot log in with a password."""
    is_active: bool = True
    limits: UserLimits = UserLimits()
    unix_uid: int | None = None
    """Whoever has this uid on the daemon's machine is this user on the control socket."""
    last_seen_at: datetime | None = None
    generation: int = 0
    """Counts what ended every credential of this user at once: what was proved before does not hold any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    user_id: UserId
    username: str
    role: Role
    proof: Proof
    uid: int | None = None
    """The peer's uid on the Unix socket."""
    scopes: frozenset[Scope] = ALL_SCOPES
    credential: UUID | None = None
    """The API key or the session by which it was proved."""
    generation: int = 0
    """Of the user, when it was proved."""
    until: datetime | None = None
    """When the access token by which it was proved expires, where that ends what it let in."""

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN and Scope.ADMIN in self.scopes


def require(who: Principal, scope: Scope) -> None:
    """Raises NotAllowed, naming the scope, for a credential that does not allow it."""
    if who.scopes.isdisjoint(_ENOUGH[scope]):
        raise NotAllowed(
            f"this key lacks the scope {scope}", hint=f"use a key with it: odctl apikey create NAME --scope {scope}",
            scope=str(scope),
        )  # fmt: skip


def require_admin(who: Principal) -> None:
    """Raises NotAllowed for anybody but an admin who may act as one here."""
    if who.role is not Role.ADMIN:
        raise NotAllowed("only admins may do this", hint="ask an admin; odctl whoami says who you are here")
    require(who, Scope.ADMIN)


def is_username(name: str) -> bool:
    """Whether it fits in commands, paths and logs as it is, and is not taken for an id."""
    return bool(_USERNAME.fullmatch(name)) and not _ID.fullmatch(name)


def checked_username(name: str) -> str:
    """Raises InvalidArgument for what can be no name."""
    if not is_username(name):
        raise InvalidArgument(
            "a user name has 1 to 64 letters, digits, dots, dashes and underscores, and is not written like an id",
            field="username", hint="ann, bob.smith, media_box",
        )  # fmt: skip
    return name
