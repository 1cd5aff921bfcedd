"""What a field of a message holds: text fit for a terminal, figures in its range, instants in UTC."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

UINT32 = 2**32 - 1
_CONTROL = dict.fromkeys((*range(32), 127, *range(128, 160), 8232, 8233), " ")
_BIDI = dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
_CLEAN: Mapping[int, str | None] = {**_CONTROL, **_BIDI, **_SURROGATES}


def clean(text: str | None) -> str:
    """Text from outside, fit for a terminal: control characters become spaces, bidirectional ones go, and what cannot
    be encoded is replaced."""
    if not text:
        return ""
    return text if text.isascii() and text.isprintable() else text.translate(_CLEAN)


def count(figure: float | None, most: int = 2**63 - 1) -> int | None:
    """A figure from an engine, as a field without a sign can hold it; None: it is not known."""
    if figure is None or not math.isfinite(figure):
        return None
    return min(max(int(figure), 0), most)


def eta(seconds: float | None) -> float | None:
    return None if seconds is None or not math.isfinite(seconds) or seconds < 0 else seconds


def stamp(at: datetime | None) -> datetime | None:
    return None if at is None else at.astimezone(UTC)
