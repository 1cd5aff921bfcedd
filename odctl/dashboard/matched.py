"""Which parts of a name a filter is about: they stand out in the list. The daemon alone decides what matches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

_TERM = re.compile(r'[^\s()|"]+(?:"[^"]*")?|"[^"]*"')
_NAME = re.compile(r'(?:name\s*~)?"?([^/"=<>~!][^"=<>~!]*)"?')
_WORDS = frozenset({
    "active", "queued", "paused", "completed", "done", "failed", "cancelled", "mine", "stalled", "big", "problems",
})  # fmt: skip
"""Of the filter language itself: they are no part of a name."""


@lru_cache(8)
def needles(filter: str) -> tuple[str, ...]:
    """Lower-case parts of names that a filter asks for; of regular expressions and of what is negated, none."""
    found = (_NAME.fullmatch(term) for term in _TERM.findall(filter))
    return tuple(match[1].lower() for match in found if match is not None and match[1] not in _WORDS)


def pieces(text: str, wanted: Sequence[str], style: str, match: str) -> Iterator[tuple[str, str]]:
    """`text` with the parts that are wanted in the style `match`."""
    lower, at = text.lower(), 0
    if len(lower) != len(text):
        yield text, style  # letters that are two in lower case: positions would be wrong
        return
    while wanted:
        starts = [(start, -len(needle)) for needle in wanted if (start := lower.find(needle, at)) >= 0]
        if not starts:
            break
        start, length = min(starts)
        yield text[at:start], style
        yield text[start : start - length], match
        at = start - length
    yield text[at:], style
