"""Answers with what a link gives: a file or a part of it, an archive, a playlist."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from http import HTTPStatus

from oddaemon.domain.byte_range import parse_range
from oddaemon.domain.errors import NotFound, StorageMissing
from oddaemon.domain.link import LinkKind
from oddaemon.domain.types import ReplicaId
from oddaemon.fileserver.conditional import Verdict, evaluate, range_applies
from oddaemon.fileserver.elsewhere import Elsewhere, ElsewherePiece, Tally
from oddaemon.fileserver.http import Request
from oddaemon.fileserver.known import Known
from oddaemon.fileserver.response import (
    OpenFile,
    Piece,
    Response,
    Source,
    Variant,
    not_modified,
    partial,
    refusal,
    streamed,
    unsatisfiable,
    variant_of,
    whole,
)
from oddaemon.ports.storage import StorageProvider

_BEHIND_THE_FIRST = re.compile(r"bytes\s*=\s*(\d{1,18})-\d*", re.IGNORECASE | re.ASCII)
_PLAYLIST_TYPE = "audio/x-mpegurl"


@dataclass(slots=True)
class _FileElsewhere(Source):
    """Each part has a source of its own."""

    elsewhere: Elsewhere
    replica_id: ReplicaId
    path: str
    _pieces: list[ElsewherePiece] = field(default_factory=list)

    def piece(self, offset: int, length: int) -> ElsewherePiece:
        self._pieces.append(self.elsewhere.piece(self.replica_id, self.path, offset, length))
        return self._pieces[-1]

    def close(self) -> None:
        for piece in self._pieces:
            piece.close()


def serve(storage: StorageProvider, elsewhere: Elsewhere, request: Request, known: Known) -> Response:
    """Raises NotFound for a file that is not there as it was recorded, StorageMissing, OSError."""
    if known.token.kind is not LinkKind.FILE:
        response = _made(storage, elsewhere, request, known)
    elif known.content.is_elsewhere:
        source = _FileElsewhere(elsewhere, known.token.replica_id, known.content.files[0].disk_path)
        response = _conditional(request, _variant(known, known.content.files[0].modified_ns), source)
    else:
        response = _file(storage, request, known)
    if response.status in (200, 206) and request.method == "GET":
        response.link, response.user, response.expires_at = known.link, known.token.user_id, known.token.expires_at
    return response


def goes_on(storage: StorageProvider, request: Request, known: Known) -> bool:
    """It gets bytes behind the first alone: a client goes on with what it has begun, or a player seeks. A range
    that will be ignored, for what it says or for its If-Range, gets everything."""
    if known.token.kind is not LinkKind.FILE:
        return False  # an archive has no ranges: it is always sent from its beginning
    fields, file = request.fields, known.content.files[0]
    wanted = fields.get("range", "").strip()
    match = _BEHIND_THE_FIRST.fullmatch(wanted)
    if match is None or int(match[1]) == 0 or parse_range(wanted, file.size) is None:
        return False
    if "if-range" not in fields:
        return True
    if known.content.is_elsewhere:
        return range_applies(fields["if-range"], _variant(known, file.modified_ns).validators, time.time())
    try:
        fd = storage.open(known.token.replica_id, file.disk_path)
    except (NotFound, StorageMissing, OSError):
        return False
    try:
        return range_applies(fields["if-range"], _variant(known, os.fstat(fd).st_mtime_ns).validators, time.time())
    finally:
        os.close(fd)


def _file(storage: StorageProvider, request: Request, known: Known) -> Response:
    file = known.content.files[0]
    fd = storage.open(known.token.replica_id, file.disk_path)
    try:
        found = os.fstat(fd)
        if found.st_size != file.size:
            raise NotFound
        response = _conditional(request, _variant(known, found.st_mtime_ns), OpenFile(fd))
    except BaseException:
        os.close(fd)
        raise
    if response.body is None or response.status not in (200, 206):
        os.close(fd)
    return response


def _made(storage: StorageProvider, elsewhere: Elsewhere, request: Request, known: Known) -> Response:
    """An archive or a playlist."""
    content, replica_id = known.content, known.token.replica_id
    wanted = request.method == "GET"
    if known.archive is None:
        text = content.text.encode("utf-8", "replace")
        return streamed(iter([text]) if wanted else None, len(text), content.name, _PLAYLIST_TYPE, _nothing)
    archive = known.archive

    def piece_of(path: str, size: int, tally: Tally) -> ElsewherePiece:
        return elsewhere.piece(replica_id, path, 0, size, tally)

    stream: Generator[Piece, None, None]
    if content.is_elsewhere:
        stream = archive.relayed(piece_of)
    else:
        stream = archive.stream(lambda path: storage.open(replica_id, path))
    return streamed(stream if wanted else None, archive.length, content.name, "application/zip", stream.close)


def _conditional(request: Request, variant: Variant, source: Source) -> Response:
    """RFC 9110 section 13.2.2. A Range field counts with GET alone (section 14.2)."""
    fields = request.fields
    is_get = request.method == "GET"
    verdict = evaluate(fields, variant.validators)
    if verdict is Verdict.FAILED:
        return refusal(HTTPStatus.PRECONDITION_FAILED, "the file is not the one that was meant", body=is_get)
    if verdict is Verdict.NOT_MODIFIED:
        return not_modified(variant)
    if is_get and "range" in fields and range_applies(fields.get("if-range"), variant.validators, time.time()):
        ranges = parse_range(fields["range"], variant.size)
        if ranges is not None:
            return partial(variant, source, ranges) if ranges else unsatisfiable(variant, body=True)
    return whole(variant, source if is_get else None)


def _variant(known: Known, modified_ns: int) -> Variant:
    variant, file = known.variant, known.content.files[0]
    if variant is None or variant.modified_ns != modified_ns or variant.size != file.size:
        token = known.token
        variant = known.variant = variant_of(
            token.replica_id, token.file_index, file, known.content.name, modified_ns, inline=token.inline
        )
    return variant


def _nothing() -> None:
    """Nothing to release."""
