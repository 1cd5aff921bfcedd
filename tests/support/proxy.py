"""A way to a PostgreSQL server that can be cut at the worst moment."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import sqlalchemy as sa

NAME = ".s.PGSQL.5432"
_COMMIT = b"COMMIT\0"  # the text of a simple query (PostgreSQL manual, "Message Formats")


class AtCommit(Enum):
    PASS = "pass"
    LOSE_REQUEST = "the server never hears of it"
    LOSE_ANSWER = "the server commits, and nobody hears of it"


@dataclass(slots=True)
class Proxy:
    """Listens on a Unix socket and carries bytes both ways. `at_commit` holds for the next commit only."""

    server: sa.URL
    at_commit: AtCommit = AtCommit.PASS
    commits: int = 0
    _folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="od-pp-")))
    _listener: socket.socket | None = None
    _open: set[socket.socket] = field(default_factory=set)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _flowing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        there = self.server.set(host=None, port=None, query={"host": str(self._folder)})
        return there.render_as_string(hide_password=False)

    def serve(self) -> None:
        self._flowing.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._folder / NAME))
        self._listener.listen(50)
        self._spawn(self._accept, self._listener)

    def refuse(self) -> None:
        """Ends every connection, and takes no other."""
        listener, self._listener = self._listener, None
        if listener is not None:
            (self._folder / NAME).unlink()
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def cut(self) -> None:
        """Ends every connection on both sides."""
        with self._lock:
            for end in self._open:
                _shut(end)

    def forget(self) -> None:
        """Ends the clients' side of every connection: the server does not learn of it."""
        with self._lock:
            for end in self._open:
                if end.family == socket.AF_UNIX and end.getsockname() == str(self._folder / NAME):
                    _shut(end)

    def hold(self) -> None:
        """Carries nothing more, until `flow`."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def close(self) -> None:
        self._flowing.set()
        self.refuse()
        for thread in self._threads:
            thread.join(20)
        shutil.rmtree(self._folder)

    def _spawn(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    server = self._dial()
                except OSError:
                    client.close()
                    continue
                with self._lock:
                    self._open |= {client, server}
                self._spawn(self._carry, client, server)
                self._spawn(self._bring, client, server)

    def _dial(self) -> socket.socket:
        folder = self.server.query.get("host")
        if folder is None:
            return socket.create_connection((self.server.host or "localhost", self.server.port or 5432))
        end = socket.socket(socket.AF_UNIX)
        end.connect(f"{folder}/{NAME}")
        return end

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        """From the client to the server."""
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self._flowing.wait()
                if _COMMIT in data:
                    self.commits += 1
                    wish, self.at_commit = self.at_commit, AtCommit.PASS
                    if wish is AtCommit.LOSE_REQUEST:
                        break
                    if wish is AtCommit.LOSE_ANSWER:
                        client.shutdown(socket.SHUT_WR)  # before the answer can come
                server.sendall(data)
        # `forget`: the client has gone, the server's connection stays
        self._end(client)

    def _bring(self, client: socket.socket, server: socket.socket) -> None:
        """From the server to the client."""
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                self._flowing.wait()
                client.sendall(data)
        self._end(client)
        self._end(server)

    def _end(self, end: socket.socket) -> None:
        with self._lock:
            _shut(end)
            if end in self._open:
                self._open.discard(end)
                end.close()


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxy_to(url: str) -> Iterator[Proxy]:
    proxy = Proxy(sa.make_url(url))
    proxy.serve()
    try:
        yield proxy
    finally:
        proxy.close()
