"""Descriptors that a daemon hands to its file processes: over a socket pair of their own, each with the number of the
question that it answers."""

from __future__ import annotations

import asyncio
import os
import socket
import struct

_NUMBER = struct.Struct("!Q")
_AT_ONCE = 16


def pair() -> tuple[socket.socket, socket.socket]:
    """Keeps messages apart; neither end waits."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def hand_over(to: socket.socket, number: int, fd: int) -> None:
    """The caller closes its own. Raises OSError, when the other end does not take them any more, too."""
    socket.send_fds(to, [_NUMBER.pack(number)], [fd])


class Descriptors:
    """The receiving end. Used from one event loop."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._waiting: dict[int, asyncio.Future[int]] = {}

    def start(self) -> None:
        self._end.setblocking(False)
        asyncio.get_running_loop().add_reader(self._end.fileno(), self._readable)

    def expect(self, number: int) -> asyncio.Future[int]:
        self._waiting[number] = asyncio.get_running_loop().create_future()
        return self._waiting[number]

    def taken(self, number: int) -> int | None:
        """The one that has come, which is the caller's to close; none: it is not waited for any more."""
        waiting = self._waiting.pop(number)
        if waiting.done() and not waiting.cancelled():
            return waiting.result()
        waiting.cancel()
        return None

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._end.fileno())

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, fds, _, _ = socket.recv_fds(self._end, _NUMBER.size, 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, fds = b"", []
            if not data:  # the daemon is gone, which the pipe tells, too
                self.close()
                return
            for fd in fds:
                self._arrived(_NUMBER.unpack(data)[0], fd)

    def _arrived(self, number: int, fd: int) -> None:
        waiting = self._waiting.get(number)
        if waiting is None or waiting.done():
            os.close(fd)
        else:
            os.set_blocking(fd, False)
            waiting.set_result(fd)
