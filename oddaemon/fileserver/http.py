"""HTTP/1.1 requests from bytes, strictly (RFC 9112): what is not exactly a request is refused, never guessed.
No I/O.

A server that sends files has no use for request bodies, folded fields or bare line feeds; each of them is how
requests are smuggled past a proxy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

MAX_HEAD_BYTES = 16 * 1024
MAX_TARGET_BYTES = 8 * 1024
MAX_FIELDS = 100

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
# No part can match what the next one starts with, so the time is linear in the length.
_HEAD = re.compile(
    rb"(" + _TOKEN + rb"{1,32}) ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])\r\n"
    rb"((?:" + _TOKEN + rb"+:[^\x00-\x08\x0a-\x1f\x7f]*\r\n)*)\r\n"
)
_VERSION = re.compile(rb"[^\r\n]* HTTP/(\d)\.\d\r\n")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
# Fields of which a second one contradicts the first
_SINGLE = frozenset({"host", "content-length", "range", "if-range", "if-modified-since", "if-unmodified-since"})


class RefusedRequest(Exception):
    """Not a request that is served; the connection ends after the answer."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


@dataclass(slots=True, eq=False)
class Request:
    method: str
    path: str
    """Without query, as it came: not decoded."""
    fields: Mapping[str, str]
    """By lower-case name; repeated ones joined with commas."""
    keep_alive: bool


def parse_head(head: bytes) -> Request:
    """A request from all bytes up to and including the empty line. Raises RefusedRequest."""
    match = _HEAD.fullmatch(head)
    if match is None:
        raise _why_refused(head)
    method, target, minor, block = match.groups()
    if len(target) > MAX_TARGET_BYTES:
        raise RefusedRequest(HTTPStatus.REQUEST_URI_TOO_LONG, "the address is too long")
    lines = block.decode("latin-1").split("\r\n")
    if len(lines) > MAX_FIELDS + 1:
        raise RefusedRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too many header fields")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            continue
        name, value = name.lower(), value.strip(" \t")
        if name not in fields:
            fields[name] = value
        elif name in _SINGLE:
            raise RefusedRequest(HTTPStatus.BAD_REQUEST, f"the field {name} is there twice")
        else:
            fields[name] = f"{fields[name]}, {value}"
    _check_framing(fields, http_1_0=minor == b"0")
    return Request(
        method=method.decode("ascii"),
        path=_path_of(target.decode("latin-1")),
        fields=fields,
        keep_alive=_keeps_alive(fields.get("connection"), http_1_0=minor == b"0"),
    )


def _check_framing(fields: Mapping[str, str], *, http_1_0: bool) -> None:
    if "host" not in fields and not http_1_0:
        raise RefusedRequest(HTTPStatus.BAD_REQUEST, "there is no Host field")  # RFC 9112 section 3.2
    if "transfer-encoding" in fields or fields.get("content-length", "0").strip("0"):
        raise RefusedRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "no request content is taken here")
    if "content-length" in fields and not fields["content-length"]:
        raise RefusedRequest(HTTPStatus.BAD_REQUEST, "Content-Length is empty")


def _path_of(target: str) -> str:
    if not target.startswith("/") and (absolute := _ABSOLUTE.match(target)):
        target = target[absolute.end() :] or "/"  # absolute-form, RFC 9112 section 3.2.2
    if "#" in target:
        raise RefusedRequest(HTTPStatus.BAD_REQUEST, "the address has a fragment")
    return target.partition("?")[0]


def _keeps_alive(connection: str | None, *, http_1_0: bool) -> bool:
    """HTTP/1.0 connections always end: keeping them was never standardised (RFC 9112 appendix C.2.2)."""
    if connection is None or http_1_0:
        return not http_1_0
    return "close" not in {option.strip().lower() for option in connection.split(",")}


def _why_refused(head: bytes) -> RefusedRequest:
    version = _VERSION.match(head)
    if version is not None and version.group(1) != b"1":
        return RefusedRequest(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is spoken here")
    return RefusedRequest(HTTPStatus.BAD_REQUEST, "this is not an HTTP request")
