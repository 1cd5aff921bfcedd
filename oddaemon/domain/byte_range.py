"""Range requests by RFC 9110 section 14: from a header field and a length to what is to be sent. No I/O.

A field that is not understood is ignored (the whole is sent), as section 14.2 allows; so is one that asks for
very many ranges. Ranges that overlap or touch are joined, so that an answer is never longer than what it is
taken from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_RANGES = 64
"""More than this in one request is taken for an attack (section 17.15) and ignored."""
_MAX_DIGITS = 19
# OWS around the list's elements and empty elements are allowed (section 5.6.1)
_SPEC = re.compile(r"(\d*)-(\d*)", re.ASCII)
_HUGE: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Positions of the first byte and the one after the last. Never empty."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        """The value of Content-Range (section 14.4)."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


def parse_range(header: str | None, size: int) -> tuple[ByteRange, ...] | None:
    """What a Range field asks for of a representation of `size` bytes.

    None: no field, or one that is to be ignored: send everything (200). Empty: understood, and none of it
    exists (416). Else the ranges to send, not overlapping, in the order in which they were asked for.
    """
    if header is None:
        return None
    unit, separator, text = header.partition("=")
    if not separator or unit.strip().lower() != "bytes" or text.count(",") > 2 * MAX_RANGES:
        return None
    specs = [spec for part in text.split(",") if (spec := part.strip(" \t"))]
    if not specs or len(specs) > MAX_RANGES:
        return None
    found: list[ByteRange] = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None or spec == "-":
            return None
        first, last = match.groups()
        if first and last and _number(last) < _number(first):
            return None
        resolved = _resolve(first, last, size)
        if resolved is not None:
            found.append(resolved)
    return _joined(found)


def _resolve(first: str, last: str, size: int) -> ByteRange | None:
    """None when no byte of it exists (section 14.1.2)."""
    if not first:
        length = min(_number(last), size)
        return ByteRange(size - length, size) if length else None
    start = _number(first)
    if start >= size:
        return None
    return ByteRange(start, min(_number(last) + 1, size) if last else size)


def _number(digits: str) -> int:
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _MAX_DIGITS else _HUGE


def _joined(ranges: list[ByteRange]) -> tuple[ByteRange, ...]:
    if len(ranges) < 2:
        return tuple(ranges)
    groups: list[tuple[int, ByteRange]] = []  # the place of the first of a group, and its extent
    for place, item in sorted(enumerate(ranges), key=lambda pair: (pair[1].start, pair[0])):
        if groups and item.start <= groups[-1][1].stop:
            first, extent = groups[-1]
            groups[-1] = (min(first, place), ByteRange(extent.start, max(extent.stop, item.stop)))
        else:
            groups.append((place, item))
    return tuple(extent for _, extent in sorted(groups, key=lambda group: group[0]))
