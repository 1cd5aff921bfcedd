"""Fields of node messages, read with suspicion: whatever is out of bounds is refused with InvalidArgument."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

import betterproto2

from oddaemon.domain.errors import InvalidArgument
from oddaemon.domain.files import MAX_PATH_BYTES, SafeRelativePath
from oddaemon.domain.types import Bytes, BytesPerSecond, EngineName, Handle, LinkId, ReplicaId, Seconds
from oddaemon.wire.values import clean, eta

E = TypeVar("E", bound=StrEnum)
C = TypeVar("C", bound=Collection[Any])

MAX_SIZE = 2**60
"""An exbibyte. Sums of a few of them still fit into a database's integers."""
MAX_RATE = 2**50
MAX_MODIFIED_NS = 2**62
"""In the year 2116."""
MAX_INDEX = 2**31 - 1
"""More than there may be files: engines leave gaps, as yt-dlp for the subtitles of a playlist's entries."""
MAX_SECONDS = 100 * 366 * 86400.0
MAX_NAME = 4096
"""Characters of most texts. Who sends one cuts it: a name that somebody put into a torrent must not make the whole
answer one that is refused."""
MAX_SAID = 4000
"""Characters of an engine's own words; what is longer is cut by who reads them, too."""
MAX_TEXT = 1 << 18
MAX_ORIGIN_PATH = 1 << 14
"""Characters of a path as its origin calls it, which no file system has to hold."""
MAX_ENDPOINT = 255
MAX_HANDLE = 16_384
_ENGINE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PLAIN = re.compile(r"[!-~]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


def refuse(what: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"{what} {why}", field=what)


def storable(text: str) -> str:
    """A text for people as a string field can hold it, cut."""
    return _SURROGATE.sub("\ufffd", text[:MAX_NAME])


def maybe_storable(text: str | None) -> str | None:
    return None if text is None else storable(text)


def text(value: str, what: str, most: int = MAX_NAME) -> str:
    if len(value) > most:
        raise refuse(what, f"has more than {most} characters")
    return value


def maybe_text(value: str | None, what: str, most: int = MAX_NAME) -> str | None:
    return None if value is None else text(value, what, most)


def said(value: str) -> str:
    """Words for people: fit for a terminal, and cut."""
    shown = clean(value[: MAX_SAID + 1])
    return shown if len(shown) <= MAX_SAID else shown[: MAX_SAID - 1] + "…"


def replica_id(value: bytes) -> ReplicaId:
    if len(value) != 16:
        raise refuse("replica_id", "has not 16 bytes")
    return ReplicaId(UUID(bytes=value))


def link_id(value: bytes) -> LinkId:
    if len(value) != 16:
        raise refuse("link_id", "has not 16 bytes")
    return LinkId(UUID(bytes=value))


def endpoint(value: str | None) -> str | None:
    """What URLs begin with: they are put into lists and playlists."""
    if value is None:
        return None
    try:
        parts = urlsplit(text(value, "endpoint", MAX_ENDPOINT))
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or not _PLAIN.fullmatch(value):
        raise refuse("endpoint", "is no URL")
    return value


def engine_name(value: str) -> EngineName:
    if not _ENGINE.fullmatch(value):
        raise refuse("engine", "is no name of an engine")
    return EngineName(value)


def size(value: int, what: str = "size") -> Bytes:
    if not 0 <= value <= MAX_SIZE:
        raise refuse(what, "is no size")
    return Bytes(value)


def modified_ns(value: int) -> int:
    if not 0 <= value <= MAX_MODIFIED_NS:
        raise refuse("modified_ns", "is no time of a file")
    return value


def maybe_size(value: int | None, what: str = "size") -> Bytes | None:
    return None if value is None else size(value, what)


def rate(value: int, what: str) -> BytesPerSecond:
    if not 0 <= value <= MAX_RATE:
        raise refuse(what, "is no rate")
    return BytesPerSecond(value)


def maybe_rate(value: int | None, what: str) -> BytesPerSecond | None:
    return None if value is None else rate(value, what)


def seconds(value: float | None, what: str) -> Seconds | None:
    if value is None:
        return None
    if not (math.isfinite(value) and 0 <= value <= MAX_SECONDS):
        raise refuse(what, "is no duration")
    return Seconds(value)


def known_duration(value: float | None) -> float | None:
    """What an engine says of a time, as a field can hold it; None: that is none."""
    shown = eta(value)
    return None if shown is None or shown > MAX_SECONDS else float(shown)


def index(value: int) -> int:
    if not 1 <= value <= MAX_INDEX:
        raise refuse("index", f"is not from 1 to {MAX_INDEX}")
    return value


def handle(value: str) -> Handle:
    return Handle(text(value, "handle", MAX_HANDLE))


def path_bytes(path: str) -> bytes:
    """Any path, with characters that are not text, too."""
    return path.encode("utf-8", "surrogatepass")


def origin_path_bytes(path: str) -> bytes:
    return path_bytes(path[:MAX_ORIGIN_PATH])


def origin_path(value: bytes) -> str:
    """A name from outside, as given."""
    if len(value) > 4 * MAX_ORIGIN_PATH:
        raise refuse("path", f"has more than {MAX_ORIGIN_PATH} characters")
    try:
        return value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise refuse("path", "is not UTF-8") from error


def safe_path(value: bytes) -> str:
    """A path that is used below a replica's directory. Raises InvalidArgument unless it is a SafeRelativePath."""
    if len(value) > 2 * MAX_PATH_BYTES:
        raise refuse("disk_path", f"has more than {MAX_PATH_BYTES} bytes")
    return str(SafeRelativePath.parse(origin_path(value)))


def at_most(values: C, most: int, what: str) -> C:
    if len(values) > most:
        raise refuse(what, f"has {len(values)} items, more than {most}")
    return values


def texts(values: Mapping[str, str], what: str, *, most: int, longest: int) -> dict[str, str]:
    at_most(values, most, what)
    return {text(key, what): text(value, what, longest) for key, value in values.items()}


def to_enum(kind: type[betterproto2.Enum], value: StrEnum) -> Any:
    """The member of the same name."""
    return kind[value.name]


def from_enum(kind: type[E], value: betterproto2.Enum, what: str) -> E:
    """Raises InvalidArgument for UNSPECIFIED and for a number that this version does not know."""
    found = kind.__members__.get(value.name or "")
    if found is None:
        raise refuse(what, f"has no meaning with the number {int(value)}")
    return found
