"""Keeps a worker connected: opens both connections, registers, beats, and begins anew whenever one is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from grpclib.config import Configuration

from oddaemon.domain.backoff import RestartBackoff
from oddaemon.domain.errors import NodeUnavailable, NotAllowed, OpenDebridError, Unauthenticated, Unsupported
from oddaemon.domain.types import Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.node_files import FilesAtController
from oddaemon.ports.node_registry import Announcement, Heartbeat
from oddaemon.transports.grpc.dialer import (
    KEEPALIVE,
    ControllerAddress,
    RegistryClient,
    ServedNode,
    registry_client,
    served_node,
)
from oddaemon.transports.grpc.node_service import Identity

log = logging.getLogger(__name__)

WELCOME_SECONDS = 15.0
LASTING = (Unauthenticated, NotAllowed, Unsupported)
"""What trying again soon does not change: tried at the longest wait, since an admin may change it."""
LONGEST = Seconds(30)


class FollowsFiles(Protocol):
    """This node's file server, see services.worker_files."""

    async def follow(self, controller: FilesAtController) -> None:
        """For as long as there is a connection: then it is cancelled."""

    async def refused(self) -> None:
        """The controller does not know this node."""


@dataclass(slots=True)
class Worker:
    """`announce` and `beat` are asked anew each time. `online` is set while the controller knows this node."""

    address: ControllerAddress
    identity: Identity
    node: NodeClient
    announce: Callable[[], Awaitable[Announcement]]
    beat: Callable[[], Awaitable[Heartbeat]]
    clock: Clock
    files: FollowsFiles | None = None
    configuration: Configuration = KEEPALIVE
    problem: str = ""
    """Why it is not connected."""
    online: asyncio.Event = field(default_factory=asyncio.Event)
    registry: RegistryClient | None = None

    async def run(self) -> None:
        """Until it is cancelled."""
        backoff = RestartBackoff()
        while True:
            began = self.clock.monotonic()
            try:
                await self._connected()
                wait = backoff.next_wait(ran_for=Seconds(self.clock.monotonic() - began))
            except OpenDebridError as error:
                if error.message != self.problem:
                    log.warning("controller not reached", extra={"action": "controller_lost", "error": error.message})
                self.problem = error.message
                wait = backoff.next_wait(ran_for=Seconds(self.clock.monotonic() - began))
                if isinstance(error, Unauthenticated) and self.files is not None:
                    await self.files.refused()
                if isinstance(error, LASTING):
                    wait = LONGEST
            except Exception:
                # of the node itself: it stays, and is told of
                log.exception("worker's link failed", extra={"action": "link_failed"})
                self.problem, wait = "internal error", LONGEST
            # many workers lose one controller at the same moment, and must not all come back at the same
            await self.clock.sleep(Seconds(wait * random.uniform(0.5, 1)))  # noqa: S311  no secret

    async def _connected(self) -> None:
        """Returns when one of the connections was lost. Raises OpenDebridError."""
        async with registry_client(self.address, self.configuration) as registry:
            await registry.authenticate(self.identity)
            async with served_node(self.address, self.identity, self.node, self.configuration) as served:
                await _until_welcome(served)
                every = await registry.register(await self.announce())
                self.problem, self.registry = "", registry
                log.info("connected to the controller", extra={"action": "controller_connected"})
                self.online.set()
                try:
                    await self._beating(registry, served, every)
                finally:
                    self.online.clear()
                    self.registry = None

    async def _beating(self, registry: RegistryClient, served: ServedNode, every: Seconds) -> None:
        async with asyncio.TaskGroup() as group:
            beats = group.create_task(self._beat(registry, every), name="heartbeats")
            lost: list[asyncio.Task[Any]] = [
                group.create_task(event.wait(), name="connection lost") for event in (registry.lost, served.lost)
            ]  # fmt: skip
            if self.files is not None:
                lost.append(group.create_task(self.files.follow(registry), name="news for files"))
            await asyncio.wait([beats, *lost], return_when=asyncio.FIRST_COMPLETED)
            for task in (beats, *lost):
                task.cancel()
        self.problem = "the connection to the controller was lost"

    async def _beat(self, registry: RegistryClient, every: Seconds) -> None:
        """Until a beat fails."""
        try:
            while True:
                await self.clock.sleep(every)
                if not await registry.heartbeat(await self.beat()):
                    every = await registry.register(await self.announce())
        except OpenDebridError as error:
            log.warning("heartbeat failed", extra={"action": "heartbeat_failed", "error": error.message})


async def _until_welcome(served: ServedNode) -> None:
    """Raises NodeUnavailable when the controller does not show that it is the controller."""
    try:
        async with asyncio.timeout(WELCOME_SECONDS):
            async with asyncio.TaskGroup() as group:
                either = [group.create_task(event.wait()) for event in (served.welcomed, served.lost)]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                for task in either:
                    task.cancel()
    except TimeoutError:
        pass
    if not served.welcomed.is_set():
        raise NodeUnavailable("the controller did not take this node's connection")
