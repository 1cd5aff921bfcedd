"""The services over a real SQLite store and the simulated engine, in the test's own process and at full speed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from oddaemon.app.compose_core import Core, build_core
from oddaemon.app.compose_nodes import Fleet, fleet_of
from oddaemon.app.system_clock import SystemClock
from oddaemon.balancers.round_robin import RoundRobin
from oddaemon.domain.admission import Limits
from oddaemon.domain.cache import Replica
from oddaemon.domain.events import Event
from oddaemon.domain.job import Job, JobState
from oddaemon.domain.types import Bytes, EngineName, LinkId, NodeId, Seconds
from oddaemon.domain.user import Principal, Proof, Role, User, UserLimits
from oddaemon.engines.simulated import PLUGIN
from oddaemon.fileserver.processes import StorageChoice
from oddaemon.ports.plugin import Parts
from oddaemon.ports.store import Transaction
from oddaemon.services import ids
from oddaemon.services.node_agent import NodeAgent
from oddaemon.services.operator import ensure_admin
from oddaemon.services.views import AddOrder, JobView
from oddaemon.storage.local import LocalStorage
from oddaemon.store.migrate import open_store
from oddaemon.store.sql_store import SqlStore
from oddaemon.testing.fakes import FakeSupervisor, RecordingBus
from tests.support.awake import AwakeClock
from tests.support.places import database_url
from tests.support.wait import until

HERE = NodeId("here")


def store_location(folder: Path) -> str | Path:
    """Where the store of a house is: tests put another one in this function's place."""
    return database_url(folder) or folder / "opendebrid.db"


def stored_in(base: Path) -> StorageChoice:
    """The local provider, for a file server's processes."""
    return StorageChoice(provider="local", settings={}, state_dir=base, download_dir=base)


SIMULATED = EngineName("simulated")


@dataclass(slots=True)
class House:
    """One controller without its faces. `crash` and `start` are kill -9 and a new start over the same folder."""

    folder: Path
    limits: Limits = field(
        default_factory=lambda: Limits(
            min_disk_free=Bytes(1), resume_free=Bytes(1), retry_wait=Seconds(0.05), retry_wait_max=Seconds(0.2)
        )
    )
    events: list[Event] = field(default_factory=list)
    store: SqlStore = field(init=False)
    core: Core = field(init=False)
    agent: NodeAgent = field(init=False)
    fleet: Fleet = field(init=False)
    storage: LocalStorage = field(init=False)
    admin: Principal = field(init=False)
    revoked: list[LinkId] = field(default_factory=list)
    tells_of_others: bool = False
    _task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        clock = SystemClock()
        bus = RecordingBus()
        location = await asyncio.to_thread(store_location, self.folder)
        self.store = await open_store(location, publish=self._published)
        state = self.folder / "engine"
        state.mkdir(parents=True, exist_ok=True)
        downloads = self.folder / "downloads"
        parts = Parts(supervisor=FakeSupervisor(), clock=AwakeClock(), state_dir=state, download_dir=downloads)
        engine = PLUGIN.build(PLUGIN.settings_type(), parts)
        await engine.start()
        self.storage = LocalStorage(downloads)
        self.storage.prepare(known=False)
        self.agent = NodeAgent(id=HERE, display_name="here", engines={SIMULATED: engine}, storage=self.storage)
        self.fleet = fleet_of(self.agent)
        self.core = build_core(
            store=self.store, bus=bus, clock=clock, nodes=self.fleet.clients, local=HERE, balancer=RoundRobin(),
            limits=lambda: self.limits, option_specs=lambda: {SIMULATED: engine.capabilities.options},
            secret_options=frozenset(), revoke=self._revoke, tells_of_others=lambda: self.tells_of_others,
        )  # fmt: skip
        admin = await self.store.write(lambda tx: ensure_admin(tx, "admin", clock.now()))
        self.admin = Principal(user_id=admin.id, username="admin", role=Role.ADMIN, proof=Proof.LOCAL)
        self._task = asyncio.create_task(self._run(), name="house")

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for name, job in self.core.background():
                group.create_task(job, name=name)

    def _published(self, events: Sequence[Event]) -> None:
        self.events += events

    async def _revoke(self, links: Collection[LinkId]) -> None:
        self.revoked += links

    async def crash(self) -> None:
        """Everything in memory is gone; the engine forgets what it did."""
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        for engine in self.agent.engines.values():
            await engine.stop()
        await self.store.close()

    async def allow(self, who: Principal, limits: UserLimits) -> None:
        """Gives a user limits of their own, as the accounts do it."""

        def work(tx: Transaction) -> None:
            user = tx.users.get(who.user_id)
            assert user is not None
            tx.users.update(replace(user, limits=limits))

        await self.store.write(work)
        self.core.reconciler.wake()

    async def user(self, name: str) -> Principal:
        """A new account that is no admin."""
        now = SystemClock().now()
        user = User(id=ids.new_user_id(), username=name, role=Role.USER, created_at=now, updated_at=now)
        await self.store.write(lambda tx: tx.users.insert(user))
        return Principal(user_id=user.id, username=name, role=Role.USER, proof=Proof.LOCAL)

    async def add(self, source: str, who: Principal | None = None, **order: object) -> JobView:
        """`dry=True` only says what would come of it."""
        options, dry = order.pop("options", {}), bool(order.pop("dry", False))
        assert isinstance(options, dict)
        asked = AddOrder(source=source, engine=str(order.pop("engine", "simulated")), options=options)
        return await self.core.downloads.add(who or self.admin, replace(asked, **order), dry_run=dry)  # type: ignore[arg-type]

    async def job(self, view: JobView) -> Job | None:
        return await self.store.read(lambda tx: tx.jobs.get(view.job.id))

    async def replicas(self) -> Sequence[Replica]:
        return await self.store.read(lambda tx: tx.cache.all_replicas())

    async def until_state(self, view: JobView, *states: JobState, timeout: float = 60) -> Job:
        seen: list[Job | None] = []

        async def look() -> bool:
            seen[:] = [await self.job(view)]
            return seen[0] is not None and seen[0].state in states

        try:
            await until(look, timeout=timeout, what=f"job {view.job.number} to be {states}")
        except AssertionError as error:
            raise AssertionError(f"{error}; last: {seen}; {await self.replicas()}") from None
        assert seen[0] is not None
        return seen[0]

    async def until_job(self, condition: Callable[[Job], bool], view: JobView, timeout: float = 60) -> Job:
        seen: list[Job | None] = []

        async def look() -> bool:
            seen[:] = [await self.job(view)]
            return seen[0] is not None and condition(seen[0])

        try:
            await until(look, timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; last: {seen}; {await self.replicas()}") from None
        assert seen[0] is not None
        return seen[0]

    def directories(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "downloads").iterdir() if path.is_dir())


@contextlib.asynccontextmanager
async def house(folder: Path, **changes: object) -> AsyncIterator[House]:
    built = House(folder)
    built.limits = replace(built.limits, **changes)  # type: ignore[arg-type]
    await built.start()
    try:
        yield built
    finally:
        await built.crash()
