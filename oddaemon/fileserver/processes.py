"""The daemon's side of the file server: processes that share a port, what they must know, and what they
count.

The daemon binds the port and hands the listening socket down. Thus a port that is taken is an error at once,
"any free port" is one port for all, and what connects while a process is being restarted waits in the
socket's queue. (SO_REUSEPORT would let another program of the same user share the port unnoticed.)

Every revocation is kept here until it expires and given to each process before it serves anything; a change
counts as done when every process has acknowledged it, and a process that does not within a second is killed
and started anew.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from oddaemon.domain.day_left import DayLeft
from oddaemon.domain.errors import InvalidArgument, NotFound, NotReady, StorageMissing, Unavailable
from oddaemon.domain.link import LinkContent
from oddaemon.domain.types import Bytes, LinkId, ReplicaId
from oddaemon.fileserver.pipe import PipeLost, content_to_json, day_to_json, receive, send

log = logging.getLogger(__name__)

LookUp = Callable[[LinkId, ReplicaId, int], Awaitable[LinkContent]]
"""What a link (or one file of a playlist link) serves now. Raises NotFound when the link is unknown or
revoked, NotReady when its files are not there at the moment, StorageMissing. Called for links whose token was
verified."""
LinkUsage = Mapping[LinkId, tuple[int, Bytes]]
"""Accesses and bytes served."""
OnUse = Callable[[LinkId, str, bool], Awaitable[bool]]
"""Whether a limited link may be used by the client at this address; see `app.Use`. Without one no limited link is
served."""
OnGone = Callable[[ReplicaId], Coroutine[Any, Any, None]]
"""Told of a replica of which a recorded file was not found. Raises nothing."""
OnUsage = Callable[[LinkUsage], Awaitable[None]]
ReadRevoked = Callable[[], Awaitable[Mapping[LinkId, datetime]]]
"""Revoked links that have not expired, with their expiry."""

ACK_SECONDS = 1.0
STOP_SECONDS = 2.0
START_SECONDS = 10.0
USAGE_SECONDS = 1.0
MAX_DELAY_SECONDS = 30.0
HEALTHY_SECONDS = 60.0
_FIRST_DELAY_SECONDS = 0.1
_CALLBACK_SECONDS = 5.0
_LAST_WORDS_SECONDS = 0.5
_BACKLOG = 1024
_MODULE = "oddaemon.app.compose_fileserver"
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageChoice:
    """What a file process builds its storage from: a provider, its settings as JSON values, and its parts."""

    provider: str
    settings: Mapping[str, Any]
    state_dir: Path
    download_dir: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class FileServerOptions:
    """Limits of one file process, and who may link to it."""

    max_connections: int = 1024
    head_seconds: float = 15.0
    """For a request's head to arrive."""
    idle_seconds: float = 75.0
    """Between two requests on a connection."""
    write_idle_seconds: float = 60.0
    """Without a byte taken by the client."""
    referers: tuple[str, ...] = ()
    """Hosts whose pages may use the links (`*.example.org`: its subdomains); empty: all. A request that names
    no page is served in any case."""


@dataclass(eq=False)
class _Child:
    """One file process that is being started or runs."""

    process: Process
    writer: asyncio.StreamWriter
    started_at: float
    acks: dict[int, asyncio.Future[None]] = field(default_factory=dict)
    reported: int = 0
    """The number of its last report of what it gave."""
    counted: int = 0
    """That of the last one that was stored."""

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)


class FileServer:
    """`start`, then `stop`; all calls from one event loop."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        storage: StorageChoice,
        keys: Sequence[bytes],
        look_up: LookUp,
        on_usage: OnUsage,
        read_revoked: ReadRevoked,
        on_gone: OnGone | None = None,
        on_use: OnUse | None = None,
        processes: int = 1,
        options: FileServerOptions | None = None,
    ) -> None:
        """`port` 0: any free one. `keys`: of this node, newest first; any of them verifies."""
        self._host = host
        self._port = port
        self._storage = storage
        self._keys = tuple(keys)
        self._look_up = look_up
        self._on_usage = on_usage
        self._read_revoked = read_revoked
        self._on_gone = on_gone
        self._on_use = on_use
        self._count = max(processes, 1)
        self._options = options or FileServerOptions()
        self._children: set[_Child] = set()
        self._revoked: dict[LinkId, float] = {}
        self._day: DayLeft | None = None
        self._usage: dict[LinkId, list[int]] = {}
        self._sequence = itertools.count(1)
        self._listener: socket.socket | None = None
        self._running: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def start(self) -> tuple[str, int]:
        """Returns the address when every process serves. Raises InvalidArgument for an address that is taken
        or cannot be had, Unavailable when the processes do not come up."""
        self._stop.clear()
        self._listener = _bound(self._host, self._port)
        address = self._listener.getsockname()
        try:
            for link, expiry in (await self._read_revoked()).items():
                self._revoked[link] = expiry.timestamp()
            ready = [asyncio.get_running_loop().create_future() for _ in range(self._count)]
            self._running = asyncio.create_task(self._run(ready), name="fileserver")
            await self._first_start(ready)
        except BaseException:
            await self.stop()
            raise
        log.info("files are served", extra={"action": "fileserver.started", "host": address[0], "port": address[1]})
        return str(address[0]), int(address[1])

    async def stop(self) -> None:
        """Transfers have a second to end; everything is down and counted within 2 s. Idempotent."""
        self._stop.set()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for child in self._children:
            send(child.writer, {"op": "stop"})
        running, self._running = self._running, None
        if running is None:
            return
        try:
            await asyncio.wait([running], timeout=STOP_SECONDS - 0.3)
        finally:
            for child in self._children:
                child.kill()
            running.cancel()
            await asyncio.wait([running], timeout=1.0)
            await self._flush_usage()

    async def revoke(self, links: Mapping[LinkId, datetime]) -> None:
        """Within a second, or when this returns if that is sooner, no process serves these links (with their
        expiry), and their running transfers have ended. Idempotent."""
        changes = {link: expiry.timestamp() for link, expiry in links.items()}
        new = {link: expiry for link, expiry in changes.items() if link not in self._revoked}
        self._revoked.update(changes)
        self._trim()
        if not new:
            return
        async with asyncio.TaskGroup() as tasks:
            message = {"op": "revoke", "links": {link.hex: at for link, at in new.items()}}
            for child in list(self._children):
                tasks.create_task(self._change(child, message), name=f"fileserver.revoke.{child.process.pid}")

    async def rekey(self, keys: Sequence[bytes]) -> None:
        """Within a second, or when this returns if that is sooner, no process serves a link that none of these keys
        signed, and running transfers of all links have ended."""
        self._keys = tuple(keys)
        async with asyncio.TaskGroup() as tasks:
            message = {"op": "keys", "keys": [key.hex() for key in keys]}
            for child in list(self._children):
                tasks.create_task(self._change(child, message), name=f"fileserver.rekey.{child.process.pid}")

    @property
    def counted(self) -> Mapping[int, int]:
        """Up to which of its reports what each process gave was stored: for `allot`."""
        return {child.process.pid: child.counted for child in self._children}

    def allot(self, day: DayLeft, as_of: Mapping[int, int]) -> None:
        """The links of users give no more than this from now on: transfers end in the middle, and who has nothing left
        is refused until the next day. `as_of`: what `counted` was before what is left was looked up."""
        self._day = day
        for child in self._children:
            counted = as_of.get(child.process.pid, 0)
            send(child.writer, {"op": "day", "day": day_to_json(day), "as_of": counted})

    def forget(self, replicas: Sequence[ReplicaId]) -> None:
        """What the processes remember of these replicas' files is asked again: call it when a replica's files
        go."""
        message = {"op": "forget", "replicas": [replica.hex for replica in replicas]}
        for child in self._children:
            send(child.writer, message)

    @property
    def pids(self) -> Sequence[int]:
        """Of the processes that are up."""
        return [child.process.pid for child in self._children]

    @property
    def missing(self) -> int:
        """How many processes are down that should be up."""
        return self._count - len(self._children)

    # -- children

    async def _first_start(self, ready: Sequence[asyncio.Future[None]]) -> None:
        assert self._running is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                waiting = asyncio.gather(*ready)
                either: set[asyncio.Future[Any]] = {waiting, self._running}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    waiting.cancel()
                    await self._running
        except TimeoutError as error:
            raise Unavailable("the file server's processes do not start") from error

    async def _run(self, ready: Sequence[asyncio.Future[None]]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                reporter = tasks.create_task(self._report(), name="fileserver.usage")
                async with asyncio.TaskGroup() as keepers:
                    for number, up in enumerate(ready):
                        keepers.create_task(self._keep(number, up), name=f"fileserver.keep.{number}")
                reporter.cancel()
        finally:
            for child in self._children:
                child.kill()

    async def _keep(self, number: int, ready: asyncio.Future[None]) -> None:
        """One process, started again for as long as we are not stopping."""
        delay = _FIRST_DELAY_SECONDS
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                status = await self._run_child(number, ready)
            except OSError as error:
                status = -1
                log.warning(
                    "a file process cannot be started", extra={"action": "fileserver.spawn_failed", "error": str(error)}
                )
            if self._stop.is_set():
                return
            if time.monotonic() - began > HEALTHY_SECONDS:
                delay = _FIRST_DELAY_SECONDS
            log.warning(
                "a file process ended and is started again",
                extra={"action": "fileserver.restart", "number": number, "status": status, "delay_s": delay},
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stop.wait()
            delay = min(delay * 2, MAX_DELAY_SECONDS)

    async def _run_child(self, number: int, ready: asyncio.Future[None]) -> int:
        assert self._listener is not None
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), str(self._listener.fileno()),
                pass_fds=(theirs.fileno(), self._listener.fileno()), stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL, stderr=PIPE, start_new_session=True,
                env={name: os.environ[name] for name in _INHERITED if name in os.environ},
            )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        child = _Child(process, writer, time.monotonic())
        try:
            # nothing is awaited between the snapshot and the registration, so that no revocation falls in
            # between
            self._trim()
            send(writer, self._config())
            self._children.add(child)
            if self._stop.is_set():
                send(writer, {"op": "stop"})
            async with asyncio.TaskGroup() as tasks:
                output = tasks.create_task(_log_output(process), name=f"fileserver.output.{number}")
                await self._listen(reader, child, ready, tasks)
                child.kill()  # it ends by itself when the pipe is lost; this is for one that hangs
                status = await process.wait()
                await asyncio.wait([output], timeout=_LAST_WORDS_SECONDS)
                output.cancel()
            return status
        finally:
            self._children.discard(child)
            for waiting in child.acks.values():
                if not waiting.done():
                    waiting.set_result(None)
            child.kill()
            writer.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await asyncio.shield(process.wait())

    def _config(self) -> dict[str, Any]:
        options = self._options
        return {
            "op": "config",
            "storage": {
                "provider": self._storage.provider,
                "settings": dict(self._storage.settings),
                "state_dir": str(self._storage.state_dir),
                "download_dir": str(self._storage.download_dir),
            },
            "keys": [key.hex() for key in self._keys],
            "referers": list(options.referers),
            "revoked": {link.hex: expiry for link, expiry in self._revoked.items()},
            "day": None if self._day is None else day_to_json(self._day),
            "max_connections": options.max_connections,
            "head_seconds": options.head_seconds,
            "idle_seconds": options.idle_seconds,
            "write_idle_seconds": options.write_idle_seconds,
        }

    async def _listen(
        self, reader: asyncio.StreamReader, child: _Child, ready: asyncio.Future[None], tasks: asyncio.TaskGroup
    ) -> None:
        """Until the process is gone."""
        while True:
            try:
                message = await receive(reader)
            except PipeLost:
                return
            match message["op"]:
                case "ready":
                    if not ready.done():
                        ready.set_result(None)
                case "ack":
                    if (waiting := child.acks.pop(message["seq"], None)) and not waiting.done():
                        waiting.set_result(None)
                case "content":
                    tasks.create_task(self._tell(child, message), name=f"fileserver.content.{message['id']}")
                case "use":
                    tasks.create_task(self._admit(child, message), name=f"fileserver.use.{message['id']}")
                case "gone" if self._on_gone is not None:
                    replica = ReplicaId(UUID(message["replica"]))
                    tasks.create_task(self._on_gone(replica), name=f"fileserver.gone.{replica}")
                case "usage":
                    child.reported = message["number"]
                    for link, (accesses, sent) in message["links"].items():
                        counts = self._usage.setdefault(LinkId(UUID(link)), [0, 0])
                        counts[0] += accesses
                        counts[1] += sent

    async def _tell(self, child: _Child, question: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"op": "content", "id": question["id"], "state": "failed"}
        try:
            async with asyncio.timeout(_CALLBACK_SECONDS):
                content = await self._look_up(
                    LinkId(UUID(question["link"])), ReplicaId(UUID(question["replica"])), question["index"]
                )
            answer |= {"state": "found", "content": content_to_json(content)}
        except NotFound:
            answer["state"] = "gone"
        except NotReady:
            answer["state"] = "not_ready"
        except StorageMissing:
            answer["state"] = "storage_missing"
        except Exception:  # whatever ails the store, the process is told and serves on
            log.warning("a link could not be looked up", exc_info=True, extra={"action": "fileserver.look_up_failed"})
        send(child.writer, answer)

    async def _admit(self, child: _Child, question: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"op": "use", "id": question["id"], "state": "failed"}
        try:
            async with asyncio.timeout(_CALLBACK_SECONDS):
                link = LinkId(UUID(question["link"]))
                taken = self._on_use is not None and await self._on_use(
                    link, question["client"], question["continued"]
                )
            answer["state"] = "taken" if taken else "used_up"
        except Exception:  # whatever ails the store, the process is told and serves on
            log.warning("a use could not be counted", exc_info=True, extra={"action": "fileserver.use_failed"})
        send(child.writer, answer)

    # -- revocations and usage

    async def _change(self, child: _Child, message: Mapping[str, Any]) -> None:
        """Returns when the process has acknowledged it, or is killed for not doing so."""
        sequence = next(self._sequence)
        acknowledged = child.acks[sequence] = asyncio.get_running_loop().create_future()
        send(child.writer, {**message, "seq": sequence})
        try:
            async with asyncio.timeout(ACK_SECONDS):
                await acknowledged
        except TimeoutError:
            log.warning(
                "a file process does not answer and is killed",
                extra={"action": "fileserver.unresponsive", "pid": child.process.pid},
            )
            child.kill()
        finally:
            child.acks.pop(sequence, None)

    def _trim(self) -> None:
        now = time.time()
        self._revoked = {link: expiry for link, expiry in self._revoked.items() if expiry > now}

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(USAGE_SECONDS)
            await self._flush_usage()

    async def _flush_usage(self) -> None:
        usage, self._usage = self._usage, {}
        reported = {child: child.reported for child in self._children}
        if not usage:
            return
        try:
            async with asyncio.timeout(_CALLBACK_SECONDS):
                await self._on_usage({link: (accesses, Bytes(sent)) for link, (accesses, sent) in usage.items()})
            for child, number in reported.items():
                child.counted = number
        except Exception:  # it is counted with the next report
            log.warning(
                "the use of links could not be stored", exc_info=True, extra={"action": "fileserver.usage_failed"}
            )
            for link, (accesses, sent) in usage.items():
                counts = self._usage.setdefault(link, [0, 0])
                counts[0] += accesses
                counts[1] += sent


async def _log_output(process: Process) -> None:
    """A file process says something only when something is wrong."""
    assert process.stderr is not None
    while True:
        try:
            line = await process.stderr.readline()
        except ValueError:  # a line longer than the reader's limit
            continue
        if not line:
            return
        text = "".join(character for character in line.decode("utf-8", "replace") if character.isprintable())
        log.warning("a file process reports", extra={"action": "fileserver.output", "line": text[:500]})


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket. Raises InvalidArgument."""
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise InvalidArgument(f"{host!r} is not an address of this machine", field="node.file_server_host") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # inherited by accepted sockets on Linux
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise InvalidArgument(
                f"port {port} on {host} is taken by another program", field="node.file_server_port",
                hint="set node.file_server_port to a free port (0: any)",
            ) from error  # fmt: skip
        raise InvalidArgument(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}", field="node.file_server_port"
        ) from error
    return listener
