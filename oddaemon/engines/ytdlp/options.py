"""The options that a user may pass with a download: an allow-list with types.

Everything else is refused: yt-dlp's own options write files, run programs and read configurations (GHSA-69qj-pvh9-c5wg
and its like). Values reach yt-dlp as fields of a JSON document, never as arguments.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from oddaemon.domain.errors import InvalidOption, InvalidSource
from oddaemon.domain.option_reading import Reader, read_options
from oddaemon.domain.url import parse_url
from oddaemon.ports.engine import OptionSpec

MAX_TEXT = 500
MAX_COOKIES = 256 * 1024
MAX_ITEMS = 10_000
"""Entries of a playlist that are looked at."""
AUDIO_FORMATS = ("best", "aac", "alac", "flac", "m4a", "mp3", "opus", "vorbis", "wav")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_COOKIE_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\*?(?:\.[0-9]+)?")
_FILTER = re.compile(
    r"\[[a-z_]{1,30} ?(?:(?:<=|>=|<|>|=|!=)\??|!?(?:\^=|\$=|\*=)\??) ?"
    r"(?:[A-Za-z0-9_.+-]{1,40}|'[A-Za-z0-9_.+ -]{0,40}')\]"
    r"|\[!?[a-z_]{1,30}\]"
)
_LANGUAGE = re.compile(r"(?!all$)[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")
_SEVERAL = frozenset({"all", "mergeall"})
_FORMAT_HINT = "a yt-dlp format selector of one file, such as bestvideo[height<=720]+bestaudio/best"


def read_format(text: str) -> str:
    """The selector without blanks around it; raises ValueError whose text says what is allowed.

    Of yt-dlp's grammar ("Format selection" in its README): names, `/`, `+`, parentheses and filters. Not the comma,
    `all` and `mergeall`, which make several files of one video, nor regular expressions.
    """
    text = text.strip(" ")
    if not 0 < len(text) <= 300 or text.startswith("-") or _after_choice(text, 0, 0) != len(text):
        raise ValueError(_FORMAT_HINT)
    return text


def _after_choice(text: str, at: int, depth: int) -> int:
    """Where the alternatives that begin at `at` end; -1 if there are none."""
    at = _after_atom(text, at, depth)
    while 0 <= at < len(text) and text[at] in "/+":
        at = _after_atom(text, at + 1, depth)
    return at


def _after_atom(text: str, at: int, depth: int) -> int:
    if text.startswith("(", at):
        end = _after_choice(text, at + 1, depth + 1) if depth < 5 else -1
        if end < 0 or not text.startswith(")", end):
            return -1
        at = end + 1
    elif name := _NAME.match(text, at):
        if name.group() in _SEVERAL:
            return -1
        at = name.end()
    elif not _FILTER.match(text, at):
        return -1
    while found := _FILTER.match(text, at):
        at = found.end()
    return at


def _bool(text: str) -> str:
    if text not in ("true", "false"):
        raise ValueError("true or false")
    return text


def _audio_format(text: str) -> str:
    if text not in AUDIO_FORMATS:
        raise ValueError("one of " + ", ".join(AUDIO_FORMATS))
    return text


def _audio_quality(text: str) -> str:
    found = re.fullmatch(r"(10|[0-9])|([0-9]{2,3})[kK]", text)
    if not found or (found.group(2) and not 16 <= int(found.group(2)) <= 512):
        raise ValueError("0 (best) to 10 (worst), or a bit rate from 16K to 512K")
    return text.upper()


def _languages(text: str) -> str:
    found = [part for part in text.replace(" ", "").split(",") if part]
    if not 0 < len(found) <= 20 or not all(_LANGUAGE.fullmatch(part) for part in found):
        raise ValueError("up to 20 language codes separated by commas, such as en,de,pt-BR")
    return ",".join(dict.fromkeys(found))


def _items(text: str) -> str:
    ranges = []
    for part in text.replace(" ", "").split(","):
        found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= first <= last <= MAX_ITEMS:
            raise ValueError(f"numbers and ranges from 1 to {MAX_ITEMS}, such as 1-3,7")
        ranges.append(str(first) if first == last else f"{first}-{last}")
    if len(ranges) > 200:
        raise ValueError("at most 200 numbers and ranges")
    return ",".join(ranges)


def _text(text: str) -> str:
    if not text or len(text) > MAX_TEXT or _CONTROL.search(text):
        raise ValueError(f"one line of 1 to {MAX_TEXT} characters without control characters")
    return text


def _header(text: str) -> str:
    if not _text(text).isascii():
        raise ValueError("ASCII characters: a header has no other")
    return text


def _referer(text: str) -> str:
    try:
        parse_url(_header(text), schemes=frozenset({"http", "https"}))
    except InvalidSource as error:
        raise ValueError("an http or https URL") from error
    return text


def _cookies(text: str) -> str:
    """Netscape's format: seven fields separated by tabs (curl's "HTTP Cookies", "cookie file format")."""
    lines = text.replace("\r\n", "\n").split("\n")
    rows = [line.removeprefix("#HttpOnly_") for line in lines]
    rows = [line for line in rows if line.strip() and not line.startswith("#")]
    if (
        len(text) > MAX_COOKIES
        or not rows
        or _COOKIE_CONTROL.search(text)
        or "\r" in text.replace("\r\n", "")
        or not all(line.count("\t") == 6 for line in rows)
    ):
        raise ValueError(
            f"a Netscape cookie file's content (lines of seven fields separated by tabs), up to {MAX_COOKIES} bytes"
        )
    return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    spec: OptionSpec
    read: Reader


def _known(
    name: str,
    kind: str,
    read: Callable[[str], str],
    description: str,
    *,
    bytes_change: bool = False,
    secret: bool = False,
    choices: tuple[str, ...] = (),
) -> _Known:
    spec = OptionSpec(
        name=name, kind=kind, description=description, choices=choices, changes_bytes=bytes_change, secret=secret
    )
    return _Known(spec=spec, read=read)


_KNOWN: Mapping[str, _Known] = {
    known.spec.name: known
    for known in (
        _known("format", "text", read_format, "which formats, as a yt-dlp format selector", bytes_change=True),
        _known("audio-only", "bool", _bool, "only the sound", bytes_change=True),
        _known(
            "audio-format", "enum", _audio_format, "what the sound is converted to; implies audio-only",
            bytes_change=True, choices=AUDIO_FORMATS,
        ),
        _known(
            "audio-quality", "text", _audio_quality, "of a conversion: 0 (best) to 10 (worst), or a rate such as 128K",
            bytes_change=True,
        ),
        _known("subtitles", "text", _languages, "languages of subtitles, such as en,de", bytes_change=True),
        _known(
            "embed-subtitles", "bool", _bool, "puts the subtitles into the video instead of beside it",
            bytes_change=True,
        ),
        _known("playlist-items", "text", _items, "which entries of a playlist, such as 1-3,7", bytes_change=True),
        _known("no-playlist", "bool", _bool, "the video alone when the URL names one in a playlist", bytes_change=True),
        _known("referer", "text", _referer, "the Referer header"),
        _known("user-agent", "text", _header, "how the download calls itself"),
        _known("cookies", "text", _cookies, "content of a Netscape cookie file", secret=True),
        _known("username", "text", _text, "account name for the site", secret=True),
        _known("password", "text", _text, "password for the site", secret=True),
    )
}  # fmt: skip

SPECS = tuple(known.spec for known in _KNOWN.values())
_READERS = {name: known.read for name, known in _KNOWN.items()}
_MARKS = {"audio-only", "embed-subtitles", "no-playlist"}


def validate(options: Mapping[str, str]) -> Mapping[str, str]:
    """The options in normal form. Raises InvalidOption naming the option, why, and what is allowed."""
    normal = read_options(options, _READERS, "yt-dlp")
    if "password" in normal and "username" not in normal:
        raise InvalidOption("'password' needs 'username'", field="password", hint="give both")
    return normal


def effective(options: Mapping[str, str], default_format: str) -> Mapping[str, str]:
    """What changes the bytes, defaults included: two downloads of one video are the same where this is the same."""
    chosen = {spec.name: options[spec.name] for spec in SPECS if spec.changes_bytes and spec.name in options}
    for name in _MARKS:
        if chosen.get(name) == "false":
            del chosen[name]
    if "audio-format" in chosen:
        chosen["audio-only"] = "true"
    if "audio-only" not in chosen:
        chosen.pop("audio-quality", None)
    chosen.setdefault("format", "bestaudio/best" if "audio-only" in chosen else default_format)
    return chosen


def digest(*parts: object) -> str:
    """A short name of a canonical JSON document."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
