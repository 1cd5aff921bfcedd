"""Answers: status, header fields, and a body in pieces that are bytes or parts of open files.

Header values are made here from facts, never from what a request said.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol
from urllib.parse import quote

from oddaemon.domain.byte_range import ByteRange
from oddaemon.domain.errors import NodeUnavailable, OpenDebridError, StorageMissing
from oddaemon.domain.files import display_name, may_be_inline
from oddaemon.domain.link import LinkFile
from oddaemon.domain.types import ReplicaId, UserId
from oddaemon.fileserver.conditional import Validators, http_date
from oddaemon.fileserver.elsewhere import ElsewherePiece

# attr-char of RFC 8187 section 3.2.1, without the alphanumeric ones
_ATTR_CHARS = "!#$&+-.^_`|~"
_FALLBACK_MISTAKEN = frozenset('"\\%')
_REASONS = {status.value: status.phrase for status in HTTPStatus}
# What is sent with everything that comes from a stranger: it is neither guessed at, nor run, nor kept by
# others.
_GUARDS = (
    "X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox; default-src 'none'\r\n"
    "Referrer-Policy: no-referrer\r\nCache-Control: private\r\n"
)


@dataclass(frozen=True, slots=True)
class FilePiece:
    """A part of an open file."""

    fd: int
    offset: int
    length: int


Piece = bytes | FilePiece | ElsewherePiece


class Source(Protocol):
    """A file of which parts are sent."""

    def piece(self, offset: int, length: int) -> FilePiece | ElsewherePiece: ...

    def close(self) -> None:
        """Once, when no part is sent any more."""


@dataclass(frozen=True, slots=True)
class OpenFile(Source):
    """One of this node."""

    fd: int

    def piece(self, offset: int, length: int) -> FilePiece:
        return FilePiece(self.fd, offset, length)

    def close(self) -> None:
        os.close(self.fd)


class Body:
    """Pieces in order, and what has to be released at the end, however it comes."""

    __slots__ = ("_release", "pieces")

    def __init__(self, pieces: Iterator[Piece], release: Callable[[], object]) -> None:
        self.pieces = pieces
        self._release: Callable[[], object] | None = release

    def close(self) -> None:
        """Idempotent."""
        release, self._release = self._release, None
        if release is not None:
            release()


@dataclass(slots=True, eq=False)
class Response:
    status: int
    head: bytes
    """Without the fields that belong to the connection, and without the empty line."""
    body: Body | None = None
    link: bytes | None = None
    """Whose usage this counts for."""
    user: UserId | None = None
    """Who made that link."""
    expires_at: float = math.inf
    """When it ends, in seconds of the epoch: then this ends, too."""
    close: bool = False
    text: bytes = b""
    """Of a refusal: its whole body."""
    piece: Piece | None = None
    """What is being sent of the body."""
    opens: ElsewherePiece | None = None
    """What has to be open before anything is said: without it there is another answer."""

    def again(self, *, with_body: bool) -> Response:
        """The same refusal for another request."""
        body = Body(iter([self.text]), _nothing) if with_body else None
        return Response(self.status, self.head, body, text=self.text)


@dataclass(frozen=True, slots=True)
class Variant:
    """A file as it is now: its validators and the header fields that all answers about it share."""

    size: int
    modified_ns: int
    content_type: str
    validators: Validators
    validator_fields: str
    representation_fields: str


def variant_of(
    replica_id: ReplicaId, index: int, file: LinkFile, name: str, modified_ns: int, *, inline: bool
) -> Variant:
    """Of a file of the size that was recorded. The same on every node that tells of this replica."""
    identity = f"{replica_id} {index} {file.size} {modified_ns}".encode()
    # a file from the future was modified now at the latest (RFC 9110 section 8.8.2.1)
    modified = min(modified_ns // 1_000_000_000, int(time.time()))
    validators = Validators(f'"{hashlib.blake2b(identity, digest_size=12).hexdigest()}"', modified)
    validator_fields = f"ETag: {validators.etag}\r\nLast-Modified: {http_date(modified)}\r\n"
    return Variant(
        size=file.size,
        modified_ns=modified_ns,
        content_type=file.content_type,
        validators=validators,
        validator_fields=validator_fields,
        representation_fields=(
            f"Accept-Ranges: bytes\r\n{validator_fields}"
            f"{disposition_field(name, file.content_type, inline=inline)}{_GUARDS}"
        ),
    )


def whole(variant: Variant, source: Source | None) -> Response:
    """200; without a body for HEAD (`source` None)."""
    head = _head(
        200,
        f"Content-Type: {variant.content_type}\r\nContent-Length: {variant.size}\r\n{variant.representation_fields}",
    )
    if source is None:
        return Response(200, head)
    return _with_parts(200, head, source, [source.piece(0, variant.size)])


def partial(variant: Variant, source: Source, ranges: Sequence[ByteRange]) -> Response:
    """206, of one range or of several as multipart/byteranges (RFC 9110 sections 15.3.7, 14.6)."""
    if len(ranges) == 1:
        one = ranges[0]
        head = _head(
            206,
            f"Content-Type: {variant.content_type}\r\nContent-Length: {one.length}\r\n"
            f"Content-Range: {one.content_range(variant.size)}\r\n{variant.representation_fields}",
        )
        return _with_parts(206, head, source, [source.piece(one.start, one.length)])
    boundary = os.urandom(15).hex()
    pieces: list[Piece] = []
    for one in ranges:
        pieces.append(
            f"\r\n--{boundary}\r\nContent-Type: {variant.content_type}\r\n"
            f"Content-Range: {one.content_range(variant.size)}\r\n\r\n".encode("latin-1")
        )
        pieces.append(source.piece(one.start, one.length))
    pieces.append(f"\r\n--{boundary}--\r\n".encode())
    length = sum(len(piece) if isinstance(piece, bytes) else 0 for piece in pieces) + sum(one.length for one in ranges)
    head = _head(
        206,
        f"Content-Type: multipart/byteranges; boundary={boundary}\r\nContent-Length: {length}\r\n"
        f"{variant.representation_fields}",
    )
    return _with_parts(206, head, source, pieces)


def not_modified(variant: Variant) -> Response:
    return Response(304, _head(304, f"{variant.validator_fields}Cache-Control: private\r\n"))


def unsatisfiable(variant: Variant, *, body: bool) -> Response:
    return refusal(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "the file has no such bytes",
        body=body,
        extra=f"Content-Range: bytes */{variant.size}\r\nAccept-Ranges: bytes\r\n",
    )


def streamed(
    pieces: Iterator[Piece] | None, length: int, name: str, content_type: str, release: Callable[[], object]
) -> Response:
    """200 of something made on the way: no ranges, no validators. `pieces` None: HEAD."""
    head = _head(
        200,
        f"Content-Type: {content_type}\r\nContent-Length: {length}\r\nAccept-Ranges: none\r\n"
        f"{disposition_field(name, content_type, inline=False)}{_GUARDS}",
    )
    return Response(200, head, None if pieces is None else Body(pieces, release))


def refusal(status: HTTPStatus, message: str, *, body: bool = True, extra: str = "") -> Response:
    """An error as one line of plain text. `message` is ours."""
    text = f"{message}\n".encode()
    head = _head(
        status.value,
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\n{extra}{_GUARDS}",
    )
    return Response(status.value, head, Body(iter([text]), _nothing) if body else None, text=text)


def relayed(fd: int, offset: int, length: int, proof: str, *, body: bool) -> Response:
    """200 to a controller's ticket: bytes of a file, as they are."""
    head = _head(200, f"Content-Type: application/octet-stream\r\nContent-Length: {length}\r\nOD-Relay: {proof}\r\n")
    source = OpenFile(fd)
    if not body:
        source.close()
        return Response(200, head)
    response = _with_parts(200, head, source, [source.piece(offset, length)])
    response.close = True
    return response


def unavailable(why: str | OpenDebridError, *, body: bool = True) -> Response:
    """It may be had soon."""
    if isinstance(why, StorageMissing):
        message = "the disk with this file is not there at the moment"
    elif isinstance(why, NodeUnavailable):
        message = "the node with this file is not connected at the moment"
    else:
        message = why if isinstance(why, str) else "the file is being fetched again"
    return refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, body=body, extra="Retry-After: 10\r\n")


def disposition_field(name: str, content_type: str, *, inline: bool) -> str:
    """Content-Disposition (RFC 6266), with a line end. Shown in the browser only what cannot carry script. A
    name that is not plain ASCII comes twice: as `filename*` (RFC 8187), which wins, and for old clients with
    `_` for the rest."""
    kind = "inline" if inline and may_be_inline(content_type) else "attachment"
    shown = display_name(name)
    fallback = "".join(
        character if " " <= character <= "~" and character not in _FALLBACK_MISTAKEN else "_" for character in shown
    )
    field = f'Content-Disposition: {kind}; filename="{fallback}"'
    if fallback != shown:
        field += f"; filename*=UTF-8''{quote(shown, safe=_ATTR_CHARS, errors='replace')}"
    return field + "\r\n"


class _DateField:
    """The Date field, made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._field = ""

    def now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second, self._field = second, f"Date: {http_date(second)}\r\n"
        return self._field


_DATE = _DateField()


def _head(status: int, fields: str) -> bytes:
    return f"HTTP/1.1 {status} {_REASONS[status]}\r\n{_DATE.now()}{fields}".encode("latin-1")


def _with_parts(status: int, head: bytes, source: Source, pieces: Sequence[Piece]) -> Response:
    opens = next((piece for piece in pieces if isinstance(piece, ElsewherePiece)), None)
    return Response(status, head, Body(iter(pieces), source.close), opens=opens)


def _nothing() -> None:
    """Nothing to release."""
