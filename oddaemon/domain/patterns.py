"""Text as filters look for it: parts of it in any case, and regular expressions. The one way for every database.

Whoever may filter may send any regular expression, so they are RE2's (ADR 0015): their time grows with the text alone,
and their memory is bounded.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import lru_cache

from oddaemon.domain.filter_tree import Pattern

MAX_PATTERN = 200
"""Characters of a regular expression."""
MAX_MEMORY = 2**20
"""Bytes that RE2 may use for one; what needs more is refused when it is read."""
MAX_TEXT = 4096
"""Characters of a text that are looked at: more than any name has."""

Test = Callable[[str], bool]


class BadPattern(ValueError):
    """This is no regular expression; the message says why."""


@lru_cache(maxsize=64)
def found_by(pattern: str) -> Test:
    """Whether a text holds what this expression describes, in upper or lower case. Raises BadPattern."""
    if len(pattern) > MAX_PATTERN:
        raise BadPattern(f"it has more than {MAX_PATTERN} characters")
    import re2  # what never filters by one need not load it

    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    try:
        search = re2.compile(pattern, options).search
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        raise BadPattern(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from error
    return lambda text: search(unicodedata.normalize("NFC", text[:MAX_TEXT])) is not None


def folded(text: str) -> str:
    """The form in which texts that differ only in case, or in how accents are written, are the same (Unicode's default
    case folding, of normal form C)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text[:MAX_TEXT]).casefold())


def holding(values: tuple[object, ...]) -> Callable[[str, str], bool]:
    """Whether a text, given as it is and folded, holds one of these, each a part of text or a Pattern."""
    parts = [folded(value) for value in values if isinstance(value, str)]
    searches = [found_by(value.text) for value in values if isinstance(value, Pattern)]
    if len(parts) == 1 and not searches:
        part = parts[0]
        return lambda _plain, fold: part in fold

    def test(plain: str, fold: str) -> bool:
        return any(part in fold for part in parts) or any(search(plain) for search in searches)

    return test
