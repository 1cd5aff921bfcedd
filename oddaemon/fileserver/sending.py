"""Sends answers on one connection.

Small pieces are read and sent with the head in one call, large ones go from file to socket with sendfile in slices, one
slice of at most 4 MiB a turn, so that no client holds up the others.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from oddaemon.fileserver.allowances import Allowances
from oddaemon.fileserver.archive import ArchiveBroken
from oddaemon.fileserver.elsewhere import ElsewherePiece, SourceWaits
from oddaemon.fileserver.response import FilePiece, Response
from oddaemon.fileserver.usage import Usage

INLINE_BYTES = 128 * 1024
"""Pieces up to this length are read into memory and sent together with the head."""
TURN_BYTES = 4 * 1024 * 1024
"""What one connection may send before the others have their turn."""
SLICE_BYTES = 2 * 1024 * 1024
_PAGE_BYTES = 4096


class DaySpent(Exception):
    """The links of this user may give no more today."""


class Sender:
    """One answer after the other: `begin`, then `turn` until it is out."""

    __slots__ = ("_allowances", "_corked", "_fd", "_out", "_socket", "_unsent_head", "_usage", "moved", "source")

    def __init__(self, accepted: socket.socket, usage: Usage[bytes], allowances: Allowances) -> None:
        self._socket = accepted
        self._fd = accepted.fileno()
        self._usage = usage
        self._allowances = allowances
        self._out: memoryview | None = None
        self._unsent_head = 0
        self._corked = False
        self.moved = False
        """The client took something in the last turn."""
        self.source: ElsewherePiece | None = None
        """What the last turn ended for: nothing had come of it. None: it was the client."""

    def begin(self, response: Response) -> None:
        head = response.head + (b"Connection: close\r\n\r\n" if response.close else b"\r\n")
        self._unsent_head = len(head)
        if response.link is not None:
            self._usage.add(response.link, 1, 0)
        self._out = memoryview(head)

    def turn(self, response: Response) -> bool:
        """Sends until the client's buffer is full, nothing comes from the source, the turn is over, or the answer is
        out: then it is True. Raises DaySpent, ArchiveBroken, SourceLost, what the body raises, and OSError: it cannot
        be sent to its end."""
        self.moved, self.source = False, None
        try:
            if self._send_turn(response) >= TURN_BYTES:
                return False
        except (BlockingIOError, InterruptedError):
            return False
        except SourceWaits:
            assert isinstance(response.piece, ElsewherePiece)
            self.source = response.piece
            return False
        if self._corked:
            self._cork(False)
        return True

    def _send_turn(self, response: Response) -> int:
        """Raises BlockingIOError when the client has to take something first. Less than a turn: all is
        sent."""
        total = 0
        pieces = response.body.pieces if response.body is not None else iter(())
        while total < TURN_BYTES:
            piece = response.piece
            if piece is None:
                piece = response.piece = next(pieces, None)
            if piece is None:
                if self._out is None:
                    return total
                total += self._send(response, self._out)
            elif response.user is not None and self._allowances.wait(response.user):
                raise DaySpent
            elif isinstance(piece, ElsewherePiece):
                total += self._send_elsewhere(response, piece)
            elif not isinstance(piece, FilePiece):
                response.piece = None
                self._out = memoryview(piece if self._out is None else b"".join((self._out, piece)))
            elif piece.length <= INLINE_BYTES:
                response.piece = None
                data = os.pread(piece.fd, piece.length, piece.offset)
                if len(data) != piece.length:
                    raise ArchiveBroken
                total += self._send_with(response, data)
            elif not self._corked:
                # Only full packets until the end: a quarter less CPU per GiB, and the head shares one with the file.
                self._cork(True)
            elif self._out is not None:
                total += self._send(response, self._out)
            else:
                total += self._send_file(response, piece)
        return total

    def _cork(self, corked: bool) -> None:
        self._corked = corked
        with suppress(OSError):  # a connection that was reset says so when it is next written to
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, corked)

    def _send(self, response: Response, data: memoryview) -> int:
        count = self._socket.send(data)
        self._out = data[count:] if count < len(data) else None
        self._progress(response, count)
        if self._out is not None:
            raise BlockingIOError
        return count

    def _send_with(self, response: Response, data: bytes) -> int:
        """What is left of the head, and a small piece, in one call."""
        before = self._out
        if before is None:
            return self._send(response, memoryview(data))
        try:
            count = self._socket.sendmsg((before, data))
        except (BlockingIOError, InterruptedError):
            self._out = memoryview(b"".join((before, data)))
            raise
        self._out = None
        if count < len(before) + len(data):
            self._out = memoryview(b"".join((before, data)))[count:]
            self._progress(response, count)
            raise BlockingIOError
        self._progress(response, count)
        return count

    def _send_file(self, response: Response, piece: FilePiece) -> int:
        # ends on a page: what starts inside of one takes two fragments of the socket's buffer for each page
        wanted = min(piece.length, SLICE_BYTES - piece.offset % _PAGE_BYTES)
        may = self._allowances.left(response.user) if response.user is not None else None
        if may is not None:
            wanted = min(wanted, may)
        count = os.sendfile(self._fd, piece.fd, piece.offset, wanted)
        if count == 0:
            raise ArchiveBroken  # it was truncated under us
        left = piece.length - count
        response.piece = FilePiece(piece.fd, piece.offset + count, left) if left else None
        self._progress(response, count)
        if count < wanted:
            # The socket is full. Asking again at once would send in crumbs what the client takes meanwhile, at several
            # times the cost; the loop says when there is room for a good piece.
            raise BlockingIOError
        return count

    def _send_elsewhere(self, response: Response, piece: ElsewherePiece) -> int:
        if self._out is not None:
            return self._send(response, self._out)
        if not piece.left:
            response.piece = None
            piece.close()
            return 0
        if piece.error is not None:
            raise piece.error
        if piece.fd < 0:
            piece.begin()
            raise SourceWaits
        if piece.tally is not None:
            self._out = memoryview(piece.read())
            return 0
        may = self._allowances.left(response.user) if response.user is not None else None
        count = piece.send_to(self._fd, SLICE_BYTES if may is None else min(may, SLICE_BYTES))
        self._progress(response, count)
        return count

    def _progress(self, response: Response, count: int) -> None:
        self.moved = True
        if self._unsent_head:
            of_head = min(self._unsent_head, count)
            self._unsent_head -= of_head
            count -= of_head
        if count and response.link is not None:
            self._usage.add(response.link, 0, count)
            if response.user is not None:
                self._allowances.gave(response.user, count)
