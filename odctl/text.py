"""Words and figures for people, and back. Standard library only."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

from odctl.client.errors import UsageError

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""Controls (C0, DEL, C1), line and paragraph separators, bidirectional controls, invisible formatting, and halves of
surrogate pairs. The joiner of emoji (U+200D) stays."""

MOST = 2**63
"""No number that a daemon is told is as large as this."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?b?)(?:/s)?", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_UNITS = "KMGTP"


def clean(text: object) -> str:
    """`text` on one line, with nothing that could steer a terminal: such characters become visible escapes."""
    return _UNSAFE.sub(_escape, str(text))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def size(value: float | None) -> str:
    """Binary units: `1.4 GiB`; `-` for unknown."""
    if value is None:
        return "-"
    if value < 1024:
        return f"{int(value)} B"
    amount = float(value)
    for unit in _UNITS:
        amount /= 1024
        if amount < 1000 or unit == _UNITS[-1]:
            return f"{amount:.1f} {unit}iB" if amount < 100 else f"{amount:.0f} {unit}iB"
    raise AssertionError


def rate(value: float | None) -> str:
    return "-" if not value else f"{size(value)}/s"


def duration(seconds: float | None) -> str:
    """`42s`, `3m20s`, `2h05m`, `4d03h`; `-` for unknown."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def exact_duration(seconds: float) -> str:
    """In the largest unit that it is whole in: `5h`, `90s`; what `parse_duration` reads."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{int(seconds // _SECONDS[unit])}{unit}"
    return f"{int(seconds) if seconds == int(seconds) else seconds}s" if seconds else "0"


def exact_size(value: int) -> str:
    """In the largest binary unit that it is whole in: `1GiB`; what `parse_size` reads."""
    for power in range(len(_UNITS), 0, -1):
        if value and value % 1024**power == 0:
            return f"{value // 1024**power}{_UNITS[power - 1]}iB"
    return str(value)


def setting_word(value: object, type: str) -> str:
    """A setting's value as people write it, and as it is set."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if type == "duration":
            return exact_duration(value)
        return exact_size(int(value)) if type == "size" else str(value)
    if isinstance(value, list):
        return clean(",".join(map(str, value)))
    return "" if value is None else clean(value if isinstance(value, str) else json.dumps(value))


def moment(value: datetime | None) -> str:
    """In local time, to the second."""
    return "-" if value is None else value.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def percent(fraction: float) -> str:
    # never "100 %" before it is complete
    return f"{min(99.9, fraction * 100):.1f}%" if fraction < 1 else "100%"


def parse_size(text: str, what: str) -> int:
    """`700M`, `4.5G`, `1GiB`, `100k/s`, plain bytes; units are binary. Raises UsageError naming `what`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{what}: '{clean(text)}' is not a size", hint="write 700M, 4.5G or a number of bytes")
    power = _UNITS.find(match[2].upper()) + 1 if match[2] else 0
    if float(match[1]) * 1024**power >= MOST:
        raise UsageError(f"{what}: '{clean(text)}' is out of range")
    amount: int = int(float(match[1]) * 1024**power) if power or "." in match[1] else int(match[1])
    return amount


def parse_count(text: str, what: str, *, hint: str = "") -> int:
    """A whole number that is not negative. Raises UsageError naming `what`."""
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"{what}: '{clean(text)}' is no whole number", hint=hint)
    if float(text) >= MOST:
        raise UsageError(f"{what}: '{clean(text)}' is out of range")
    return int(text)


def parse_duration(text: str, what: str) -> float:
    """`90s`, `2h30m`, `1.5d`, or a number of seconds. Raises UsageError naming `what`."""
    value = text.strip()
    try:
        seconds = float(value)
    except ValueError:
        parts = _DURATION.findall(value)
        if not parts or "".join(number + unit for number, unit in parts) != value:
            raise UsageError(
                f"{what}: '{clean(text)}' is not a duration", hint="write 90s, 15m, 2h30m, 1d or a number of seconds"
            ) from None
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not 0 <= seconds < 1e9:
        raise UsageError(f"{what}: '{clean(text)}' is out of range")
    return seconds


def parse_time(text: str, what: str, now: datetime) -> datetime:
    """A time as RFC 3339 writes it (local where it names no zone), or how long ago: `2h`. Raises UsageError."""
    value = text.strip()
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        try:
            return now - timedelta(seconds=parse_duration(value, what))
        except UsageError:
            raise UsageError(
                f"{what}: '{clean(text)}' is not a time", hint="write 2026-01-31T12:00:00Z, 2026-01-31 or 2h"
            ) from None
    return found.astimezone(UTC)
