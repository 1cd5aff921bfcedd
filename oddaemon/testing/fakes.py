"""Working fakes for tests of services and plug-ins: a clock that the test moves, a bus that remembers, a
supervisor that starts nothing. There is no fake store: SQLite in memory is fast."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime, timedelta

from oddaemon.domain.errors import AlreadyExists, Unauthenticated
from oddaemon.domain.events import Event
from oddaemon.domain.node_proof import new_credential, token_key
from oddaemon.domain.types import NodeId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import FillStatus
from oddaemon.ports.event_bus import EventBus, Gap, Overflow, Subscriber, Subscription
from oddaemon.ports.node_registry import Announcement, Heartbeat, Joined, NodeRegistry
from oddaemon.ports.supervisor import DaemonSpec, SupervisedDaemon, Supervisor

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class ManualClock(Clock):
    """Stands still until `advance`. Sleepers wake in the order of their times, each at its own."""

    def __init__(self, start: datetime = START) -> None:
        self._wall = start
        self._monotonic = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> Seconds:
        return Seconds(self._monotonic)

    async def sleep(self, duration: Seconds) -> None:
        if duration <= 0:
            await asyncio.sleep(0)
            return
        sleeper = (self._monotonic + duration, next(self._order), asyncio.Event())
        heapq.heappush(self._sleepers, sleeper)
        try:
            await sleeper[2].wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    @property
    def sleepers(self) -> int:
        """How many are asleep now."""
        return len(self._sleepers)

    async def advance(self, duration: float) -> None:
        """Moves both times on, waking everyone whose time comes, those too who fall asleep again on the way."""
        target = self._monotonic + duration
        await self._let_run()
        while self._sleepers and self._sleepers[0][0] <= target:
            at, _, event = heapq.heappop(self._sleepers)
            self._move_to(max(at, self._monotonic))
            event.set()
            await self._let_run()
        self._move_to(target)
        await self._let_run()

    def jump(self, duration: float) -> None:
        """Sets the wall clock (somebody corrected it); durations do not notice."""
        self._wall += timedelta(seconds=duration)

    async def until_asleep(self, sleepers: int = 1) -> None:
        """Returns when at least so many are asleep."""
        for _ in range(10_000):
            if len(self._sleepers) >= sleepers:
                return
            await asyncio.sleep(0)
        raise AssertionError(f"{len(self._sleepers)} asleep, not {sleepers}")

    def _move_to(self, monotonic: float) -> None:
        self._wall += timedelta(seconds=monotonic - self._monotonic)
        self._monotonic = monotonic

    async def _let_run(self) -> None:
        # a woken task may need several turns of the loop before it sleeps again
        for _ in range(20):
            await asyncio.sleep(0)


class RecordingBus(EventBus):
    """Remembers everything in `events`, and delivers too, without bounds."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._subscriptions: list[_Recorded] = []

    def publish(self, events: Sequence[Event]) -> None:
        self.events.extend(events)
        for subscription in tuple(self._subscriptions):
            for event in events:
                subscription.put(event)

    def listening(self, type: str) -> bool:
        return True

    def subscribe(
        self, types: Collection[str] = (), *, capacity: int = 1000, overflow: Overflow = Overflow.GAP
    ) -> Subscription:
        subscription = _Recorded(self._subscriptions, frozenset(types))
        self._subscriptions.append(subscription)
        return subscription

    async def run_subscriber(self, subscriber: Subscriber) -> None:
        async with self.subscribe(subscriber.event_types) as subscription:
            async for event in subscription:
                if isinstance(event, Event):
                    with contextlib.suppress(Exception):
                        await subscriber.handle(event)

    @property
    def types(self) -> list[str]:
        """The types of all events, in order."""
        return [event.type for event in self.events]


class _Recorded(Subscription):
    def __init__(self, siblings: list[_Recorded], types: frozenset[str]) -> None:
        self._siblings = siblings
        self._types = types
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def put(self, event: Event) -> None:
        if not self._types or event.type in self._types:
            self._queue.put_nowait(event)

    async def __aiter__(self) -> AsyncIterator[Event | Gap]:
        while (event := await self._queue.get()) is not None:
            yield event

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        if self in self._siblings:
            self._siblings.remove(self)
            self._queue.put_nowait(None)


class FakeDaemon(SupervisedDaemon):
    """A child that is as the test says."""

    def __init__(self, spec: DaemonSpec) -> None:
        self.spec = spec
        self._running = True
        self._generation = 1
        self._problem = ""

    @property
    def running(self) -> bool:
        return self._running

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def last_problem(self) -> str:
        return self._problem

    @property
    def pid(self) -> int | None:
        return None

    def die(self, problem: str = "killed") -> None:
        self._running, self._problem = False, problem

    def come_back(self) -> None:
        if not self._running:
            self._running, self._generation = True, self._generation + 1


class FakeSupervisor(Supervisor):
    """Starts no process; `daemons` holds what it was asked to run, by name, in the order of the starts."""

    def __init__(self) -> None:
        self.daemons: dict[str, FakeDaemon] = {}

    async def start(self, spec: DaemonSpec) -> SupervisedDaemon:
        await spec.command()
        self.daemons[spec.name] = FakeDaemon(spec)
        return self.daemons[spec.name]

    async def stop(self, name: str) -> None:
        daemon = self.daemons.pop(name, None)
        if daemon is not None:
            daemon.die("stopped")

    async def stop_all(self) -> None:
        for name in reversed(self.daemons):
            await self.stop(name)


class FakeRegistry(NodeRegistry):
    """A controller that knows the nodes it is told of, and remembers what they say."""

    def __init__(self, *, every: float = 5.0) -> None:
        self.credentials: dict[NodeId, bytes] = {}
        self.tokens: dict[str, str] = {}
        """Secrets by ids; each is good for one node."""
        self.announced: dict[NodeId, Announcement] = {}
        self.beats: list[tuple[NodeId, Heartbeat]] = []
        self.reports: list[tuple[NodeId, FillStatus]] = []
        self.every = Seconds(every)

    def add(self, node_id: NodeId) -> bytes:
        """Its credential."""
        self.credentials[node_id] = new_credential()
        return self.credentials[node_id]

    async def credential_of(self, node_id: NodeId) -> bytes | None:
        return self.credentials.get(node_id)

    async def token_key(self, token_id: str) -> bytes | None:
        secret = self.tokens.get(token_id)
        return None if secret is None else token_key(secret)

    async def join(self, token_id: str, node_id: NodeId) -> Joined:
        if node_id in self.credentials:
            raise AlreadyExists(f"there is a node {node_id}")
        if self.tokens.pop(token_id, None) is None:
            raise Unauthenticated("this join token is not good")
        return Joined(node_id=node_id, credential=self.add(node_id))

    async def register(self, node_id: NodeId, told: Announcement) -> Seconds:
        self.announced[node_id] = told
        return self.every

    async def heartbeat(self, node_id: NodeId, told: Heartbeat) -> bool:
        self.beats.append((node_id, told))
        return node_id in self.announced

    async def report(self, node_id: NodeId, statuses: Sequence[FillStatus]) -> None:
        self.reports += [(node_id, status) for status in statuses]
