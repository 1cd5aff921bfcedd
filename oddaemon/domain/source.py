"""What a user hands in → Source: magnet, info-hash, torrent file, URL. Parsing and normalisation, no I/O."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import quote, unquote

from oddaemon.domain.errors import InvalidSource
from oddaemon.domain.files import display_name
from oddaemon.domain.torrent import TorrentInfo
from oddaemon.domain.url import SCHEMES, Url, mask_tracker, mask_url, parse_url

MAX_MAGNET = 64 * 1024
MAX_TRACKERS = 200
TRACKER_SCHEMES = frozenset({"http", "https", "udp"})

_BTIH = "urn:btih:"
_BTMH = "urn:btmh:"
_HEX = re.compile(r"[0-9a-fA-F]{40}")
_BASE32 = re.compile(r"[a-zA-Z2-7]{32}")
_HEX_V2 = re.compile(r"[0-9a-fA-F]{64}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_V2_ONLY = "this torrent is v2-only, which aria2 does not support"
_V2_HINT = "use a v1 or hybrid magnet or .torrent of the same content"


class SourceKind(StrEnum):
    MAGNET = "magnet"
    TORRENT = "torrent"
    URL = "url"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source that was understood.

    `uri` is what an engine is given: a magnet with its trackers, or the URL with user:password taken out; for
    an uploaded torrent it is the magnet form of its info-hash. `shown` is `uri` with credentials and secrets
    masked.
    """

    kind: SourceKind
    uri: str
    shown: str
    info_hash: str | None = None
    """40 lower-case hex digits of the v1 (or hybrid) info-hash."""
    name: str | None = None
    """A magnet's dn, a torrent's name, the last segment of a URL's path."""
    trackers: tuple[str, ...] = ()
    username: str | None = None
    password: str | None = None
    normalised: str | None = None
    """For a URL: RFC 3986 section 6 normal form without fragment and credentials: what the cache key is made
    of."""
    scheme: str = ""


def parse_source(text: str) -> Source:
    """What `text` names. Raises InvalidSource with the position (in characters, from 0) and the reason.

    Blanks and line ends around it are passed over; inside it they are refused.
    """
    stripped = text.strip(" \t\r\n")
    offset = len(text) - len(text.lstrip(" \t\r\n"))
    if not stripped:
        raise InvalidSource("the source is empty", position=0)
    try:
        return _parse(stripped)
    except InvalidSource as error:
        if error.position is None or not offset:
            raise
        raise InvalidSource(error.message, position=error.position + offset, hint=error.hint) from error


def _parse(text: str) -> Source:
    if text.startswith("-"):
        raise InvalidSource("a source does not begin with '-': this looks like an option", position=0)
    if _HEX.fullmatch(text) or _BASE32.fullmatch(text):
        return _magnet_source(_hash_of(text), name=None, trackers=())
    if _HEX_V2.fullmatch(text):
        raise InvalidSource(_V2_ONLY, position=0, hint=_V2_HINT)
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise InvalidSource("this has no scheme such as https:, and is not an info-hash", position=0)
    name = scheme.group(1).lower()
    if name == "magnet":
        return _parse_magnet(text)
    if name in SCHEMES:
        return _url_source(parse_url(text))
    if text[scheme.end() :].partition("/")[0].isdigit() or "." in name:
        raise InvalidSource(
            f"this has no scheme: {name[:80]!r} stands where one belongs",
            position=0,
            hint="write https:// before it",
        )
    raise InvalidSource(f"{name[:40]}: is not a scheme that is taken", position=0)


def source_of_torrent(info: TorrentInfo) -> Source:
    """The source that an uploaded torrent is. Raises InvalidSource for a v2-only torrent."""
    if info.info_hash is None:
        raise InvalidSource(_V2_ONLY, hint=_V2_HINT)
    found = _magnet_source(info.info_hash, name=_name(info.name), trackers=_usable_trackers(info.trackers))
    return Source(
        kind=SourceKind.TORRENT,
        uri=found.uri,
        shown=found.shown,
        info_hash=found.info_hash,
        name=found.name,
        trackers=found.trackers,
        scheme=found.scheme,
    )


def _name(text: str | None) -> str | None:
    """A name from outside as one line for people; None if nothing is left of it."""
    return (text and display_name(text, default="")) or None


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    value: str
    position: int


def _parse_magnet(text: str) -> Source:
    if len(text) > MAX_MAGNET:
        raise InvalidSource(f"the magnet has {len(text)} characters; the most that is taken is {MAX_MAGNET}",
                            position=MAX_MAGNET)  # fmt: skip
    bad = re.search(r"[\x00-\x20\x7f-\x9f]", text)
    if bad:
        raise InvalidSource("a magnet holds no blanks and no control characters", position=bad.start())
    if not text[7:].startswith("?"):
        raise InvalidSource("a magnet goes on with '?' after 'magnet:'", position=7)
    parameters = list(_parameters(text))
    trackers = (_tracker_text(p) for p in parameters if p.name == "tr")
    name = next((p.value.replace("+", " ") for p in parameters if p.name == "dn"), None)
    return _magnet_source(
        _magnet_hash(parameters, len(text)),
        name=_name(unquote(name)) if name else None,
        trackers=_usable_trackers(trackers),
    )


def _parameters(text: str) -> Iterator[_Parameter]:
    """`tr.1` counts as `tr`. A magnet copied out of HTML has `&amp;` for `&`."""
    position = 8
    for part in text[8:].split("&"):
        name, _, value = part.partition("=")
        start = position + len(name) + 1
        position += len(part) + 1
        base, _, number = name.lower().removeprefix("amp;").partition(".")
        if not number or number.isdigit():
            yield _Parameter(base, value, start)


def _magnet_hash(parameters: Iterable[_Parameter], end: int) -> str:
    found: set[str] = set()
    v2_at = None
    for parameter in parameters:
        if parameter.name != "xt":
            continue
        value = unquote(parameter.value)
        if value.lower().startswith(_BTMH):
            v2_at = parameter.position
        if not value.lower().startswith(_BTIH):
            continue
        digits = value[len(_BTIH) :]
        if not (_HEX.fullmatch(digits) or _BASE32.fullmatch(digits)):
            raise InvalidSource(
                f"the info-hash has {len(digits)} characters that do not make one",
                position=parameter.position,
                hint="an info-hash has 40 hexadecimal digits or 32 base32 characters",
            )
        found.add(_hash_of(digits))
        if len(found) > 1:
            raise InvalidSource("the magnet names two different torrents", position=parameter.position)
    if found:
        return found.pop()
    if v2_at is not None:
        raise InvalidSource(_V2_ONLY, position=v2_at, hint=_V2_HINT)
    raise InvalidSource("the magnet has no info-hash (xt=urn:btih:…)", position=end, hint="copy the whole magnet link")


def _hash_of(digits: str) -> str:
    return digits.lower() if len(digits) == 40 else base64.b32decode(digits.upper()).hex()


def _tracker_text(parameter: _Parameter) -> str:
    value = unquote(parameter.value)
    bad = _CONTROL.search(value)
    if bad:
        raise InvalidSource("a tracker's address holds a control character", position=parameter.position)
    return value


def _usable_trackers(given: Iterable[str]) -> tuple[str, ...]:
    """Those that aria2 can use (http, https, udp), well formed, each once; others are passed over."""
    kept: dict[str, None] = {}
    for text in given:
        try:
            url = parse_url(text, schemes=TRACKER_SCHEMES)
        except InvalidSource:
            continue
        if len(kept) < MAX_TRACKERS:
            kept.setdefault(url.with_userinfo)
    return tuple(kept)


def with_trackers(source: Source, trackers: Iterable[str]) -> Source:
    """The same torrent, looked for at these trackers too."""
    if source.info_hash is None:
        return source
    united = _usable_trackers([*source.trackers, *trackers])
    if united == source.trackers:
        return source
    magnet = _magnet_source(source.info_hash, name=source.name, trackers=united)
    return replace(magnet, kind=source.kind)


def _magnet_source(info_hash: str, *, name: str | None, trackers: tuple[str, ...]) -> Source:
    def magnet(of: Iterable[str]) -> str:
        return f"magnet:?xt={_BTIH}{info_hash}" + "".join(f"&tr={quote(tracker, safe='')}" for tracker in of)

    return Source(
        kind=SourceKind.MAGNET,
        uri=magnet(trackers),
        shown=magnet(map(mask_tracker, trackers)).replace("%2A%2A%2A", "***"),
        info_hash=info_hash,
        name=name,
        trackers=trackers,
        scheme="magnet",
    )


def _url_source(url: Url) -> Source:
    segment = url.path.rpartition("/")[2]
    return Source(
        kind=SourceKind.URL,
        uri=url.text,
        shown=mask_url(url.text, credentials=url.username is not None),
        name=_name(unquote(segment)),
        username=url.username,
        password=url.password,
        normalised=url.normalised,
        scheme=url.scheme,
    )
