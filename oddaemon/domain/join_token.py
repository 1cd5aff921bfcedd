"""Join tokens: the one word that an admin pastes on a worker, and what a controller keeps of it. Sans I/O.

The word is `od1.<id>.<secret>.<SHA-256 of the controller's certificate, in hex>`: whom to trust is in it as well as
what to show. The secret is in no store, no list and no log; a controller keeps `domain.node_proof.token_key` of it.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from oddaemon.domain.errors import InvalidArgument
from oddaemon.domain.types import UserId

VERSION = "od1"
ID_BYTES = 6
SECRET_BYTES = 24
LONGEST_SECONDS = 365 * 86400
_HINT = "on the controller, odctl nodes token create makes one, and prints the command to paste here"
_ID = re.compile(r"[0-9a-f]{8,32}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{20,100}")
_FINGERPRINT = re.compile(r"[0-9a-fA-F]{64}")


class TokenState(StrEnum):
    GOOD = "good"
    USED = "used"
    """Single use, and a worker joined with it."""
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class PastedToken:
    """What is in the word."""

    id: str
    secret: str = field(repr=False)
    fingerprint: str
    """Of the controller's certificate, lower case."""

    def __str__(self) -> str:
        """Without the secret: that is only in `word`."""
        return f"join token {self.id}"

    @property
    def word(self) -> str:
        return f"{VERSION}.{self.id}.{self.secret}.{self.fingerprint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptToken:
    """What a controller keeps of a token."""

    id: str
    key: bytes = field(repr=False)
    name: str | None = None
    """Only a node of that id may join with it; None: any."""
    reusable: bool = False
    created_by: UserId
    created_at: datetime
    expires_at: datetime
    uses: int = 0
    used_at: datetime | None = None
    """Last."""

    def state(self, now: datetime) -> TokenState:
        if self.uses and not self.reusable:
            return TokenState.USED
        return TokenState.EXPIRED if now >= self.expires_at else TokenState.GOOD


def new_token(fingerprint: str) -> PastedToken:
    return PastedToken(secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES), fingerprint.lower())


def parse_token(text: str) -> PastedToken:
    """What a word that was pasted says. Raises InvalidArgument, without the word in it."""
    parts = text.strip().split(".")
    if not text.strip():
        raise _unfit("no join token is given")
    if parts[0] != VERSION:
        if re.fullmatch(r"od[0-9]+", parts[0]):
            raise _unfit(f"this join token is of another version: it begins with {parts[0]}, not {VERSION}")
        raise _unfit(f"this is no join token: those begin with {VERSION}.")
    if len(parts) != 4:
        raise _unfit(f"this join token has {len(parts)} of 4 parts: it was not pasted whole, or something more with it")
    _, id_, secret, fingerprint = parts
    if not _ID.fullmatch(id_) or not _SECRET.fullmatch(secret):
        raise _unfit("this join token was changed on its way: its id or its secret is none")
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise _unfit("this join token was cut off or changed: its end is no fingerprint of 64 hex digits")
    return PastedToken(id_, secret, fingerprint.lower())


def _unfit(message: str) -> InvalidArgument:
    return InvalidArgument(message, field="controller.auth_token", hint=_HINT)
