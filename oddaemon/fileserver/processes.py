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
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from oddaemon.domain.day_left import Counted, DayLeft
from oddaemon.domain.errors import Unavailable
from oddaemon.domain.types import Bytes, LinkId, ReplicaId
from oddaemon.fileserver.child import CALLBACK_SECONDS, Child, ClientOf, Desk, LookUp, OnGone, OnOpen, OnUse
from oddaemon.fileserver.lease import now_asleep_too
from oddaemon.fileserver.listener import bound
from oddaemon.fileserver.pipe import day_to_json
from oddaemon.fileserver.usage import Usage
from oddaemon.ports.node_files import FileServing

log = logging.getLogger(__name__)

LinkUsage = Mapping[LinkId, tuple[int, Bytes]]
"""Accesses and bytes served."""
OnUsage = Callable[[LinkUsage], Awaitable[None]]
ReadRevoked = Callable[[], Awaitable[Mapping[LinkId, datetime]]]
"""Revoked links that have not expired, with their expiry."""

STOP_SECONDS = 2.0
START_SECONDS = 10.0
USAGE_SECONDS = 1.0
MAX_DELAY_SECONDS = 30.0
HEALTHY_SECONDS = 60.0
_FIRST_DELAY_SECONDS = 0.1


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
    stale_seconds: float = 60.0
    """For so long what is known of a link is used while nobody can be asked."""
    leased: bool = False
    """Links are served only for as long as `serve_for` says, and not before it has said so."""
    takes_tickets: bool = False
    """A controller relays from here (domain.relay_token)."""


class FileServer(FileServing):
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
        on_open: OnOpen | None = None,
        client_of: ClientOf = lambda peer, forwarded: peer,
        processes: int = 1,
        options: FileServerOptions | None = None,
    ) -> None:
        """`port` 0: any free one. `keys`: of this node, newest first; any of them verifies."""
        self._host = host
        self._port = port
        self._storage = storage
        self._keys = tuple(keys)
        self._desk = Desk(
            look_up=look_up, on_use=on_use, on_gone=on_gone, on_open=on_open, client_of=client_of, usage=Usage()
        )
        self._on_usage = on_usage
        self._read_revoked = read_revoked
        self._count = max(processes, 1)
        self._options = options or FileServerOptions()
        self._children: set[Child] = set()
        self._revoked: dict[LinkId, float] = {}
        self._day: DayLeft | None = None
        self._serve_until = 0.0 if self._options.leased else None
        self._listener: socket.socket | None = None
        self._running: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def start(self) -> tuple[str, int]:
        """Returns the address when every process serves. Raises InvalidArgument for an address that is taken
        or cannot be had, Unavailable when the processes do not come up."""
        self._stop.clear()
        self._listener = bound(self._host, self._port)
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
            child.tell({"op": "stop"})
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
        await self._change({"op": "revoke", "links": {link.hex: at for link, at in new.items()}})

    async def rekey(self, keys: Sequence[bytes]) -> None:
        """Within a second, or when this returns if that is sooner, no process serves a link that none of these keys
        signed, and running transfers of all links have ended. Idempotent."""
        if tuple(keys) != self._keys:
            self._keys = tuple(keys)
            await self._change({"op": "keys", "keys": [key.hex() for key in keys]})

    async def serve_for(self, seconds: float) -> None:
        """See ports.node_files.FileServing. A machine that sleeps meanwhile does not stop the clock."""
        self._serve_until = now_asleep_too() + seconds
        await self._change({"op": "serve", "until": self._serve_until})

    async def _change(self, message: Mapping[str, Any]) -> None:
        """When this returns every process has done it, or is gone."""
        async with asyncio.TaskGroup() as tasks:
            for child in list(self._children):
                tasks.create_task(child.change(message), name=f"fileserver.{message['op']}.{child.pid}")

    @property
    def counted(self) -> Counted:
        """Up to which of its reports what each process gave was stored: for `allot`."""
        return {child.pid: child.counted for child in self._children}

    def allot(self, day: DayLeft, as_of: Counted) -> None:
        """The links of users give no more than this from now on: transfers end in the middle, and who has nothing left
        is refused until the next day. `as_of`: what `counted` was before what is left was looked up."""
        self._day = day
        for child in self._children:
            counted = as_of.get(child.pid, 0)
            child.tell({"op": "day", "day": day_to_json(day), "as_of": counted})

    def forget(self, replicas: Sequence[ReplicaId]) -> None:
        """What the processes remember of these replicas' files is asked again: call it when a replica's files
        go."""
        message = {"op": "forget", "replicas": [replica.hex for replica in replicas]}
        for child in self._children:
            child.tell(message)

    @property
    def pids(self) -> Sequence[int]:
        """Of the processes that are up."""
        return [child.pid for child in self._children]

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
                status = await self._run_child(ready)
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

    async def _run_child(self, ready: asyncio.Future[None]) -> int:
        assert self._listener is not None
        child = await Child.spawn(self._listener)
        try:
            # nothing is awaited between the snapshot and the registration, so that no revocation falls in between
            self._trim()
            child.tell(self._config())
            self._children.add(child)
            if self._stop.is_set():
                child.tell({"op": "stop"})
            return await child.run(self._desk, ready)
        finally:
            self._children.discard(child)
            await child.end()

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
            "serve_until": self._serve_until,
            "stale_seconds": options.stale_seconds,
            "takes_tickets": options.takes_tickets,
            "day": None if self._day is None else day_to_json(self._day),
            "max_connections": options.max_connections,
            "head_seconds": options.head_seconds,
            "idle_seconds": options.idle_seconds,
            "write_idle_seconds": options.write_idle_seconds,
        }

    # -- revocations and usage

    def _trim(self) -> None:
        now = time.time()
        self._revoked = {link: expiry for link, expiry in self._revoked.items() if expiry > now}

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(USAGE_SECONDS)
            await self._flush_usage()

    async def _flush_usage(self) -> None:
        usage = self._desk.usage.take()
        reported = {child: child.reported for child in self._children}
        if not usage:
            return
        try:
            async with asyncio.timeout(CALLBACK_SECONDS):
                await self._on_usage({link: (accesses, Bytes(sent)) for link, (accesses, sent) in usage.items()})
            for child, number in reported.items():
                child.counted = number
        except Exception:  # it is counted with the next report
            log.warning(
                "the use of links could not be stored", exc_info=True, extra={"action": "fileserver.usage_failed"}
            )
            for link, (accesses, sent) in usage.items():
                self._desk.usage.add(link, accesses, sent)
