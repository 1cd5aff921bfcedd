"""Access tokens: JWTs (RFC 7519) signed with HS256. They say which user and session; whether that session still is, the
store says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import jwt

from oddaemon.domain.credentials import SessionId
from oddaemon.domain.types import Seconds, UserId

SECRET_NAME = "access_token_key"  # noqa: S105 - what the store calls it
ISSUER = "opendebrid"
MAX_LENGTH = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says."""

    user_id: UserId
    session_id: SessionId
    expires_at: datetime


def issue(key: bytes, user_id: UserId, session_id: SessionId, now: datetime, expiry: Seconds) -> str:
    issued = int(now.timestamp())
    claims = {"iss": ISSUER, "sub": str(user_id), "sid": str(session_id), "iat": issued, "exp": issued + int(expiry)}
    return jwt.encode(claims, key, algorithm="HS256")


def read(key: bytes, token: str, now: datetime) -> Claims | None:
    """Whose it is, and until when. None for one that was not signed with the key, says something else, or has
    expired."""
    if len(token) > MAX_LENGTH:
        return None
    try:
        claims = jwt.decode(
            token, key, algorithms=["HS256"], issuer=ISSUER,
            options={"require": ["exp", "iat", "sub", "sid", "iss"], "verify_exp": False, "verify_iat": False},
        )  # fmt: skip
        expires_at = datetime.fromtimestamp(int(claims["exp"]), UTC)
        if expires_at <= now:
            return None
        user_id, session_id = UserId(UUID(claims["sub"])), SessionId(UUID(claims["sid"]))
        return Claims(user_id=user_id, session_id=session_id, expires_at=expires_at)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError, OSError):
        return None
