"""The daemon's part of a relay: from where the bytes of a file on another node come, as a descriptor.

Two ways. A node on this very machine has them sent by its own file server, over plain TCP on the loopback: their
descriptor goes to the file process, and they never pass through the daemon. From any other they come over the
connection that the node opened, and are pumped into a socket pair, part by part as the other end takes them.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from oddaemon.domain.errors import NodeUnavailable, NotFound, OpenDebridError
from oddaemon.domain.relay_token import GOOD_SECONDS, Ticket, answer_to, new_ticket
from oddaemon.domain.types import NodeId, ReplicaId
from oddaemon.fileserver.child import Opened
from oddaemon.ports.node_client import NodeClient

log = logging.getLogger(__name__)

MOST_PUMPS = 256
"""At once. Each may hold a stream's window and a part in memory: about 1.5 MiB."""
NEAR_SECONDS = 5.0
"""For a file server on this machine to answer."""
_HEAD_BYTES = 4096
_BUFFER_BYTES = 1 << 20
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_PROOF = re.compile(rb"\r\nOD-Relay: ([0-9a-f]{32})\r\n")
_LENGTH = re.compile(rb"\r\nContent-Length: (\d{1,18})\r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class NearFiles:
    """A node's file server on this machine."""

    host: str
    port: int
    key: bytes
    """The node's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    replica_id: ReplicaId
    path: str
    offset: int
    length: int


@dataclass(slots=True)
class Relay:
    pumping: int = 0
    """Transfers that go through this process."""
    by_near: int = 0
    """Those that were opened on this machine, ever."""
    _refused: dict[NodeId, float] = field(default_factory=dict)
    """Nodes whose near file server could not be used, and when that was."""

    async def open(self, node: NodeClient, near: NearFiles | None, wanted: Wanted) -> Opened:
        """Raises NodeUnavailable, NotFound, StorageMissing, StorageFailed."""
        if near is not None and time.monotonic() - self._refused.get(node.node_id, -NEAR_SECONDS) >= NEAR_SECONDS:
            try:
                opened = Opened(await _ask_near(near, wanted))
            except (OSError, TimeoutError, NodeUnavailable) as error:
                self._refused[node.node_id] = time.monotonic()
                log.info(
                    "a file server on this machine cannot be used",
                    extra={"action": "near_files_refused", "node": node.node_id, "error": str(error)},
                )
            else:
                self.by_near += 1
                return opened
        return await self._pumped(node, wanted)

    async def _pumped(self, node: NodeClient, wanted: Wanted) -> Opened:
        if self.pumping >= MOST_PUMPS:
            raise NodeUnavailable(f"{MOST_PUMPS} files are relayed already")
        parts = node.read(wanted.replica_id, wanted.path, offset=wanted.offset, length=wanted.length)
        self.pumping += 1
        try:
            # whether it is there at all is known with the first part
            first = await anext(parts, b"")
            ours, theirs = socket.socketpair()
        except BaseException:
            self.pumping -= 1
            await parts.aclose()
            raise
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)

        def ended() -> None:
            ours.close()
            self.pumping -= 1

        return Opened(theirs, _pump(node.node_id, parts, first, ours), ended)


async def _pump(node_id: NodeId, parts: AsyncGenerator[bytes, None], part: bytes, end: socket.socket) -> None:
    """Until all is sent, or either side is gone. The other end sees how much came."""
    loop = asyncio.get_running_loop()
    try:
        async with aclosing(parts):
            while part:
                await loop.sock_sendall(end, part)
                await asyncio.sleep(0)  # a client that takes everything must not keep the loop
                part = await anext(parts, b"")
    except OSError:
        pass  # the client went away
    except OpenDebridError as error:
        log.info("a relay ends early", extra={"action": "relay_ended", "node": node_id, "error": error.message})


async def _ask_near(near: NearFiles, wanted: Wanted) -> socket.socket:
    """A connection from which the bytes come, and nothing but them. Raises OSError, TimeoutError, NotFound,
    NodeUnavailable when what answers is not that node's file server."""
    ticket = new_ticket(
        Ticket(
            replica_id=wanted.replica_id, path=wanted.path, offset=wanted.offset, length=wanted.length,
            good_until=int(time.time()) + GOOD_SECONDS,
        ),
        near.key,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    connection = socket.socket(socket.AF_INET6 if ":" in near.host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        async with asyncio.timeout(NEAR_SECONDS):
            await loop.sock_connect(connection, (near.host, near.port))
            await loop.sock_sendall(connection, f"GET /r/{ticket} HTTP/1.1\r\nHost: relay\r\n\r\n".encode())
            head = await _head(loop, connection)
        _check(head, ticket, near.key, wanted.length)
    except BaseException:
        connection.close()
        raise
    return connection


async def _head(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bytes:
    """Takes an answer's head and not one byte of what follows."""
    head = b""
    while True:
        await _readable(loop, connection)
        seen = connection.recv(_HEAD_BYTES, socket.MSG_PEEK)
        end = (head + seen).find(b"\r\n\r\n")
        take = len(seen) if end < 0 else end + 4 - len(head)
        head += connection.recv(take)
        if end >= 0:
            return head
        if not seen or len(head) > _HEAD_BYTES:
            raise NodeUnavailable("what answers there is no file server")


async def _readable(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    there = asyncio.Event()
    loop.add_reader(connection, there.set)
    try:
        await there.wait()
    finally:
        loop.remove_reader(connection)


def _check(head: bytes, ticket: str, key: bytes, length: int) -> None:
    status, proof, told = _STATUS.match(head), _PROOF.search(head), _LENGTH.search(head)
    if status is not None and status[1] == b"404":
        raise NotFound("the file is not there")
    if (
        status is None or status[1] != b"200" or proof is None or told is None or int(told[1]) != length
        or not hmac.compare_digest(proof[1].decode(), answer_to(ticket, key))
    ):  # fmt: skip
        raise NodeUnavailable("what answers there is not the node's file server")
