"""Filters as the command line puts them together; the daemon reads them (odctl help filters)."""

from __future__ import annotations

from collections.abc import Sequence

MOST_SHOWN = 100
"""Columns of a filter that an error shows."""
BEFORE = 60
"""Of them before what is wrong, at most."""


def joined(filters: Sequence[str] | None, more: str = "") -> str:
    """One filter out of several that all have to hold."""
    parts = [part for part in (*(filters or ()), more) if part.strip()]
    return " ".join(f"({part})" if len(parts) > 1 and "|" in part else part for part in parts)


def quoted(value: str) -> str:
    """A value that is only itself."""
    return value if value.isalnum() else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def excerpt(text: str, position: int) -> tuple[str, str]:
    """The part of a text around a column, in two: what is before it, and what begins there."""
    before, after = text[:position], text[position:]
    if len(before) > BEFORE:
        before = "…" + before[-BEFORE:]
    room = MOST_SHOWN - len(before)
    return before, after if len(after) <= room else after[:room] + "…"
