"""The filter language of lists: text → terms, which the store compiles to SQL. No I/O.

A filter is terms of `field=value`, separated by spaces, all of which have to hold. A comma in a value means any of:
`state=queued,active user=ann`. A value may stand in single or double quotes, where spaces and commas are only
themselves; outside of quotes a backslash takes the meaning from the character after it. A sort order is fields joined
with commas, `!field` downwards: `!size,name`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass

from oddaemon.domain.errors import InvalidFilter

JOB_FILTER_FIELDS = (
    "id", "name", "state", "engine", "node", "user", "tag", "hold", "kind", "priority", "key", "hit",
)  # fmt: skip
LIVE_SORT_FIELDS = ("rate_down", "rate_up", "eta", "seeders", "peers")
"""Figures of what runs, which are in no database: what does not run comes last."""
JOB_SORT_FIELDS = (
    "id", "name", "state", "size", "done", "progress", "created", "started", "completed", "priority", "engine",
    "user", *LIVE_SORT_FIELDS,
)  # fmt: skip
CACHE_FILTER_FIELDS = ("key", "name", "engine", "pinned", "node", "user")
CACHE_SORT_FIELDS = ("key", "name", "size", "engine", "created", "last_used", "hits", "pinned")
_JSON_NAMES = {
    "created_at": "created", "started_at": "started", "completed_at": "completed", "last_used_at": "last_used",
    "eta_s": "eta", "tags": "tag", "cache_key": "key", "cache_hit": "hit", "uuid": "id",
}  # fmt: skip
"""What the JSON interface calls a field that has a shorter name here: both are understood."""

MAX_LENGTH = 10_000
"""Characters of a filter or sort order."""
MAX_TERMS = 100
MAX_ALTERNATIVES = 500

_FIELD = re.compile(r"[A-Za-z0-9_.-]*")
_OTHER_OPERATOR = re.compile(r"[!<>~]|=[~=]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """`field=value`; `position` is the column (from 0) where it stands, for errors. In `value` a comma or backslash
    that is only itself has a backslash before it: `alternatives` takes it apart."""

    field: str
    value: str
    position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SortKey:
    field: str
    descending: bool = False


def parse_filter(text: str, fields: Collection[str] = JOB_FILTER_FIELDS) -> tuple[Term, ...]:
    """The terms of a filter, in order; none for an empty text.

    Raises InvalidFilter with the column (from 0) and, for a field that is not one of `fields`, the valid ones and the
    nearest.
    """
    _check_length(text, "filter")
    terms: list[Term] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        if len(terms) == MAX_TERMS:
            raise InvalidFilter(f"a filter has at most {MAX_TERMS} terms", position=at)
        term, at = _parse_term(text, at, fields)
        terms.append(term)
    return tuple(terms)


def parse_sort(text: str, fields: Collection[str] = JOB_SORT_FIELDS) -> tuple[SortKey, ...]:
    """The keys of a sort order, the most important first; none for an empty text. Raises InvalidFilter with the column
    (from 0), `field` being `sort`."""
    _check_length(text, "sort")
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
            raise _unknown(name, fields, position, "sort")
        if all(key.field != name for key in keys):
            keys.append(SortKey(field=name, descending=descending))
    return tuple(keys)


def alternatives(term: Term) -> tuple[str, ...]:
    """The values of which a term wants any, without repeats. Raises InvalidFilter when there are too many."""
    found: list[str] = []
    current: list[str] = []
    escaped = False
    for char in term.value:
        if escaped:
            current.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ",":
            found.append("".join(current))
            current = []
        else:
            current.append(char)
    found.append("".join(current))
    unique = tuple(dict.fromkeys(found))
    if len(unique) > MAX_ALTERNATIVES:
        raise InvalidFilter(f"a term has at most {MAX_ALTERNATIVES} values", position=term.position)
    return unique


def _parse_term(text: str, start: int, fields: Collection[str]) -> tuple[Term, int]:
    match = _FIELD.match(text, start)
    end = match.end() if match else start
    name = _short(text[start:end].lower(), fields)
    if _OTHER_OPERATOR.match(text, end):
        raise InvalidFilter("only field=value is understood here", position=end, hint=_listing(fields))
    if not text.startswith("=", end):
        raise InvalidFilter("expected field=value", position=start, hint=_listing(fields))
    if name not in fields:
        raise _unknown(name, fields, start, "filter")
    value, at = _parse_value(text, end + 1)
    if not value:
        raise InvalidFilter(f"{name}= needs a value", position=end + 1)
    return Term(field=name, value=value, position=start), at


def _parse_value(text: str, at: int) -> tuple[str, int]:
    """The value from column `at` to the next space outside of quotes, and the column after it."""
    taken: list[str] = []
    quote = ""
    opened = at
    while at < len(text) and (quote or not text[at].isspace()):
        char = text[at]
        if char == "\\" and quote != "'" and at + 1 < len(text):
            taken.append(char + text[at + 1])
            at += 2
            continue
        if quote:
            if char == quote:
                quote = ""
            else:
                taken.append("\\" + char if char in ",\\" else char)
        elif char in "'\"" and (not taken or taken[-1] == ","):
            quote, opened = char, at
        else:
            taken.append("\\\\" if char == "\\" else char)
        at += 1
    if quote:
        raise InvalidFilter("this quote is not closed", position=opened)
    return "".join(taken), at


def _short(name: str, fields: Collection[str]) -> str:
    short = _JSON_NAMES.get(name, name)
    return short if short in fields else name


def _check_length(text: str, field: str) -> None:
    if len(text) > MAX_LENGTH:
        raise InvalidFilter(f"a {field} has at most {MAX_LENGTH} characters", position=MAX_LENGTH, field=field)


def _listing(fields: Collection[str]) -> str:
    return "fields: " + ", ".join(fields)


def _unknown(name: str, fields: Collection[str], position: int, where: str) -> InvalidFilter:
    near = difflib.get_close_matches(name, list(fields), n=1, cutoff=0.5)
    hint = _listing(fields)
    if near:
        hint = f"did you mean {near[0]}? {hint}"
    # the name is the caller's text: shown short, and with control characters written out
    shown = repr(name if len(name) <= 40 else name[:39] + "…")
    return InvalidFilter(f"there is no field {shown}", position=position, field=where, hint=hint)
