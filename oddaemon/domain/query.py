"""Sort orders of lists: text → keys. Fields joined with commas, `!field` downwards: `!size,name`. No I/O."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from oddaemon.domain.errors import InvalidFilter
from oddaemon.domain.words import JSON_NAMES, check_text, unknown_field

LIVE_SORT_FIELDS = ("rate_down", "rate_up", "eta", "seeders", "peers")
"""Figures of what runs, which are in no database: what does not run comes last."""
ATTENTION = "attention"
"""The order of a list for which none was asked: what runs, the newest first; what is held or failed, which may need
somebody, the newest first; what waits, by priority and number; what else ended, the newest first."""
JOB_SORT_FIELDS = (
    "id", "name", "state", "size", "done", "progress", "created", "started", "completed", "priority", "engine",
    "user", ATTENTION, *LIVE_SORT_FIELDS,
)  # fmt: skip
CACHE_SORT_FIELDS = ("key", "name", "size", "engine", "created", "last_used", "hits", "pinned")


@dataclass(frozen=True, slots=True, kw_only=True)
class SortKey:
    field: str
    descending: bool = False


def parse_sort(text: str, fields: Collection[str] = JOB_SORT_FIELDS) -> tuple[SortKey, ...]:
    """The keys of a sort order, the most important first; none for an empty text. Raises InvalidFilter with the column
    (from 0), `field` being `sort`."""
    check_text(text, "sort")
    if not text.strip():
        return ()
    keys: list[SortKey] = []
    at = 0
    for part in text.split(","):
        position = at + len(part) - len(part.lstrip())
        at += len(part) + 1
        name = part.strip()
        descending = name.startswith("!")
        name = _short(name[1:].strip().lower() if descending else name.lower(), fields)
        if name not in fields:
            error: InvalidFilter = unknown_field(name, fields, position, "sort")
            if _short(name.lstrip("+-"), fields) in fields:
                error.hint = f"downwards is !, upwards nothing: '!{name.lstrip('+-')}'"
            error.tell(text)
            raise error
        if all(key.field != name for key in keys):
            keys.append(SortKey(field=name, descending=descending))
    return tuple(keys)


def _short(name: str, fields: Collection[str]) -> str:
    short = JSON_NAMES.get(name, name)
    return short if short in fields else name
