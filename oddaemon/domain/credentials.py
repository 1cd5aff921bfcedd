"""What people prove themselves with, as the store keeps it, and how its secrets are written.

A secret is 256 bits behind the id of its row: `odk_<id as 32 hex digits>_<43 characters>`. They are random, but for
half of those of a refresh token. Only its SHA-256 is stored. That is enough for what nobody can guess; passwords, which
people choose, need `services.passwords`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID

from oddaemon.domain.types import UserId
from oddaemon.domain.user import Role, Scope

KeyId = NewType("KeyId", UUID)
SessionId = NewType("SessionId", UUID)
InvitationId = NewType("InvitationId", UUID)

SECRET_BYTES = 32
_NONCE_BYTES = 16
_FORM = re.compile(r"(od[kri])_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")


class Prefix(StrEnum):
    """How a secret begins: people and scanners see what it is."""

    API_KEY = "odk"
    REFRESH_TOKEN = "odr"  # noqa: S105
    INVITATION = "odi"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    id: KeyId
    user_id: UserId
    name: str
    """Unique among the user's keys."""
    digest: str = field(repr=False)
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    """None: never."""
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A login and all tokens that came of it: a family of refresh tokens, of which only the newest is good."""

    id: SessionId
    user_id: UserId
    digest: str = field(repr=False)
    """Of the newest refresh token."""
    created_at: datetime
    expires_at: datetime
    """Of the newest refresh token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """Lets one person make an account."""

    id: InvitationId
    digest: str = field(repr=False)
    role: Role
    created_by: UserId
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    key: ApiKey
    secret: str = field(repr=False)
    """Shown once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    """Seconds for which the access token is good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One as its holder sends it."""

    prefix: Prefix
    id: UUID
    text: str = field(repr=False)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode("ascii")).hexdigest()

    @property
    def written(self) -> str:
        return f"{self.prefix}_{self.id.hex}_{self.text}"


def new_secret(prefix: Prefix, id: UUID) -> Secret:
    return Secret(prefix=prefix, id=id, text=secrets.token_urlsafe(SECRET_BYTES))


def new_refresh_token(key: bytes, id: SessionId) -> Secret:
    """128 random bits and a tag by which it is known again when it is old: only the newest one's digest is stored."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    written = base64.urlsafe_b64encode(nonce + _refresh_tag(key, id, nonce)).rstrip(b"=").decode()
    return Secret(prefix=Prefix.REFRESH_TOKEN, id=id, text=written)


def is_ours(key: bytes, token: Secret) -> bool:
    """Whether `new_refresh_token` made it, with this key."""
    raw = base64.urlsafe_b64decode(f"{token.text}=")
    return hmac.compare_digest(_refresh_tag(key, token.id, raw[:_NONCE_BYTES]), raw[_NONCE_BYTES:])


def _refresh_tag(key: bytes, id: UUID, nonce: bytes) -> bytes:
    return hmac.digest(key, b"refresh" + id.bytes + nonce, "sha256")[: SECRET_BYTES - _NONCE_BYTES]


def parse_secret(prefix: Prefix, text: str) -> Secret | None:
    """None for anything that is not written like one."""
    match = _FORM.fullmatch(text)
    if match is None or match[1] != prefix:
        return None
    return Secret(prefix=prefix, id=UUID(match[2]), text=match[3])


def same_digest(one: str, other: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(one, other)
