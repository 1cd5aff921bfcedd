"""A house of many nodes: one controller, and workers in the same process whose lines can be cut, frozen and spoiled."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from oddaemon.app.compose_core import build_core
from oddaemon.app.system_clock import SystemClock
from oddaemon.balancers.round_robin import RoundRobin
from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.errors import NodeUnavailable
from oddaemon.domain.node import Liveness, NodeSnapshot
from oddaemon.domain.types import NodeId, ReplicaId, Seconds
from oddaemon.domain.user import Principal, Proof, Role
from oddaemon.engines.simulated.engine import SimulatedEngine
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import FillState
from oddaemon.ports.load_balancer import LoadBalancer
from oddaemon.ports.node_client import NodeClient, NodeStatuses
from oddaemon.services.node_agent import NodeAgent
from oddaemon.services.operator import ensure_admin
from oddaemon.storage.local import LocalStorage
from oddaemon.store.migrate import open_store
from oddaemon.testing.fakes import ManualClock, RecordingBus
from tests.support.core import HERE, SIMULATED, House, store_location
from tests.support.wait import until

BEAT = 0.05
FROZEN = 0.3
"""A call to a frozen node ends after so long."""
URL = "http://sim.invalid/{}.bin"
SLOW = {"size": "4000", "rate": "1000"}
"""Runs until its node's time is moved on."""


class Line:
    """A NodeClient over a line that a test spoils."""

    def __init__(self, agent: NodeAgent) -> None:
        self.agent = agent
        self.cut = False
        self.frozen = False
        self.lost: frozenset[str] = frozenset()
        """Calls whose answers are lost; what they ask for is done."""
        self.calls: Counter[str] = Counter()
        self.lies: Callable[[NodeStatuses], NodeStatuses] = lambda told: told
        self.fails: Exception | None = None
        """What every dispatch ends with."""

    @property
    def node_id(self) -> NodeId:
        return self.agent.id

    async def _pass(self) -> None:
        if self.frozen:
            await asyncio.sleep(FROZEN)
        if self.cut or self.frozen:
            raise NodeUnavailable(f"node {self.agent.id} is not connected")

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self.agent, name)
        if name in {"refuses_torrent", "validate_options", "option_specs", "read"}:
            return plain

        async def call(*args: object, **kwargs: object) -> object:
            await self._pass()
            self.calls[name] += 1
            if name == "dispatch" and self.fails is not None:
                raise self.fails
            answer = await plain(*args, **kwargs)
            if name in self.lost:
                raise NodeUnavailable(f"node {self.agent.id} did not answer")
            await self._pass()
            return self.lies(answer) if name == "statuses" else answer

        return call


class LooseTime(ManualClock):
    """The time of a node's engine: stands still until it is moved on, and never makes anybody wait."""

    async def sleep(self, duration: Seconds) -> None:
        await asyncio.sleep(0)


@dataclass(slots=True)
class Worker:
    folder: Path
    id: NodeId
    clock: LooseTime = field(default_factory=LooseTime)
    engine: SimulatedEngine = field(init=False)
    line: Line = field(init=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    dead: bool = False
    disk: Callable[[NodeSnapshot], NodeSnapshot] = lambda seen: seen

    async def start(self) -> None:
        """A new process on the same disk, which knows nothing."""
        self.engine = SimulatedEngine(cast(Clock, self.clock))
        await self.engine.start()
        storage = LocalStorage(self.folder)
        storage.prepare(known=self.folder.exists() and (self.folder / ".opendebrid").exists())
        agent = NodeAgent(id=self.id, display_name=self.id, engines={SIMULATED: self.engine}, storage=storage)
        if hasattr(self, "line"):
            self.line.agent = agent
        else:
            self.line = Line(agent)
        self.dead = False

    async def kill(self) -> None:
        self.dead = True
        self.line.cut = True
        await self.engine.stop()

    async def revive(self) -> None:
        await self.start()
        self.line.cut = False

    async def running(self) -> list[ReplicaId]:
        """What its engine is at, whatever anybody knows of it."""
        if self.dead:
            return []
        statuses = await self.engine.statuses()
        going = {FillState.ACTIVE, FillState.QUEUED}
        return [found for found, status in statuses.items() if status.state in going]

    def directories(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir())

    async def finish(self) -> None:
        """Time enough for all that its engine is at."""
        await self.clock.advance(1000)

    async def snapshot(self) -> NodeSnapshot:
        seen = await self.line.agent.snapshot()
        return self.disk(replace(seen, is_controller=False, labels=self.labels))


@dataclass(slots=True)
class ManyHouse(House):
    """`crash` and `start` are of the controller alone: the workers go on. The controller's own node takes no work."""

    names: Sequence[str] = ("a", "b", "c")
    life: Liveness = field(
        default_factory=lambda: Liveness(heartbeat_every=Seconds(0.1), grace=Seconds(3600))
    )
    balancer: LoadBalancer = field(default_factory=RoundRobin)
    workers: dict[NodeId, Worker] = field(default_factory=dict)
    clients: dict[NodeId, NodeClient] = field(default_factory=dict)
    beat: float = BEAT
    """Seconds between two heartbeats of each worker."""
    pure: bool = False
    """Whether the controller has no engine of its own."""
    _beating: asyncio.Task[None] | None = None

    async def start(self) -> None:
        clock = SystemClock()
        self.store = await open_store(
            await asyncio.to_thread(store_location, self.folder), publish=self._published
        )
        if not self.workers:
            self.storage = LocalStorage(self.folder / "downloads")
            self.storage.prepare(known=False)
            engine = SimulatedEngine(SystemClock())
            self.agent = NodeAgent(
                id=HERE, display_name="here", engines={} if self.pure else {SIMULATED: engine}, storage=self.storage
            )
            self.clients[HERE] = self.agent
            for name in self.names:
                await self._hire(name)
        self.core = build_core(
            store=self.store, bus=RecordingBus(), clock=clock, nodes=self.clients, local=HERE, balancer=self.balancer,
            limits=lambda: self.limits,
            option_specs=lambda: {} if self.pure else {SIMULATED: self.any.engine.capabilities.options},
            secret_options=frozenset(), revoke=self._revoke, tells_of_others=lambda: True, life=lambda: self.life,
        )  # fmt: skip
        admin = await self.store.write(lambda tx: ensure_admin(tx, "admin", clock.now()))
        self.admin = Principal(user_id=admin.id, username="admin", role=Role.ADMIN, proof=Proof.LOCAL)
        self._task = asyncio.create_task(self._run(), name="house")
        self._beating = asyncio.create_task(self._beat(), name="heartbeats")

    async def _hire(self, name: str) -> None:
        worker = Worker(self.folder / f"disk-{name}", NodeId(name))
        worker.folder.mkdir(parents=True)
        await worker.start()
        self.workers[worker.id] = worker
        self.clients[worker.id] = cast(NodeClient, worker.line)

    @property
    def any(self) -> Worker:
        return next(iter(self.workers.values()))

    def __getitem__(self, name: str) -> Worker:
        return self.workers[NodeId(name)]

    async def crash(self) -> None:
        for task in (self._task, self._beating):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._task = self._beating = None
        await self.store.close()

    async def close(self) -> None:
        await self.crash()
        for worker in self.workers.values():
            await worker.engine.stop()

    async def _beat(self) -> None:
        while True:
            for worker in list(self.workers.values()):
                if not (worker.dead or worker.line.cut or worker.line.frozen):
                    await self.core.reconciler.watch.heard(await worker.snapshot())
            await asyncio.sleep(self.beat)

    # ── what tests look at ───────────────────────────────────────────────────────────────────────────────────

    async def until_online(self, *names: str) -> None:
        await until(lambda: all(self.is_online(name) for name in names or self.names), what="the nodes online")

    def is_online(self, name: str) -> bool:
        node = self.core.board.nodes.get(NodeId(name))
        return node is not None and node.online

    async def until_offline(self, name: str) -> None:
        await until(lambda: not self.is_online(name), what=f"{name} offline")

    async def node_of(self, view: Any) -> Worker:
        """Of the worker on which the job runs."""
        found: list[Worker] = []

        async def look() -> bool:
            for worker in self.workers.values():
                mine = {replica.id for replica in await self.replicas_of(view) if replica.node_id == worker.id}
                if mine & set(await worker.running()):
                    found[:] = [worker]
                    return True
            return False

        await until(look, what=f"job {view.job.number} to run")
        return found[0]

    async def replicas_of(self, view: Any) -> list[Replica]:
        job = await self.job(view)
        return [] if job is None else [found for found in await self.replicas() if found.entry_id == job.entry_id]

    async def until_replicas(self, view: Any, **states: str) -> None:
        """Which replica the job's entry has on each node."""

        async def look() -> bool:
            return {found.node_id: str(found.state) for found in await self.replicas_of(view)} == states

        try:
            await until(look, what=f"replicas {states}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {await self.replicas_of(view)}") from None

    async def downloads_of(self, view: Any) -> int:
        """How many engines are at the job's content now."""
        mine = {replica.id for replica in await self.replicas_of(view)}
        running = [set(await worker.running()) for worker in self.workers.values()]
        return sum(len(mine & there) for there in running)

    async def end_grace(self) -> None:
        self.life = replace(self.life, grace=Seconds(0))
        self.core.reconciler.wake()

    def dispatches(self) -> int:
        return sum(worker.line.calls["dispatch"] for worker in self.workers.values())

    async def until_nothing_is_left(self) -> None:
        """No replica that is not ready, and no directory that is no replica's."""

        async def look() -> bool:
            known = await self.replicas()
            if any(found.state is not ReplicaState.READY for found in known):
                return False
            for worker in self.workers.values():
                mine = sorted(str(found.id) for found in known if found.node_id == worker.id)
                if worker.directories() != mine or await worker.running():
                    return False
            return True

        try:
            await until(look, what="nothing left over")
        except AssertionError as error:
            there = {worker.id: worker.directories() for worker in self.workers.values()}
            raise AssertionError(f"{error}: {await self.replicas()} {there}") from None


@contextlib.asynccontextmanager
async def many(folder: Path, *names: str, **changes: Any) -> AsyncIterator[ManyHouse]:
    """`changes` are of the limits."""
    built = ManyHouse(folder, names=names or ("a", "b", "c"))
    built.limits = replace(built.limits, per_user=0, per_node=0, **changes)
    await built.start()
    try:
        await built.until_online()
        yield built
    finally:
        await built.close()
