"""The options that a user may pass with a download: an allow-list with types, and their form for aria2.

Anything else is refused. aria2 takes unknown options silently, writes what it takes into its session file, where a
line end in a value would begin another option, and would follow `dir`, `out` or `index-out` anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from oddaemon.domain.errors import InvalidOption, InvalidSource
from oddaemon.domain.option_reading import Reader, read_options
from oddaemon.domain.url import parse_url
from oddaemon.ports.engine import OptionSpec

_MAX_TEXT = 2_000
_MAX_HEADERS = 20
_MAX_TRACKERS = 100
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
"""A header's name: RFC 9110 section 5.6.2."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_OURS = frozenset({
    "host", "range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since",
    "accept-encoding", "te", "connection", "content-length", "transfer-encoding", "upgrade", "expect", "trailer",
    "proxy-authorization", "proxy-connection",
})  # fmt: skip
"""Headers that would make the origin send something else than the file, or break the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    spec: OptionSpec
    read: Reader


def _number(lowest: int, highest: int) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
            raise ValueError(f"a whole number from {lowest} to {highest}")
        return str(int(text))

    return read


def _ratio(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text) or not 0 < float(text) <= 1000:
        raise ValueError("a number above 0 and up to 1000, such as 1.5")
    return f"{float(text):g}"


def _duration(text: str) -> str:
    if re.fullmatch(r"[0-9]{1,9}", text):
        text += "s"
    parts = re.findall(r"([0-9]{1,9})([smhd])", text)
    seconds = sum(int(n) * _UNITS[unit] for n, unit in parts)
    if "".join(n + unit for n, unit in parts) != text or not 1 <= seconds <= 366 * 86400:
        raise ValueError("a duration such as 90m, 2h30m or 7d, up to a year; without a unit, seconds")
    return f"{seconds}s"


def _text(text: str) -> str:
    if not text or len(text) > _MAX_TEXT or _CONTROL.search(text):
        raise ValueError(f"one line of 1 to {_MAX_TEXT} characters without control characters")
    if not text.isascii():
        raise ValueError("ASCII characters: a header has no other")
    return text


def _headers(text: str) -> str:
    try:
        given = json.loads(text) if text.startswith("[") else [text]
    except ValueError:
        given = None
    if not isinstance(given, list) or not 0 < len(given) <= _MAX_HEADERS:
        raise ValueError(f'one "Name: value", or a JSON list of up to {_MAX_HEADERS} of them')
    return json.dumps([_header(item) for item in given])


def _header(item: object) -> str:
    name, colon, value = item.partition(":") if isinstance(item, str) else ("", "", "")
    value = value.strip(" ")
    if not colon or not _TOKEN.fullmatch(name) or len(value) > _MAX_TEXT or _CONTROL.search(value):
        raise ValueError('a header is written "Name: value", without control characters')
    if not value.isascii():
        raise ValueError("ASCII characters: a header has no other")
    if name.lower() in _OURS:
        raise ValueError(f"any header but those that the download itself depends on, like {name}")
    return f"{name}: {value}"


def _trackers(text: str) -> str:
    given = [part for part in text.split(",") if part]
    if not 0 < len(given) <= _MAX_TRACKERS:
        raise ValueError(f"1 to {_MAX_TRACKERS} http, https or udp addresses, separated by commas")
    try:
        return ",".join(parse_url(one, schemes=frozenset({"http", "https", "udp"})).with_userinfo for one in given)
    except InvalidSource as error:
        raise ValueError(f"http, https or udp addresses, separated by commas ({error.message})") from error


_KNOWN: Mapping[str, _Known] = {
    known.spec.name: known
    for known in (
        _Known(
            spec=OptionSpec(name="split", kind="int", description="parts that are fetched at once, 1 to 16"),
            read=_number(1, 16),
        ),
        _Known(
            spec=OptionSpec(name="connections", kind="int", description="connections to the same server, 1 to 16"),
            read=_number(1, 16),
        ),
        _Known(
            spec=OptionSpec(name="user-agent", kind="text", description="how the download calls itself"),
            read=_text,
        ),
        _Known(
            spec=OptionSpec(name="referer", kind="text", description="the Referer header", secret=True),
            read=_text,
        ),
        _Known(
            spec=OptionSpec(
                name="header",
                kind="text",
                description='a further header, "Name: value", or a JSON list of them; not sent to other hosts',
                secret=True,
            ),
            read=_headers,
        ),
        _Known(
            spec=OptionSpec(name="http-user", kind="text", description="user name for the origin", secret=True),
            read=_text,
        ),
        _Known(
            spec=OptionSpec(name="http-password", kind="text", description="password for the origin", secret=True),
            read=_text,
        ),
        _Known(
            spec=OptionSpec(name="seed-ratio", kind="text", description="upload until so many times the size"),
            read=_ratio,
        ),
        _Known(
            spec=OptionSpec(name="seed-time", kind="duration", description="upload for so long after completion"),
            read=_duration,
        ),
        _Known(
            spec=OptionSpec(name="trackers", kind="text", description="further trackers, separated by commas"),
            read=_trackers,
        ),
    )
}

SPECS = tuple(known.spec for known in _KNOWN.values())
_READERS = {name: known.read for name, known in _KNOWN.items()}


def validate(options: Mapping[str, str]) -> Mapping[str, str]:
    """The options in normal form. Raises InvalidOption naming the option, why, and what is allowed."""
    normal = read_options(options, _READERS, "aria2")
    if "http-password" in normal and "http-user" not in normal:
        raise InvalidOption("'http-password' needs 'http-user'", field="http-password", hint="give both")
    return normal


def understood(options: Mapping[str, str]) -> Mapping[str, str]:
    """Those of another engine's options, or of options for whichever engine it will be, that are known here too."""
    return {name: value for name, value in options.items() if name in _KNOWN}


def header_lines(options: Mapping[str, str]) -> tuple[str, ...]:
    """`Name: value` of each extra header, from validated options."""
    return tuple(json.loads(options["header"])) if "header" in options else ()


def seeding_asked(options: Mapping[str, str]) -> bool:
    return "seed-ratio" in options or "seed-time" in options


def seed_options(options: Mapping[str, str]) -> dict[str, str]:
    """aria2's own: minutes; both at 0 mean opposite things (no time at all, no limit of the ratio)."""
    if not seeding_asked(options):
        return {"seed-time": "0"}
    chosen = {"seed-ratio": options.get("seed-ratio", "0.0")}
    if "seed-time" in options:
        chosen["seed-time"] = f"{int(options['seed-time'].removesuffix('s')) / 60:.3f}"
    else:
        # the global seed-time is 0, which would end it at once; aria2 counts up to 68 years
        chosen["seed-time"] = str(10 * 366 * 24 * 60)
    return chosen
