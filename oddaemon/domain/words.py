"""What filters, sort orders and their errors have in common: names of fields, bounds, what may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from oddaemon.domain.errors import InvalidFilter

JSON_NAMES = {
    "created_at": "created", "started_at": "started", "completed_at": "completed", "last_used_at": "last_used",
    "eta_s": "eta", "tags": "tag", "cache_key": "key", "cache_hit": "hit", "uuid": "id", "files_total": "files",
    "users": "user",
}  # fmt: skip
"""What the JSON interface calls a field that has a shorter name here: both are understood."""
MAX_LENGTH = 10_000
"""Characters of a filter or sort order."""


def check_text(text: str, field: str) -> None:
    """Raises InvalidFilter for a text that is too long, or holds what no database takes."""
    if len(text) > MAX_LENGTH:
        raise InvalidFilter(f"a {field} has at most {MAX_LENGTH} characters", position=MAX_LENGTH, field=field)
    for position, char in enumerate(text):
        if char == "\0" or "\ud800" <= char <= "\udfff":
            raise InvalidFilter("this character is in no name", position=position, field=field)


def listing(fields: Collection[str]) -> str:
    return "fields: " + ", ".join(fields)


def nearest(name: str, known: Collection[str]) -> str:
    """The one that may have been meant; empty when none is near."""
    by_lower = {word.lower(): word for word in known}
    near = difflib.get_close_matches(name[:40].lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[near[0]] if near else ""


def choices(name: str, known: Collection[str], what: str) -> str:
    """A hint for who named something that there is not: what may have been meant, and all that there is. `what`: what
    these are, as in "nodes here"."""
    near = nearest(name, known)
    meant = f"did you mean {near}? " if near else ""
    return f"{meant}{what}: {', '.join(known)}"


def shortened(text: str) -> str:
    """The caller's text as messages show it: short, and with control characters written out."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def unknown_field(name: str, fields: Collection[str], position: int, where: str) -> InvalidFilter:
    near = nearest(name, fields)
    hint = f"did you mean {near}? {listing(fields)}" if near else listing(fields)
    return InvalidFilter(f"there is no field {shortened(name)}", position=position, field=where, hint=hint)
