"""Sizes, durations and lists as people write them, in settings and in filters. No I/O."""

from __future__ import annotations

import math
import re

from oddaemon.domain.types import Bytes, Seconds

_SIZE = re.compile(r"\s*([0-9]{1,19}(?:\.[0-9]{1,9})?)\s*([kmgtp]?)(?:i?b)?\s*", re.IGNORECASE)
_SHIFT = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_PART = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h|d|w)?\s*", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
MAX_SIZE = 2**62
MAX_DURATION = 100 * 365 * 86400.0


def parse_size(value: object) -> Bytes:
    """Bytes from `1GB`, `512 MiB`, `10G`, or a plain number. Always in steps of 1024, as the seed's 1 GB is 2^30.

    Raises ValueError with a sentence that says what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError('give a size such as "1GB", "500M" or a number of bytes')
    if isinstance(value, str):
        found = _SIZE.fullmatch(value)
        if found is None:
            raise ValueError(f'{value!r} is not a size: give one such as "1GB", "500M" or a number of bytes')
        value = float(found[1]) * 2 ** _SHIFT[found[2].lower()] if "." in found[1] else (
            int(found[1]) << _SHIFT[found[2].lower()]
        )  # fmt: skip
    if not math.isfinite(value) or value < 0 or value > MAX_SIZE:
        raise ValueError("a size is neither negative nor larger than 4 EiB")
    return Bytes(int(value))


def parse_duration(value: object) -> Seconds:
    """Seconds from `60m`, `7d`, `2h30m`, `500ms`, or a plain number.

    Raises ValueError with a sentence that says what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError('give a duration such as "60m", "7d", "2h30m" or a number of seconds')
    seconds = _from_text(value) if isinstance(value, str) else float(value)
    if not math.isfinite(seconds) or seconds < 0 or seconds > MAX_DURATION:
        raise ValueError("a duration is neither negative nor longer than 100 years")
    return Seconds(seconds)


def _from_text(text: str) -> float:
    position, total = 0, 0.0
    text = text.strip()
    parts = 0
    while found := _PART.match(text, position):
        if found[2] is None and (parts or found.end() != len(text)):
            break
        total += float(found[1]) * _SECONDS[(found[2] or "s").lower()]
        position, parts = found.end(), parts + 1
    if not parts or position != len(text):
        raise ValueError(f'{text!r} is not a duration: give one such as "60m", "7d", "2h30m" or a number of seconds')
    return total


def split_list(value: object) -> object:
    """A list from text with commas, as the environment has it; anything else is left as it is."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value) if isinstance(value, list) else value


def show_size(value: int) -> str:
    """The shortest exact form: 1073741824 → `1GiB`."""
    for unit, shift in (("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if value and value % (1 << shift) == 0:
            return f"{value >> shift}{unit}"
    return str(value)


def show_duration(value: float) -> str:
    """The shortest exact form in one unit: 3600 → `60m` is written `1h`."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if value and value % length == 0:
            return f"{int(value // length)}{unit}"
    return f"{int(value) if value == int(value) else value}s" if value else "0"
