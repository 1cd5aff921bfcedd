"""How many values a JSON text holds, without reading it: what is too much for the parsers is refused before them."""

from __future__ import annotations

import re

_STEP = 1 << 16
"""Bytes of a string that are passed over at a time: whoever else waits for the interpreter gets it in between."""
_INSIDE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_STARTS = (b",", b"[", b"{")
"""Each value but the first comes after one of them."""


def holds_more(data: bytes, most: int) -> bool:
    """Whether there are more than so many members and items, on all levels together. Of a text that is no JSON it
    counts to where that shows; the parsers stop there, too."""
    if sum(map(data.count, _STARTS)) <= most:
        return False
    found = strings = at = 0
    while found <= most and strings <= 2 * found + 1:
        quote = data.find(b'"', at)
        end = len(data) if quote < 0 else quote
        found += sum(data.count(start, at, end) for start in _STARTS)
        if quote < 0:
            break
        strings += 1
        at = _after_string(data, quote + 1)
    return found > most


def _after_string(data: bytes, at: int) -> int:
    """Where it goes on after the string that holds this place."""
    while (found := _INSIDE.match(data, at, at + _STEP)) is not None and found.end() > at:
        at = found.end()
    return at + 1
