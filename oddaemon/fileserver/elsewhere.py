"""Files that lie on another node: their bytes come from a descriptor that the daemon hands over, and go to the client
without passing through this process's memory, but for those of archives, whose checksums are made on the way.

A client that takes nothing holds up its own source alone: what is under way is a pipe's content, no more.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import zlib
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass

from oddaemon.domain.errors import NodeUnavailable, OpenDebridError
from oddaemon.domain.types import ReplicaId

OpenElsewhere = Callable[[ReplicaId, str, int, int], Awaitable[int]]
"""A descriptor from which so many bytes of a file come, from an offset on; whoever gets it closes it. Raises
NodeUnavailable, NotFound, TimeoutError."""
Spawn = Callable[[Coroutine[None, None, None], str], object]

PIPE_BYTES = 256 * 1024
"""Of each transfer, in the system's memory. One user's pipes may have 64 MiB in all before they get smaller."""
CHUNK_BYTES = 256 * 1024
_F_SETPIPE_SZ = 1031


class SourceWaits(Exception):
    """Nothing more has come yet."""


class SourceLost(Exception):
    """The bytes end before their end: the node or the way to it is gone."""


@dataclass(slots=True)
class Tally:
    """CRC-32 of what was read."""

    checksum: int = 0


class ElsewherePiece:
    """A part of such a file: `begin`, then `send_to` (or `read`, with a tally) until nothing is left."""

    __slots__ = ("_closed", "_coming", "_name", "_open", "_pipe", "_piped", "_spawn", "error", "fd", "opening", "tally")

    def __init__(
        self, open_piece: Callable[[], Awaitable[int]], spawn: Spawn, name: str, length: int, tally: Tally | None
    ) -> None:
        self._open, self._spawn, self._name = open_piece, spawn, name
        self._coming = length
        self._piped = 0
        self._pipe: tuple[int, int] | None = None
        self._closed = False
        self.tally = tally
        self.fd = -1
        """The source, once it is open."""
        self.error: Exception | None = None
        """Why it could not be opened."""
        self.opening: asyncio.Future[None] | None = None

    @property
    def left(self) -> int:
        return self._coming + self._piped

    def begin(self) -> asyncio.Future[None]:
        """Done when the source is open, or there is an error."""
        if self.opening is None:
            self.opening = asyncio.get_running_loop().create_future()
            self._spawn(self._opened(self.opening), self._name)
        return self.opening

    def send_to(self, client: int, most: int) -> int:
        """How many bytes the client's socket took. Raises SourceWaits, BlockingIOError when it is the client that
        waits, SourceLost, OSError."""
        if self._pipe is None:
            self._pipe = _new_pipe()
        is_more = self._fill(self._pipe[1])
        if not self._piped:
            raise SourceWaits
        flags = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE | (os.SPLICE_F_MORE if is_more else 0)
        count = os.splice(self._pipe[0], client, min(self._piped, most), flags=flags)
        self._piped -= count
        return count

    def _fill(self, pipe: int) -> bool:
        """Whether the source has more than there is room for."""
        room = min(self._coming, PIPE_BYTES - self._piped)
        if room <= 0:
            return self._coming > 0
        try:
            count = os.splice(self.fd, pipe, room, flags=os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE)
        except BlockingIOError:  # nothing has come, or the pipe is full of small parts
            return False
        if count == 0:
            raise SourceLost
        self._coming -= count
        self._piped += count
        return count == room and self._coming > 0

    def read(self) -> bytes:
        """At most a chunk, tallied. Raises SourceWaits, SourceLost, OSError."""
        assert self.tally is not None
        try:
            data = os.read(self.fd, min(CHUNK_BYTES, self._coming))
        except BlockingIOError:
            raise SourceWaits from None
        if not data:
            raise SourceLost
        self._coming -= len(data)
        self.tally.checksum = zlib.crc32(data, self.tally.checksum)
        return data

    def close(self) -> None:
        """Idempotent. Whoever sends the bytes sees that nobody wants them."""
        self._closed = True
        pipe, self._pipe = self._pipe, None
        for fd in (self.fd, *(pipe or ())):
            if fd >= 0:
                os.close(fd)
        self.fd = -1

    async def _opened(self, opening: asyncio.Future[None]) -> None:
        try:
            fd = await self._open()
            if self._closed:
                os.close(fd)
            else:
                self.fd = fd
        except (OpenDebridError, OSError) as error:
            self.error = error
        finally:
            if self.fd < 0 and self.error is None:
                self.error = NodeUnavailable("nobody wants it any more")
            if not opening.done():
                opening.set_result(None)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The way to other nodes' files, of one process."""

    open: OpenElsewhere
    spawn: Spawn

    def piece(
        self, replica_id: ReplicaId, path: str, offset: int, length: int, tally: Tally | None = None
    ) -> ElsewherePiece:
        name = f"fileserver.open.{replica_id}"
        return ElsewherePiece(lambda: self.open(replica_id, path, offset, length), self.spawn, name, length, tally)


def _new_pipe() -> tuple[int, int]:
    pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with suppress(OSError):  # it stays at 64 KiB, which is slower
        fcntl.fcntl(pipe[1], _F_SETPIPE_SZ, PIPE_BYTES)
    return pipe
