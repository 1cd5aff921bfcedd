"""A folder as a ZIP stream: stored, so that its length is known before the first byte, and never held in
memory.

By APPNOTE.TXT 6.3.10: checksums follow each file in a data descriptor (4.3.9), since a file is read only
once; names are UTF-8 (bit 11); ZIP64 (4.5.3) where a size, an offset or the number of files needs it.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from oddaemon.domain.files import display_path
from oddaemon.domain.link import LinkFile
from oddaemon.fileserver.elsewhere import ElsewherePiece, Tally

CHUNK_BYTES = 256 * 1024
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s4B4H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_DESCRIPTOR = struct.Struct("<4s3L")
_DESCRIPTOR64 = struct.Struct("<4sL2Q")
_MAX32 = 0xFFFFFFFF
_MAX16 = 0xFFFF
_FLAGS = 1 << 3 | 1 << 11
_VERSION, _VERSION64 = 20, 45
_UNIX = 3
_MODE = 0o100644 << 16


class ArchiveBroken(Exception):
    """A member is not there any more as it was recorded: the stream cannot be finished."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: bytes
    disk_path: str
    size: int
    offset: int
    modified_ns: int

    @property
    def is_64(self) -> bool:
        return self.size >= _MAX32

    @property
    def central_extra(self) -> bytes:
        figures = ((self.size, self.size) if self.is_64 else ()) + ((self.offset,) if self.offset >= _MAX32 else ())
        return struct.pack(f"<2H{len(figures)}Q", 1, 8 * len(figures), *figures) if figures else b""

    @property
    def local_length(self) -> int:
        descriptor = _DESCRIPTOR64 if self.is_64 else _DESCRIPTOR
        return _LOCAL.size + len(self.name) + (20 if self.is_64 else 0) + self.size + descriptor.size

    @property
    def central_length(self) -> int:
        return _CENTRAL.size + len(self.name) + len(self.central_extra)


class Archive:
    """The plan of an archive: what is in it, where, and how long all of it is."""

    def __init__(self, files: Sequence[LinkFile]) -> None:
        self._members: list[_Member] = []
        offset = 0
        for name, file in zip(_distinct([display_path(file.path) for file in files]), files, strict=True):
            member = _Member(
                name.encode("utf-8", "replace")[:_MAX16], file.disk_path, file.size, offset, file.modified_ns
            )
            self._members.append(member)
            offset += member.local_length
        self._directory_offset = offset
        self._directory_length = sum(member.central_length for member in self._members)
        self.length = offset + self._directory_length + len(self._end())
        """Bytes of the whole archive."""

    def stream(self, open_file: Callable[[str], int]) -> Generator[bytes, None, None]:
        """The archive in pieces of at most 256 KiB. `open_file` gives a descriptor for a disk path.

        Raises ArchiveBroken for a member of another size, and what `open_file` raises.
        """
        finished: list[tuple[int, tuple[int, int]]] = []
        for member in self._members:
            fd = open_file(member.disk_path)
            try:
                found = os.fstat(fd)
                if found.st_size != member.size:
                    raise ArchiveBroken
                stamp = _dos_time(found.st_mtime)
                yield _local_header(member, stamp)
                checksum, offset = 0, 0
                while offset < member.size:
                    chunk = os.pread(fd, min(CHUNK_BYTES, member.size - offset), offset)
                    if not chunk:
                        raise ArchiveBroken
                    checksum = zlib.crc32(chunk, checksum)
                    offset += len(chunk)
                    yield chunk
            finally:
                os.close(fd)
            yield _descriptor(member, checksum)
            finished.append((checksum, stamp))
        for member, (checksum, stamp) in zip(self._members, finished, strict=True):
            yield _central_header(member, checksum, stamp)
        yield self._end()

    def relayed(
        self, piece_of: Callable[[str, int, Tally], ElsewherePiece]
    ) -> Generator[bytes | ElsewherePiece, None, None]:
        """The archive of members that lie elsewhere. `piece_of` gives all bytes of a disk path and size; each is closed
        here when the next is asked for."""
        finished: list[tuple[int, tuple[int, int]]] = []
        for member in self._members:
            stamp, tally = _dos_time(member.modified_ns / 1e9), Tally()
            yield _local_header(member, stamp)
            if member.size:
                piece = piece_of(member.disk_path, member.size, tally)
                try:
                    yield piece
                finally:
                    piece.close()
            yield _descriptor(member, tally.checksum)
            finished.append((tally.checksum, stamp))
        for member, (checksum, stamp) in zip(self._members, finished, strict=True):
            yield _central_header(member, checksum, stamp)
        yield self._end()

    def _end(self) -> bytes:
        count, length, offset = len(self._members), self._directory_length, self._directory_offset
        end = _END.pack(
            b"PK\x05\x06", 0, 0, min(count, _MAX16), min(count, _MAX16), min(length, _MAX32), min(offset, _MAX32), 0
        )
        if count < _MAX16 and length < _MAX32 and offset < _MAX32:
            return end
        made_by = _UNIX << 8 | _VERSION64
        end64 = _END64.pack(b"PK\x06\x06", _END64.size - 12, made_by, _VERSION64, 0, 0, count, count, length, offset)
        return end64 + _LOCATOR64.pack(b"PK\x06\x07", 0, offset + length, 1) + end


def _local_header(member: _Member, stamp: tuple[int, int]) -> bytes:
    version = _VERSION64 if member.is_64 else _VERSION
    # sizes and checksum are in the descriptor (4.4.4); the ZIP64 field says that its sizes have 8 bytes
    # (4.3.9.2)
    size = _MAX32 if member.is_64 else 0
    extra = struct.pack("<2H2Q", 1, 16, 0, 0) if member.is_64 else b""
    header = _LOCAL.pack(
        b"PK\x03\x04", version, _FLAGS, 0, stamp[1], stamp[0], 0, size, size, len(member.name), len(extra)
    )
    return header + member.name + extra


def _descriptor(member: _Member, checksum: int) -> bytes:
    form = _DESCRIPTOR64 if member.is_64 else _DESCRIPTOR
    return form.pack(b"PK\x07\x08", checksum, member.size, member.size)


def _central_header(member: _Member, checksum: int, stamp: tuple[int, int]) -> bytes:
    extra = member.central_extra
    version = _VERSION64 if extra else _VERSION
    size = min(member.size, _MAX32)
    header = _CENTRAL.pack(
        b"PK\x01\x02", version, _UNIX, version, 0, _FLAGS, 0, stamp[1], stamp[0], checksum, size, size,
        len(member.name), len(extra), 0, 0, 0, _MODE, min(member.offset, _MAX32),
    )  # fmt: skip
    return header + member.name + extra


def _dos_time(seconds: float) -> tuple[int, int]:
    """Date and time of MS-DOS (4.4.6), in UTC, at least 1980."""
    moment = time.gmtime(max(seconds, 315_532_800))
    year = min(moment.tm_year, 2107) - 1980
    return (
        year << 9 | moment.tm_mon << 5 | moment.tm_mday,
        moment.tm_hour << 11 | moment.tm_min << 5 | min(moment.tm_sec, 59) // 2,
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, a number added to those that were there before."""
    numbers: dict[str, int] = {}
    result = []
    for name in names:
        stem, dot, extension = name.rpartition(".")
        if not stem or "/" in extension:
            stem, dot, extension = name, "", ""
        candidate, number = name, numbers.get(name, 1)
        while candidate in numbers:
            number += 1
            candidate = f"{stem} ({number}){dot}{extension}"
        numbers[name] = number
        numbers.setdefault(candidate, 1)
        result.append(candidate)
    return result
