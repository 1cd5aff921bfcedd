"""Keeps a worker connected: opens both connections, registers, beats, and begins anew whenever one is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from grpclib.config import Configuration

from oddaemon.domain.backoff import RestartBackoff
from oddaemon.domain.errors import (
    InvalidArgument,
    NodeUnavailable,
    NotAllowed,
    OpenDebridError,
    Unauthenticated,
    Unsupported,
)
from oddaemon.domain.node import DiskUsage, EngineHealth
from oddaemon.domain.types import Seconds
from oddaemon.ports.node_transport import ControllerAddress, Identity, NodeLink, Told
from oddaemon.transports.grpc.dialer import KEEPALIVE, RegistryClient, ServedNode, registry_client, served_node

log = logging.getLogger(__name__)

WELCOME_SECONDS = 15.0
LASTING = (Unauthenticated, NotAllowed, Unsupported, InvalidArgument)
"""What trying again soon does not change: tried at the longest wait, since an admin may change it."""
SELDOM = Seconds(60)
GATHER_SECONDS = Seconds(0.05)
"""Downloads that end together are reported together."""
REPORTED_AT_ONCE = 500


async def nobody_else() -> Identity | None:
    return None


@dataclass(slots=True)
class Worker(NodeLink):
    """`another`: who else to be when the controller does not know `identity`; None: nobody. `registry` is there while
    it is connected."""

    address: ControllerAddress
    identity: Identity
    told: Told
    another: Callable[[], Awaitable[Identity | None]] = nobody_else
    configuration: Configuration = KEEPALIVE
    problem: str = ""
    hint: str = ""
    online: asyncio.Event = field(default_factory=asyncio.Event)
    registry: RegistryClient | None = None
    _said: set[str] = field(default_factory=set)
    """Problems that the log has since the connection was lost."""

    async def run(self) -> None:
        backoff, clock = RestartBackoff(), self.told.clock
        while True:
            began = clock.monotonic()
            lasting = False
            try:
                await self._connected()
            except OpenDebridError as error:
                self._problem(error)
                lasting = isinstance(error, LASTING)
            except Exception:
                # of the node itself: it stays, and is told of
                log.exception("worker's link failed", extra={"action": "link_failed"})
                self.problem, self.hint, lasting = "internal error", "see the worker's log", True
            wait = backoff.next_wait(ran_for=Seconds(clock.monotonic() - began))
            # many workers lose one controller at the same moment, and must not all come back at the same
            await clock.sleep(Seconds((SELDOM if lasting else wait) * random.uniform(0.5, 1)))  # noqa: S311  no secret

    def _problem(self, error: OpenDebridError) -> None:
        self.problem, self.hint = error.message, error.hint
        if error.message not in self._said:
            self._said.add(error.message)
            log.warning(
                "no connection to the controller",
                extra={"action": "controller_lost", "error": error.message, "hint": error.hint},
            )

    async def _connected(self) -> None:
        """Raises OpenDebridError: also when one of the connections was lost."""
        async with registry_client(self.address, self.configuration) as registry:
            await self._authenticate(registry)
            async with served_node(self.address, self.identity, self.told.node, self.configuration) as served:
                await _until_welcome(served)
                abilities, every = await self._register(registry)
                self.problem, self.hint, self.registry = "", "", registry
                self._said.clear()
                log.info("connected to the controller", extra={"action": "controller_connected"})
                self.online.set()
                try:
                    await self._stay(registry, served, abilities, every)
                finally:
                    self.online.clear()
                    self.registry = None

    async def _authenticate(self, registry: RegistryClient) -> None:
        """Raises NodeUnavailable when there is another identity to come back with at once."""
        try:
            await registry.authenticate(self.identity)
        except Unauthenticated as error:
            found = await self.another()
            if found is not None:
                self.identity = found
                raise NodeUnavailable(f"the controller knows this node anew, as {found.node_id}") from error
            if self.told.files is not None:
                await self.told.files.refused()
            if self.told.removed is not None:
                await self.told.removed()
            raise Unauthenticated(
                f"the controller does not know this node ({self.identity.node_id}) any more: it was removed there",
                hint="what was downloaded stays here; to let it join again make a token on the controller with odctl "
                "nodes token create, and start this worker with the CONTROLLER_TOKEN that it prints",
            ) from error

    async def _register(self, registry: RegistryClient) -> tuple[object, Seconds]:
        announced = await self.told.announce()
        abilities = _abilities(announced.disk, [engine.health for engine in announced.engines])
        return abilities, await registry.register(announced)

    async def _stay(self, registry: RegistryClient, served: ServedNode, abilities: object, every: Seconds) -> None:
        """Until it is lost. Raises OpenDebridError with why."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_outcome(self._beat(registry, abilities, every)), name="heartbeats"),
                group.create_task(_outcome(self._report(registry)), name="reports"),
                *(group.create_task(_lost(event)) for event in (registry.lost, served.lost)),
            ]
            if self.told.files is not None:
                tasks.append(group.create_task(_outcome(self.told.files.follow(registry)), name="news for files"))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        raise next(iter(done)).result()

    async def _beat(self, registry: RegistryClient, abilities: object, every: Seconds) -> None:
        """For ever. What the node can do is announced again when it has changed, as when an engine is back."""
        clock = self.told.clock
        due = clock.monotonic() + every
        while True:
            await clock.sleep(Seconds(max(due - clock.monotonic(), 0)))
            # asking the engines takes its time, which must not make the beats rarer
            due = clock.monotonic() + every
            beat = await self.told.beat()
            known = await registry.heartbeat(beat)
            if not known or _abilities(beat.disk, beat.engines) != abilities:
                abilities, every = await self._register(registry)
                due = clock.monotonic() + every

    async def _report(self, registry: RegistryClient) -> None:
        """For ever. What ended is told at once, where the controller would find it at its next look."""
        while True:
            await self.told.news.wait()
            await self.told.clock.sleep(GATHER_SECONDS)
            self.told.news.clear()
            changed = await self.told.changes()
            for start in range(0, len(changed), REPORTED_AT_ONCE):
                await registry.report(changed[start : start + REPORTED_AT_ONCE])


def _abilities(disk: DiskUsage, engines: Sequence[EngineHealth]) -> object:
    """What a controller places downloads by. Why an engine is down may change at every look."""
    return disk.present, tuple(
        (health.name, health.ok, health.version, health.max_concurrent, dict(health.capabilities), health.schemes)
        for health in engines
    )  # fmt: skip


async def _outcome(work: Awaitable[None]) -> OpenDebridError:
    """What ended it."""
    try:
        await work
    except OpenDebridError as error:
        return error
    return NodeUnavailable("the connection to the controller has ended")


async def _lost(event: asyncio.Event) -> OpenDebridError:
    await event.wait()
    return NodeUnavailable("the connection to the controller was lost")


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
