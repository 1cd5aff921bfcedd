"""One file process, as the daemon sees it: started, told, asked by, and ended."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from oddaemon.domain.errors import NodeUnavailable, NotFound, NotReady, StorageMissing
from oddaemon.domain.link import LinkContent, LinkUse
from oddaemon.domain.types import LinkId, ReplicaId
from oddaemon.fileserver.descriptors import hand_over
from oddaemon.fileserver.descriptors import pair as descriptor_pair
from oddaemon.fileserver.pipe import PipeLost, content_to_json, receive, send
from oddaemon.fileserver.usage import Usage

log = logging.getLogger(__name__)

LookUp = Callable[[LinkId, ReplicaId, int], Awaitable[LinkContent]]
"""What a link (or one file of a playlist link) serves now. Raises NotFound when the link is unknown or
revoked, NotReady when its files are not there at the moment, StorageMissing. Called for links whose token was
verified."""
OnUse = Callable[[LinkId, str, bool], Awaitable[LinkUse]]
"""Whether a limited link may be used by the client at this address; see `app.Use`. Without one no limited link is
served."""
ClientOf = Callable[[str, str], str]
"""Who asks, by the address of the other end and the request's X-Forwarded-For."""
OnGone = Callable[[ReplicaId], Coroutine[Any, Any, None]]
"""Told of a replica of which a recorded file was not found. Raises nothing."""

@dataclass(frozen=True, slots=True)
class Opened:
    """A descriptor from which bytes come, and what has to run so that they do."""

    source: socket.socket
    pump: Coroutine[Any, Any, None] | None = None
    ended: Callable[[], None] = lambda: None
    """Called when that has ended, however it did."""


OnOpen = Callable[[ReplicaId, str, int, int], Awaitable[Opened]]
"""So many bytes of a replica's file from an offset on, wherever it lies. Raises NodeUnavailable, NotFound. Called for
links whose content was looked up."""

ACK_SECONDS = 1.0
OPEN_SECONDS = 18.0
CALLBACK_SECONDS = 5.0
_LAST_WORDS_SECONDS = 0.5
_MODULE = "oddaemon.app.compose_fileserver"
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Whom the processes ask and tell."""

    look_up: LookUp
    on_use: OnUse | None
    on_gone: OnGone | None
    on_open: OnOpen | None
    client_of: ClientOf
    usage: Usage[LinkId]


@dataclass(eq=False, slots=True)
class Child:
    process: Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    descriptors: socket.socket
    """Over which it gets those that it asked for."""
    reported: int = 0
    """The number of its last report of what it gave."""
    counted: int = 0
    """That of the last one that was stored."""
    _acks: dict[int, asyncio.Future[None]] = field(default_factory=dict)
    _pumps: set[asyncio.Task[None]] = field(default_factory=set)
    _sequence: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @classmethod
    async def spawn(cls, listener: socket.socket) -> Child:
        """It waits to be told its config. Raises OSError."""
        ours, theirs = socket.socketpair()
        descriptors, their_descriptors = descriptor_pair()
        inherited = (theirs.fileno(), listener.fileno(), their_descriptors.fileno())
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", _MODULE, *map(str, inherited), pass_fds=inherited,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL, stderr=PIPE, start_new_session=True,
                env={name: os.environ[name] for name in _INHERITED if name in os.environ},
            )  # fmt: skip
        except BaseException:
            ours.close()
            descriptors.close()
            raise
        finally:
            theirs.close()
            their_descriptors.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        return cls(process, reader, writer, descriptors)

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, message: dict[str, Any]) -> None:
        send(self.writer, message)

    async def change(self, message: Mapping[str, Any]) -> None:
        """Returns when the process has acknowledged it, or is killed for not doing so."""
        sequence = next(self._sequence)
        acknowledged = self._acks[sequence] = asyncio.get_running_loop().create_future()
        self.tell({**message, "seq": sequence})
        try:
            async with asyncio.timeout(ACK_SECONDS):
                await acknowledged
        except TimeoutError:
            log.warning(
                "a file process does not answer and is killed",
                extra={"action": "fileserver.unresponsive", "pid": self.pid},
            )
            self.kill()
        finally:
            self._acks.pop(sequence, None)

    async def run(self, desk: Desk, ready: asyncio.Future[None]) -> int:
        """Until the process is gone: its exit status. `ready` is done when it serves."""
        async with asyncio.TaskGroup() as tasks:
            output = tasks.create_task(self._log_output(), name=f"fileserver.output.{self.pid}")
            await self._listen(desk, ready, tasks)
            for pump in self._pumps:
                pump.cancel()
            self.kill()  # it ends by itself when the pipe is lost; this is for one that hangs
            status = await self.process.wait()
            await asyncio.wait([output], timeout=_LAST_WORDS_SECONDS)
            output.cancel()
        return status

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)

    async def end(self) -> None:
        """Whoever waits for it is let go."""
        for waiting in self._acks.values():
            if not waiting.done():
                waiting.set_result(None)
        self.kill()
        self.writer.close()
        self.descriptors.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.shield(self.process.wait())

    async def _listen(self, desk: Desk, ready: asyncio.Future[None], tasks: asyncio.TaskGroup) -> None:
        while True:
            try:
                message = await receive(self.reader)
            except PipeLost:
                return
            match message["op"]:
                case "ready":
                    if not ready.done():
                        ready.set_result(None)
                case "ack":
                    if (waiting := self._acks.pop(message["seq"], None)) and not waiting.done():
                        waiting.set_result(None)
                case "content":
                    tasks.create_task(self._look_up(desk, message), name=f"fileserver.content.{message['id']}")
                case "use":
                    tasks.create_task(self._admit(desk, message), name=f"fileserver.use.{message['id']}")
                case "open":
                    opening = tasks.create_task(
                        self._open(desk, message, tasks), name=f"fileserver.open.{message['id']}"
                    )
                    self._run(opening)
                case "gone" if desk.on_gone is not None:
                    replica = ReplicaId(UUID(message["replica"]))
                    tasks.create_task(desk.on_gone(replica), name=f"fileserver.gone.{replica}")
                case "usage":
                    self.reported = message["number"]
                    for link, (accesses, sent) in message["links"].items():
                        desk.usage.add(LinkId(UUID(link)), accesses, sent)

    async def _look_up(self, desk: Desk, question: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"op": "content", "id": question["id"], "state": "failed"}
        try:
            async with asyncio.timeout(CALLBACK_SECONDS):
                content = await desk.look_up(
                    LinkId(UUID(question["link"])), ReplicaId(UUID(question["replica"])), question["index"]
                )
            answer |= {"state": "found", "content": content_to_json(content)}
        except NotFound:
            answer["state"] = "gone"
        except NotReady:
            answer["state"] = "not_ready"
        except StorageMissing:
            answer["state"] = "storage_missing"
        except NodeUnavailable:
            answer["state"] = "away"
        except TimeoutError:
            log.warning("a link could not be looked up in time", extra={"action": "fileserver.look_up_late"})
        except Exception:  # whatever ails the store, the process is told and serves on
            log.warning("a link could not be looked up", exc_info=True, extra={"action": "fileserver.look_up_failed"})
        self.tell(answer)

    def _run(self, task: asyncio.Task[None]) -> None:
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)

    async def _open(self, desk: Desk, question: dict[str, Any], tasks: asyncio.TaskGroup) -> None:
        number, state = question["id"], "failed"
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                if desk.on_open is None:
                    raise NotFound
                opened = await desk.on_open(
                    ReplicaId(UUID(question["replica"])), question["path"], question["offset"], question["length"]
                )
            with opened.source as source:
                if opened.pump is not None:
                    pump = tasks.create_task(opened.pump, name=f"fileserver.pump.{number}")
                    pump.add_done_callback(lambda _: opened.ended())
                    self._run(pump)
                hand_over(self.descriptors, number, source.fileno())
                return
        except NotFound:
            state = "gone"
        except (NodeUnavailable, TimeoutError):
            state = "away"
        except Exception:  # the process is told and serves on
            log.warning("a file elsewhere could not be opened", exc_info=True, extra={"action": "relay_failed"})
        self.tell({"op": "open", "id": number, "state": state})

    async def _admit(self, desk: Desk, question: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"op": "use", "id": question["id"], "state": "failed"}
        try:
            async with asyncio.timeout(CALLBACK_SECONDS):
                link = LinkId(UUID(question["link"]))
                client = desk.client_of(question["client"], question["forwarded"])
                use = desk.on_use and await desk.on_use(link, client, question["continued"])
            answer["state"] = use or LinkUse.USED_UP
        except NodeUnavailable:
            pass  # a node's controller is away: whether it may be used is not known
        except Exception:  # whatever ails the store, the process is told and serves on
            log.warning("a use could not be counted", exc_info=True, extra={"action": "fileserver.use_failed"})
        self.tell(answer)

    async def _log_output(self) -> None:
        """A file process says something only when something is wrong."""
        assert self.process.stderr is not None
        while True:
            try:
                line = await self.process.stderr.readline()
            except ValueError:  # a line longer than the reader's limit
                continue
            if not line:
                return
            text = "".join(character for character in line.decode("utf-8", "replace") if character.isprintable())
            log.warning("a file process reports", extra={"action": "fileserver.output", "line": text[:500]})
