"""Connections of one file process: read a request, send the answer, stay or go. No protocol knowledge beyond
that.

Sockets are driven straight from the event loop's readiness callbacks: measured against nginx, a framework's
transport, its tasks and its parser cost more than all that a small range needs.

Bounded everywhere: the head's size and time, the time without progress in either direction, and the number of
connections.
"""

from __future__ import annotations

import logging
import math
import socket
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from oddaemon.domain.errors import OpenDebridError
from oddaemon.domain.types import UserId
from oddaemon.fileserver.archive import ArchiveBroken
from oddaemon.fileserver.elsewhere import ElsewherePiece, SourceLost
from oddaemon.fileserver.http import MAX_HEAD_BYTES, RefusedRequest, parse_head
from oddaemon.fileserver.response import Response, refusal, unavailable
from oddaemon.fileserver.sending import DaySpent, Sender
from oddaemon.fileserver.usage import Usage

if TYPE_CHECKING:
    from oddaemon.fileserver.app import FileApp
    from oddaemon.fileserver.known import Answer

log = logging.getLogger(__name__)

_RECEIVE_BYTES = 16 * 1024
_PIPELINED_PER_TURN = 16
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    max_connections: int = 1024
    head_seconds: float = 15.0
    """From the first byte of a request (or the connection's start) to the end of its head."""
    idle_seconds: float = 75.0
    """Between two requests."""
    write_idle_seconds: float = 60.0
    """Without a byte taken by the client."""


@dataclass(slots=True, kw_only=True)
class Shared:
    """What the connections of a process have in common."""

    loop: AbstractEventLoop
    app: FileApp
    limits: ConnectionLimits
    usage: Usage[bytes]
    ended: Callable[[Connection], None]
    """Told of each that was closed."""
    draining: bool = False
    """Connections end as they finish what they do."""


class Connection:
    """One client. Reads while nothing is being answered, answers one request at a time, in order."""

    __slots__ = (
        "_buffer", "_closed", "_ended", "_lingering", "_loop", "_reading", "_response", "_sender", "_shared",
        "_socket", "_source_fd", "_waiting", "_writing", "deadline", "fd",
    )  # fmt: skip

    def __init__(self, accepted: socket.socket, shared: Shared) -> None:
        self._socket = accepted
        self._shared = shared
        self._sender = Sender(accepted, shared.usage, shared.app.allowances)
        self._loop = shared.loop
        self.fd = accepted.fileno()
        self.deadline = self._loop.time() + shared.limits.head_seconds
        self._buffer = b""
        self._response: Response | None = None
        self._waiting = False
        self._ended = False  # the client sends nothing more
        self._lingering = -1
        self._closed = False
        self._writing = False
        self._source_fd = -1
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

    @property
    def link_expires_at(self) -> float:
        """Seconds of the epoch; never while it gives nothing of a link."""
        return math.inf if self._response is None else self._response.expires_at

    def close(self) -> None:
        """Idempotent. In the middle of a body the client sees that the end is missing."""
        if self._closed:
            return
        self._closed = True
        self._shared.ended(self)
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
            self.deadline = self._loop.time() + self._shared.limits.head_seconds
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
            answer = self._shared.app.respond(request, self._client)
        except BaseException:
            self.close()  # a defect: the loop logs it, and nobody waits for an answer
            raise
        if isinstance(answer, Response):
            self._begin(answer, keep_alive=request.keep_alive)
            return
        self._waiting = True
        self.deadline = self._loop.time() + self._shared.limits.write_idle_seconds

        def answered(done: Future[Answer]) -> None:
            self._waiting = False
            if not self._closed:
                self._begin(self._shared.app.resume(request, done.result()), keep_alive=request.keep_alive)
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
        if not keep_alive or self._ended or self._shared.draining:
            response.close = True
        self._response = response
        self.deadline = self._loop.time() + self._shared.limits.write_idle_seconds
        if response.opens is not None:
            self._open_first(response, response.opens)
            return
        self._sender.begin(response)
        self._pump()

    def _open_first(self, response: Response, piece: ElsewherePiece) -> None:
        def opened(_: Future[None]) -> None:
            if self._response is not response:
                return
            if piece.error is None:
                self._sender.begin(response)
                self._pump()
            else:
                self._finish_body()
                why = piece.error if isinstance(piece.error, OpenDebridError) else "the file cannot be had"
                self._begin(unavailable(why), keep_alive=not response.close)
            if self._response is None and not self._closed:
                self._process()

        piece.begin().add_done_callback(opened)

    def _pump(self) -> None:
        response = self._response
        if response is None:
            return
        try:
            is_out = self._sender.turn(response)
        except DaySpent:
            self.close()
            return
        except (ArchiveBroken, SourceLost, OpenDebridError) as error:
            log.warning(
                "a transfer ends early: a file changed under it, or its node is lost",
                extra={"action": "fileserver.cut", "error": type(error).__name__},
            )
            self.close()
            return
        except OSError:
            self.close()
            return
        if is_out:
            self._finish(response)
            return
        if self._sender.moved:
            self.deadline = self._loop.time() + self._shared.limits.write_idle_seconds
        if self._sender.source is not None:
            self._want_source(response, self._sender.source)
        else:
            self._want_to_write()

    def _want_source(self, response: Response, piece: ElsewherePiece) -> None:
        self._want_no_more_to_write()
        if piece.fd >= 0:
            self._source_fd = piece.fd
            self._loop.add_reader(piece.fd, self._source_ready)
            return

        def opened(_: Future[None]) -> None:
            if self._response is response:
                self._writable()

        piece.begin().add_done_callback(opened)

    def _source_ready(self) -> None:
        self._want_no_source()
        self._writable()

    def _want_no_source(self) -> None:
        if self._source_fd >= 0:
            self._loop.remove_reader(self._source_fd)
            self._source_fd = -1

    def _want_no_more_to_write(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self.fd)

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
        self._want_no_more_to_write()
        now = self._loop.time()
        if response.close:
            self._linger(now)
            return
        self.deadline = now + self._shared.limits.idle_seconds
        self._resume_reading()

    def _finish_body(self) -> None:
        self._want_no_source()
        response, self._response = self._response, None
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
