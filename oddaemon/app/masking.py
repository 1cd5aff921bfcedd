"""Keeps secrets and forged lines out of what the daemon says of itself. Pure; used by the log."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"
_MIN_SECRET = 6
"""Shorter values are too likely to be part of ordinary text: masking them would garble the log and tell them."""
_MAX_TEXT = 8192
"""Of one value in a log line; cut after masking, so that no secret loses the end by which it is known."""
_SECRET_NAME = re.compile(
    r"pass(?:word|wd|phrase)|secret|token|authorization|cookie|api[_-]?key|credential|private[_-]?key|signature", re.I
)
_USERINFO = re.compile(r"(?<=://)[^/?#\s\"'<>]{1,512}@")
"""Bounded, so that no text can make the search take long."""
_QUERY = re.compile(
    r"(?i)([?&;]|%3f|%26)"
    r"((?:access_?|auth_?|api_?)?(?:token|key|secret|password|passwd|pass|passkey|sig|signature|auth|torrent_pass)"
    r"|x-amz-(?:signature|credential|security-token)|authkey|jwt)(=|%3d)(?:(?!%26)[^&;\s\"'<>#])+"
)
_LINK = re.compile(r"(/d/)[A-Za-z0-9_\-.~]{16,}")
"""A signed link's token (product.md section 8): whoever has it has the file."""
_ANNOUNCE = re.compile(r"(?i)(/|%2f)[0-9a-z]{16,}(?=(?:/|%2f)announce)")
"""Private trackers keep the user's key in the path."""
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_OWN = re.compile(r"\b(od[a-z])_[0-9a-f]{32}_[A-Za-z0-9_-]{43}")
"""API keys, refresh tokens and invitations: domain/credentials.py."""
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,200}\.[A-Za-z0-9_-]{8,1000}\.[A-Za-z0-9_-]{8,200}")
"""Access tokens: RFC 7519; a JSON object in base64url begins so. Bounded, as above."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""C0, C1, line and paragraph separators, marks that turn the direction of writing, lone surrogates."""


class Masker:
    """Replaces registered values, and whatever looks like a credential, by `***`. Safe to use from any thread."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._secrets: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """From now on these values are masked wherever they stand. Very short ones are passed over."""
        with self._lock:
            self._secrets |= {value for value in secrets if len(value) >= _MIN_SECRET}
            longest_first = sorted(self._secrets, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def text(self, text: str) -> str:
        """Masked, on one line, free of control characters."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        if "://" in text or "%3A%2F%2F" in text or "%3a%2f%2f" in text:
            text = _USERINFO.sub(f"{MASK}@", text)
            text = _ANNOUNCE.sub(rf"\1{MASK}", text)
        if "=" in text or "%3" in text:
            text = _QUERY.sub(rf"\1\2\3{MASK}", text)
        if "/d/" in text:
            text = _LINK.sub(rf"\1{MASK}", text)
        if "eyJ" in text:
            text = _JWT.sub(MASK, text)
        if " " in text:
            text = _BEARER.sub(rf"\1 {MASK}", text)
        if "od" in text:
            text = _OWN.sub(rf"\1_{MASK}", text)
        if len(text) > _MAX_TEXT:
            text = f"{text[:_MAX_TEXT]}… ({len(text) - _MAX_TEXT} more characters)"
        return _CONTROL.sub(escaped, text)

    def value(self, name: str, value: Any, depth: int = 3) -> Any:
        """A fact of a log line: masked by its name, or by what it holds; JSON values only."""
        if name and _SECRET_NAME.search(name) and value not in (None, "", 0, False, True):
            return MASK
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping) and depth:
            return {self.text(str(key)): self.value(str(key), item, depth - 1) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)) and depth:
            return [self.value("", item, depth - 1) for item in value]
        return self.text(str(value))


def escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}" if ord(found[0]) < 256 else f"\\u{ord(found[0]):04x}"
