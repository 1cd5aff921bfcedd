"""Who may come in: a token that is good once, the session and the key that it is exchanged for, and which names and
pages the browser may come from. Pure."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

NAMES = frozenset({"127.0.0.1", "localhost"})
"""What a browser may call this server. Any other name that leads here is somebody's trick (DNS rebinding)."""
TOKEN_BYTES = 32


def _secret() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


@dataclass(slots=True)
class Door:
    """One server's secrets."""

    token: str = field(default_factory=_secret, repr=False)
    _session: str = field(default_factory=_secret, repr=False)
    key: str = field(default_factory=_secret, repr=False)
    """Of the page, which keeps it where no other port of this machine gets it: the browser tells the session, a cookie,
    to whatever listens on 127.0.0.1. A dashboard is opened by both."""
    used: bool = False

    def exchange(self, token: str) -> str | None:
        """The session for the token, once; None for anything else."""
        if not same(token, self.token) or self.used:
            return None
        self.used = True
        return self._session

    def knows(self, session: str | None) -> bool:
        """It was given to whoever had the token."""
        return same(session or "", self._session) and self.used

    def opens(self, key: str) -> bool:
        """It was given to the page of whoever had the token."""
        return same(key, self.key) and self.used


def same(given: str, secret: str) -> bool:
    """In a time that tells nothing of the secret."""
    return hmac.compare_digest(given.encode(errors="replace"), secret.encode())


def host_is_ours(host: str) -> bool:
    """The Host header names this machine. Its port may be another: that of a tunnel."""
    name, colon, port = host.partition(":")
    return name.lower() in NAMES and (not colon or (port.isascii() and port.isdigit()))


def origin_is_ours(origin: str | None, host: str) -> bool:
    """The page that asks came from this very server, and says so."""
    return origin is not None and host_is_ours(host) and origin.lower() == f"http://{host.lower()}"
