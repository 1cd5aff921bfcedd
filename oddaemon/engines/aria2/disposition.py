"""Content-Disposition (RFC 6266, RFC 8187) → the file name, for display. Nothing on disk is called so."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_PARAMETER = re.compile(
    r';\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"\s][^;]*?))\s*(?=;|$)'
)
_EXTENDED = re.compile(r"([A-Za-z0-9_-]+)'[^']*'(.*)")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")
_MAX = 255
"""Bytes in UTF-8, so that a client can save the file under its name."""


def filename_of(header: str | None) -> str | None:
    """The name that the header gives, without any folder; None if there is none that can be used.

    `filename*` wins over `filename` (RFC 6266 section 4.3).
    """
    if not header:
        return None
    found: dict[str, str] = {}
    for name, quoted, token in _PARAMETER.findall(";" + header.partition(";")[2]):
        found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted else token)
    extended = _decoded(found["filename*"]) if "filename*" in found else None
    return display_name(extended or _plain(found.get("filename", "")))


def display_name(name: str | None) -> str | None:
    """The last part of a path as one line of at most 255 bytes, keeping its extension; None if nothing is left."""
    if not name:
        return None
    last = _UNPRINTABLE.sub("\ufffd", re.split(r"[/\\]", name)[-1]).strip()
    if last in ("", ".", ".."):
        return None
    if len(last.encode()) <= _MAX:
        return last
    stem, dot, extension = last.rpartition(".")
    tail = dot + extension if dot and len(extension.encode()) <= 16 else ""
    head = (stem if tail else last).encode()[: _MAX - len(tail.encode())]
    return head.decode("utf-8", "ignore") + tail


def _decoded(value: str) -> str | None:
    """RFC 8187: charset'language'percent-encoded bytes."""
    match = _EXTENDED.fullmatch(value)
    if match is None or match[1].lower() not in ("utf-8", "iso-8859-1"):
        return None
    try:
        return unquote_to_bytes(match[2]).decode(match[1])
    except UnicodeDecodeError:
        return None


def _plain(value: str) -> str:
    """Servers send UTF-8 where ISO-8859-1 belongs; what decodes as UTF-8 is taken as such."""
    try:
        return value.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeDecodeError:
        return value.encode("utf-8", "surrogateescape").decode("iso-8859-1")
