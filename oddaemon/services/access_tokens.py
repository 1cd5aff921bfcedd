"""Access tokens: JWTs (RFC 7519) signed with HS256. They say which user and session; whether that session still is, the
store says."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import jwt

from oddaemon.domain.credentials import SessionId
from oddaemon.domain.types import Seconds, UserId

SECRET_NAME = "access_token_key"  # noqa: S105 - what the store calls it
ISSUER = "opendebrid"
MAX_LENGTH = 2048


def issue(key: bytes, user_id: UserId, session_id: SessionId, now: datetime, expiry: Seconds) -> str:
    issued = int(now.timestamp())
    claims = {"iss": ISSUER, "sub": str(user_id), "sid": str(session_id), "iat": issued, "exp": issued + int(expiry)}
    return jwt.encode(claims, key, algorithm="HS256")


def read(key: bytes, token: str, now: datetime) -> tuple[UserId, SessionId] | None:
    """Whose it is; None for one that was not signed with the key, says something else, or has expired."""
    if len(token) > MAX_LENGTH:
        return None
    try:
        claims = jwt.decode(
            token, key, algorithms=["HS256"], issuer=ISSUER,
            options={"require": ["exp", "iat", "sub", "sid", "iss"], "verify_exp": False, "verify_iat": False},
        )  # fmt: skip
        if int(claims["exp"]) <= now.timestamp():
            return None
        return UserId(UUID(claims["sub"])), SessionId(UUID(claims["sid"]))
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        return None
