"""Connections of one file process: read a request, send the answer, stay or go. No protocol knowledge beyond
that.

Sockets are driven straight from the event loop's readiness callbacks: measured against nginx, a framework's
transport, its tasks and its parser cost more than all that a small range needs. Small pieces are read and
sent with the head in one call, large ones go from file to socket with sendfile in slices, one slice of at
most 4 MiB a turn, so that no client holds up the others.

Bounded everywhere: the head's size and time, the time without progress in either direction, and the number of
connections.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from asyncio import AbstractEventLoop, Future
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from oddaemon.domain.errors import OpenDebridError
from oddaemon.domain.types import UserId
from oddaemon.fileserver.archive import ArchiveBroken
from oddaemon.fileserver.http import MAX_HEAD_BYTES, RefusedRequest, parse_head
from oddaemon.fileserver.response import FilePiece, Response, refusal
from oddaemon.fileserver.usage import Usage

if TYPE_CHECKING:
    from oddaemon.fileserver.app import Answer, FileApp

log = logging.getLogger(__name__)

INLINE_BYTES = 128 * 1024
"""Pieces up to this length are read into memory and sent together with the head."""
TURN_BYTES = 4 * 1024 * 1024
"""What one connection may send before the others have their turn."""
SLICE_BYTES = 2 * 1024 * 1024
_PAGE_BYTES = 4096
_RECEIVE_BYTES = 16 * 1024
_ACCEPTS_PER_TURN = 64
_PIPELINED_PER_TURN = 16
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 256 * 1024
_SWEEP_SECONDS = 0.5
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_ACCEPT_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    max_connections: int = 1024
    head_seconds: float = 15.0
    """From the first byte of a request (or the connection's start) to the end of its head."""
    idle_seconds: float = 75.0
    """Between two requests."""
    write_idle_seconds: float = 60.0
    """Without a byte taken by the client."""


class DaySpent(Exception):
    """The links of this user may give no more today."""


class Acceptor:
    """Accepts connections on a listening socket, which may be shared with other processes, and holds them."""

    def __init__(self, listener: socket.socket, app: FileApp, limits: ConnectionLimits) -> None:
        self.loop: AbstractEventLoop = asyncio.get_running_loop()
        self.app = app
        self.limits = limits
        self.usage: Usage[bytes] = Usage()
        self.draining = False
        self.empty = asyncio.Event()
        self._listener = listener
        self._connections: dict[Connection, None] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._listener.setblocking(False)
        self.loop.add_reader(self._listener.fileno(), self._accept)
        self._sweeping = self.loop.call_later(_SWEEP_SECONDS, self._sweep)

    def drain(self) -> None:
        """Accepts nothing more and ends connections as they finish what they do."""
        self.draining = True
        self.loop.remove_reader(self._listener.fileno())
        for connection in list(self._connections):
            if connection.idle:
                connection.close()
        self._note_empty()

    def close(self) -> None:
        """Ends everything now."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self.loop.remove_reader(self._listener.fileno())
        for connection in list(self._connections):
            connection.close()

    def cut(self, links: Collection[bytes]) -> None:
        """Ends every transfer of these links in the middle."""
        for connection in list(self._connections):
            if connection.link in links:
                connection.close()

    def cut_links(self) -> None:
        """Ends every transfer in the middle."""
        for connection in list(self._connections):
            if connection.link is not None:
                connection.close()

    def cut_spent(self) -> None:
        """Ends every transfer, in the middle, of users whose links may give no more."""
        for connection in list(self._connections):
            if connection.user is not None and self.app.allowances.wait(connection.user):
                connection.close()

    def forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        self._note_empty()

    def _note_empty(self) -> None:
        if self.draining and not self._connections:
            self.empty.set()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_DESCRIPTORS:
                    raise
                self.loop.remove_reader(self._listener.fileno())
                self.loop.call_later(_ACCEPT_PAUSE_SECONDS, self._accept_again)
                return
            accepted.setblocking(False)
            if len(self._connections) >= self.limits.max_connections and not self._make_room():
                accepted.close()
                continue
            self._connections[Connection(accepted, self)] = None

    def _accept_again(self) -> None:
        if not self.draining:
            self.loop.add_reader(self._listener.fileno(), self._accept)

    def _make_room(self) -> bool:
        """Ends the connection that has been idle longest."""
        for connection in self._connections:
            if connection.idle:
                connection.close()
                return True
        return False

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in [held for held in self._connections if held.deadline < now]:
            connection.expire()
        self._sweeping = self.loop.call_later(_SWEEP_SECONDS, self._sweep)


class Connection:
    """One client. Reads while nothing is being answered, answers one request at a time, in order."""

    __slots__ = (
        "_acceptor", "_buffer", "_closed", "_corked", "_ended", "_lingering", "_loop", "_out", "_reading",
        "_response", "_socket", "_unsent_head", "_waiting", "_writing", "deadline", "fd",
    )  # fmt: skip

    def __init__(self, accepted: socket.socket, acceptor: Acceptor) -> None:
        self._socket = accepted
        self._acceptor = acceptor
        self._loop = acceptor.loop
        self.fd = accepted.fileno()
        self.deadline = self._loop.time() + acceptor.limits.head_seconds
        self._buffer = b""
        self._out: memoryview | None = None
        self._response: Response | None = None
        self._waiting = False
        self._unsent_head = 0
        self._corked = False
        self._ended = False  # the client sends nothing more
        self._lingering = -1
        self._closed = False
        self._writing = False
        self._reading = True
        self._loop.add_reader(self.fd, self._readable)
        self._readable()  # the request is often there already

    @property
    def idle(self) -> bool:
        return self._response is None and not self._waiting and not self._buffer and self._lingering < 0

    @property
    def link(self) -> bytes | None:
        return None if self._response is None else self._response.link

    @property
    def user(self) -> UserId | None:
        return None if self._response is None else self._response.user

    def close(self) -> None:
        """Idempotent. In the middle of a body the client sees that the end is missing."""
        if self._closed:
            return
        self._closed = True
        self._acceptor.forget(self)
        self._loop.remove_reader(self.fd)
        self._loop.remove_writer(self.fd)
        self._socket.close()
        self._finish_body()

    def expire(self) -> None:
        """The deadline has passed."""
        if self._response is None and not self._waiting and self._buffer and self._lingering < 0:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the request took too long")
        else:
            self.close()

    # -- reading

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        if self._lingering >= 0:
            self._lingering += len(data)
            if not data or self._lingering > _LINGER_BYTES:
                self.close()
            return
        if not data:
            self._ended = True
            self._pause_reading()
            if self._response is None and not self._waiting:
                self.close()
            return
        if self._response is not None or self._waiting:
            self._buffer += data
            if len(self._buffer) > MAX_HEAD_BYTES:
                self._pause_reading()
            return
        if not self._buffer:
            self.deadline = self._loop.time() + self._acceptor.limits.head_seconds
            self._buffer = data
        else:
            self._buffer += data
        self._process()

    def _pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self.fd)

    def _resume_reading(self) -> None:
        if not self._reading and not self._ended:
            self._reading = True
            self._loop.add_reader(self.fd, self._readable)

    def _process(self) -> None:
        """Answers the requests in the buffer, as far as that goes without waiting."""
        for _ in range(_PIPELINED_PER_TURN):
            if self._closed or self._response is not None or self._waiting or self._lingering >= 0:
                return
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                self._wait_for_more()
                return
            head, self._buffer = self._buffer[: end + 4], self._buffer[end + 4 :]
            # an empty line before a request is passed over (RFC 9112 section 2.2)
            if head.startswith(b"\r\n"):
                head = head[2:]
                if head == b"\r\n":
                    continue
            self._answer(head)
        if self._buffer and not self._closed and self._response is None and not self._waiting:
            self._loop.call_soon(self._process)

    def _wait_for_more(self) -> None:
        if len(self._buffer) > MAX_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request head is too large")
        elif self._ended:
            self.close()
        else:
            self._resume_reading()

    def _answer(self, head: bytes) -> None:
        try:
            if len(head) > MAX_HEAD_BYTES:
                raise RefusedRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request head is too large")
            request = parse_head(head)
        except RefusedRequest as refused:
            self._refuse(refused.status, refused.message)
            return
        try:
            answer = self._acceptor.app.respond(request, self._client)
        except BaseException:
            self.close()  # a defect: the loop logs it, and nobody waits for an answer
            raise
        if isinstance(answer, Response):
            self._begin(answer, keep_alive=request.keep_alive)
            return
        self._waiting = True
        self.deadline = self._loop.time() + self._acceptor.limits.write_idle_seconds

        def answered(done: Future[Answer]) -> None:
            self._waiting = False
            if not self._closed:
                self._begin(self._acceptor.app.resume(request, done.result()), keep_alive=request.keep_alive)
                self._process()

        answer.add_done_callback(answered)

    def _client(self) -> str:
        """The address of the other end; nothing when that is gone already."""
        try:
            return str(self._socket.getpeername()[0])
        except OSError:
            return ""

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._buffer = b""
        self._begin(refusal(status, message), keep_alive=False)

    # -- writing

    def _begin(self, response: Response, *, keep_alive: bool) -> None:
        if not keep_alive or self._ended or self._acceptor.draining:
            response.close = True
        self._response = response
        head = response.head + (b"Connection: close\r\n\r\n" if response.close else b"\r\n")
        self._unsent_head = len(head)
        self.deadline = self._loop.time() + self._acceptor.limits.write_idle_seconds
        if response.link is not None:
            self._acceptor.usage.add(response.link, 1, 0)
        self._out = memoryview(head)
        self._pump()

    def _pump(self) -> None:
        """Sends until the client's buffer is full, the turn is over, or the answer is out."""
        response = self._response
        if response is None:
            return
        sent = 0
        try:
            sent = self._send_turn(response)
        except (BlockingIOError, InterruptedError):
            self._want_to_write()
            return
        except DaySpent:
            self.close()
            return
        except (ArchiveBroken, OpenDebridError) as error:
            log.warning(
                "a transfer ends early: a file changed under it",
                extra={"action": "fileserver.cut", "error": type(error).__name__},
            )
            self.close()
            return
        except OSError:
            self.close()
            return
        if sent >= TURN_BYTES:
            self._want_to_write()
            return
        self._finish(response)

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
                total += self._send(self._out)
            elif response.user is not None and self._acceptor.app.allowances.wait(response.user):
                raise DaySpent
            elif not isinstance(piece, FilePiece):
                response.piece = None
                self._out = memoryview(piece if self._out is None else b"".join((self._out, piece)))
            elif piece.length <= INLINE_BYTES:
                response.piece = None
                data = os.pread(piece.fd, piece.length, piece.offset)
                if len(data) != piece.length:
                    raise ArchiveBroken
                total += self._send_with(data)
            elif not self._corked:
                # Only full packets until the end: a quarter less CPU per GiB, and the head shares one with the file.
                self._cork(True)
            elif self._out is not None:
                total += self._send(self._out)
            else:
                total += self._send_file(response, piece)
        return total

    def _cork(self, corked: bool) -> None:
        self._corked = corked
        with suppress(OSError):  # a connection that was reset says so when it is next written to
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, corked)

    def _send(self, data: memoryview) -> int:
        count = self._socket.send(data)
        self._out = data[count:] if count < len(data) else None
        self._progress(count)
        if self._out is not None:
            raise BlockingIOError
        return count

    def _send_with(self, data: bytes) -> int:
        """What is left of the head, and a small piece, in one call."""
        before = self._out
        if before is None:
            return self._send(memoryview(data))
        try:
            count = self._socket.sendmsg((before, data))
        except (BlockingIOError, InterruptedError):
            self._out = memoryview(b"".join((before, data)))
            raise
        self._out = None
        if count < len(before) + len(data):
            self._out = memoryview(b"".join((before, data)))[count:]
            self._progress(count)
            raise BlockingIOError
        self._progress(count)
        return count

    def _send_file(self, response: Response, piece: FilePiece) -> int:
        # ends on a page: what starts inside of one takes two fragments of the socket's buffer for each page
        wanted = min(piece.length, SLICE_BYTES - piece.offset % _PAGE_BYTES)
        may = self._acceptor.app.allowances.left(response.user) if response.user is not None else None
        if may is not None:
            wanted = min(wanted, may)
        count = os.sendfile(self.fd, piece.fd, piece.offset, wanted)
        if count == 0:
            raise ArchiveBroken  # it was truncated under us
        left = piece.length - count
        response.piece = FilePiece(piece.fd, piece.offset + count, left) if left else None
        self._progress(count)
        if count < wanted:
            # The socket is full. Asking again at once would send in crumbs what the client takes meanwhile, at several
            # times the cost; the loop says when there is room for a good piece.
            raise BlockingIOError
        return count

    def _progress(self, count: int) -> None:
        self.deadline = self._loop.time() + self._acceptor.limits.write_idle_seconds
        if self._unsent_head:
            of_head = min(self._unsent_head, count)
            self._unsent_head -= of_head
            count -= of_head
        if count and self._response is not None and self._response.link is not None:
            self._acceptor.usage.add(self._response.link, 0, count)
            if self._response.user is not None:
                self._acceptor.app.allowances.gave(self._response.user, count)

    def _want_to_write(self) -> None:
        if not self._writing and not self._closed:
            self._writing = True
            self._loop.add_writer(self.fd, self._writable)

    def _writable(self) -> None:
        self._pump()
        if self._response is None and not self._closed:
            self._process()

    def _finish(self, response: Response) -> None:
        self._finish_body()
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self.fd)
        if self._corked:
            self._cork(False)
        now = self._loop.time()
        if response.close:
            self._linger(now)
            return
        self.deadline = now + self._acceptor.limits.idle_seconds
        self._resume_reading()

    def _finish_body(self) -> None:
        response, self._response = self._response, None
        self._out = None
        if response is not None and response.body is not None:
            response.body.close()

    def _linger(self, now: float) -> None:
        """Reads on for a moment: closing with unread bytes would reset the connection and lose the answer
        (RFC 9112 section 9.6)."""
        if self._ended:
            self.close()
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._lingering = 0
        self._buffer = b""
        self.deadline = now + _LINGER_SECONDS
        self._resume_reading()
