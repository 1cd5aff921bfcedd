"""One file process: everything it knows comes over the pipe, and it ends when the pipe does."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import resource
import signal
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any
from uuid import UUID

from oddaemon.domain.errors import NodeUnavailable, NotFound, NotReady, StorageMissing
from oddaemon.domain.link import LinkContent, LinkUse
from oddaemon.domain.link_token import LinkToken
from oddaemon.domain.types import ReplicaId
from oddaemon.fileserver.acceptor import Acceptor
from oddaemon.fileserver.app import FileApp
from oddaemon.fileserver.connection import ConnectionLimits
from oddaemon.fileserver.descriptors import Descriptors
from oddaemon.fileserver.pipe import PipeLost, content_from_json, receive, send
from oddaemon.ports.storage import StorageProvider

log = logging.getLogger(__name__)

LOOKUP_SECONDS = 5.0
OPEN_SECONDS = 20.0
"""For a descriptor of a file on another node."""
USAGE_SECONDS = 0.5
DRAIN_SECONDS = 1.0
_CONFIG_SECONDS = 10.0
_RESERVED_DESCRIPTORS = 64


class _Stopped(Exception):
    """The daemon asked for the end."""


class Worker:
    """Runs until told to stop or the pipe is lost."""

    def __init__(
        self, pipe: socket.socket, listener: socket.socket, descriptors: socket.socket,
        build_storage: Callable[[dict[str, Any]], StorageProvider],
    ) -> None:
        """`descriptors`: the end at which those arrive that were asked for. `build_storage` is given the daemon's
        `StorageChoice`, as it comes over the pipe."""
        self._pipe = pipe
        self._listener = listener
        self._descriptors = Descriptors(descriptors)
        self._build_storage = build_storage
        self._questions = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def run(self) -> None:
        reader, writer = await asyncio.open_connection(sock=self._pipe)
        self._writer: StreamWriter = writer
        # the daemon decides when it ends; ^C in a terminal reaches the whole group
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        async with asyncio.timeout(_CONFIG_SECONDS):
            config = await receive(reader)
        try:
            async with asyncio.TaskGroup() as tasks:
                acceptor = self._built(config, tasks)
                try:
                    acceptor.start()
                    self._descriptors.start()
                    send(writer, {"op": "ready"})
                    tasks.create_task(self._report(acceptor), name="fileserver.report")
                    await self._listen(reader, acceptor)
                finally:
                    acceptor.close()
                    self._descriptors.close()
                    self._send_usage(acceptor)
        except* (PipeLost, _Stopped):
            pass
        finally:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(0.5):
                    await writer.drain()
            writer.close()

    def _built(self, config: dict[str, Any], tasks: asyncio.TaskGroup) -> Acceptor:
        def spawn(work: Coroutine[None, None, None], name: str) -> object:
            return tasks.create_task(work, name=name)

        app = FileApp(
            storage=self._build_storage(config["storage"]),
            keys=[bytes.fromhex(key) for key in config["keys"]],
            lookup=self._lookup,
            use=self._use,
            gone=lambda replica: send(self._writer, {"op": "gone", "replica": replica.hex}),
            spawn=spawn,
            elsewhere=self._open,
            referers=config["referers"],
            stale_seconds=config["stale_seconds"],
            takes_tickets=config["takes_tickets"],
        )
        app.serve_until = _until(config["serve_until"])
        app.revoke(_links(config["revoked"]))
        if config["day"] is not None:
            app.allowances.tell(config["day"], 0)
        limits = ConnectionLimits(
            max_connections=min(config["max_connections"], _descriptors() // 2),
            head_seconds=config["head_seconds"],
            idle_seconds=config["idle_seconds"],
            write_idle_seconds=config["write_idle_seconds"],
        )
        return Acceptor(self._listener, app, limits)

    async def _listen(self, reader: StreamReader, acceptor: Acceptor) -> None:
        """Does what the daemon says. Raises PipeLost, _Stopped."""
        while True:
            message = await receive(reader)
            match message["op"]:
                case "revoke":
                    links = _links(message["links"])
                    acceptor.app.revoke(links)
                    acceptor.cut(links.keys())
                    send(self._writer, {"op": "ack", "seq": message["seq"]})
                case "keys":
                    acceptor.app.rekey([bytes.fromhex(key) for key in message["keys"]])
                    acceptor.cut_links()
                    send(self._writer, {"op": "ack", "seq": message["seq"]})
                case "serve":
                    acceptor.app.serve_until = _until(message["until"])
                    if acceptor.app.is_unheard:
                        acceptor.cut_links()
                    send(self._writer, {"op": "ack", "seq": message["seq"]})
                case "day":
                    acceptor.app.allowances.tell(message["day"], message["as_of"])
                    acceptor.cut_spent()
                case "forget":
                    acceptor.app.forget([ReplicaId(UUID(replica)) for replica in message["replicas"]])
                case "content" | "use" | "open":
                    asked = self._asked.pop(message["id"], None)
                    if asked is not None and not asked.done():
                        asked.set_result(message)
                case "stop":
                    await self._drain(acceptor)
                    raise _Stopped

    async def _drain(self, acceptor: Acceptor) -> None:
        acceptor.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await acceptor.empty.wait()

    async def _question(self, question: dict[str, Any]) -> dict[str, Any]:
        """The daemon's answer. Raises TimeoutError."""
        number = next(self._questions)
        asked: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        send(self._writer, {**question, "id": number})
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                return await asked
        finally:
            self._asked.pop(number, None)

    async def _use(self, token: LinkToken, client: str, forwarded: str, continued: bool) -> LinkUse:
        """See `app.Use`."""
        answer = await self._question(
            {
                "op": "use", "link": token.link_id.hex, "client": client, "forwarded": forwarded,
                "continued": continued,
            }
        )  # fmt: skip
        if answer["state"] == "failed":
            raise TimeoutError
        return LinkUse(answer["state"])

    async def _lookup(self, token: LinkToken) -> LinkContent:
        """See `app.Lookup`."""
        answer = await self._question(
            {"op": "content", "link": token.link_id.hex, "replica": token.replica_id.hex, "index": token.file_index}
        )
        match answer["state"]:
            case "found":
                return content_from_json(answer["content"])
            case "gone":
                raise NotFound
            case "not_ready":
                raise NotReady
            case "storage_missing":
                raise StorageMissing
            case "away":
                raise NodeUnavailable
        raise TimeoutError

    async def _open(self, replica_id: ReplicaId, path: str, offset: int, length: int) -> int:
        """See `elsewhere.OpenElsewhere`."""
        number = next(self._questions)
        coming = self._descriptors.expect(number)
        asked: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[number] = asked
        question = {"op": "open", "replica": replica_id.hex, "path": path, "offset": offset, "length": length}
        send(self._writer, {**question, "id": number})
        try:
            either: set[asyncio.Future[Any]] = {coming, asked}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED, timeout=OPEN_SECONDS)
        finally:
            self._asked.pop(number, None)
            fd = self._descriptors.taken(number)
        if fd is not None:
            return fd
        if asked.done() and asked.result()["state"] == "gone":
            raise NotFound
        raise NodeUnavailable

    async def _report(self, acceptor: Acceptor) -> None:
        while True:
            await asyncio.sleep(USAGE_SECONDS)
            self._send_usage(acceptor)
            acceptor.app.trim()

    def _send_usage(self, acceptor: Acceptor) -> None:
        if usage := acceptor.usage.take():
            links = {link.hex(): counts for link, counts in usage.items()}
            send(self._writer, {"op": "usage", "number": acceptor.app.allowances.report(), "links": links})


def _until(value: float | None) -> float:
    return math.inf if value is None else value


def _links(value: dict[str, float]) -> dict[bytes, float]:
    return {bytes.fromhex(link): float(expiry) for link, expiry in value.items()}


def _descriptors() -> int:
    """Raises the soft limit to the hard one; how many there are for connections and their files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft == resource.RLIM_INFINITY:
        soft = 1 << 20
    return max(soft - _RESERVED_DESCRIPTORS, 2)
