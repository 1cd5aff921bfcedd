"""The connections of one file process: accepted, held, and ended when their time has come or their links may give no
more."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Collection

from oddaemon.fileserver.app import FileApp
from oddaemon.fileserver.connection import Connection, ConnectionLimits, Shared
from oddaemon.fileserver.usage import Usage

_ACCEPTS_PER_TURN = 64
_SWEEP_SECONDS = 0.5
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_ACCEPT_PAUSE_SECONDS = 0.2


class Acceptor:
    """Accepts connections on a listening socket, which may be shared with other processes, and holds them."""

    def __init__(self, listener: socket.socket, app: FileApp, limits: ConnectionLimits) -> None:
        self.app = app
        self.usage: Usage[bytes] = Usage()
        self.empty = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._shared = Shared(loop=self._loop, app=app, limits=limits, usage=self.usage, ended=self._forget)
        self._listener = listener
        self._connections: dict[Connection, None] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener.fileno(), self._accept)
        self._sweeping = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def drain(self) -> None:
        """Accepts nothing more and ends connections as they finish what they do."""
        self._shared.draining = True
        self._loop.remove_reader(self._listener.fileno())
        for connection in list(self._connections):
            if connection.idle:
                connection.close()
        self._note_empty()

    def close(self) -> None:
        """Ends everything now."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._loop.remove_reader(self._listener.fileno())
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

    def _forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        self._note_empty()

    def _note_empty(self) -> None:
        if self._shared.draining and not self._connections:
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
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(_ACCEPT_PAUSE_SECONDS, self._accept_again)
                return
            accepted.setblocking(False)
            if len(self._connections) >= self._shared.limits.max_connections and not self._make_room():
                accepted.close()
                continue
            self._connections[Connection(accepted, self._shared)] = None

    def _accept_again(self) -> None:
        if not self._shared.draining:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _make_room(self) -> bool:
        """Ends the connection that has been idle longest."""
        for connection in self._connections:
            if connection.idle:
                connection.close()
                return True
        return False

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in [held for held in self._connections if held.deadline < now]:
            connection.expire()
        if self.app.is_unheard:
            self.cut_links()
        wall = time.time()
        for connection in [held for held in self._connections if held.link_expires_at <= wall]:
            connection.close()
        self._sweeping = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
