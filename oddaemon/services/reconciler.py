"""Compares what is wanted with what is, repeatedly and from the store alone, and does what is missing: places, starts,
stops, follows, recovers and deletes. Events and wishes only wake it; the comparison is the truth.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from oddaemon.domain.cache import Replica
from oddaemon.domain.errors import OpenDebridError
from oddaemon.domain.types import EntryId, NodeId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Store
from oddaemon.services.at_work import AtWork
from oddaemon.services.board import Board
from oddaemon.services.copy_wishes import CopyWishes
from oddaemon.services.copying import Copier
from oddaemon.services.deleting import Deleter
from oddaemon.services.following import Follower
from oddaemon.services.kept_figures import KeptFigures
from oddaemon.services.node_watch import NodeWatch
from oddaemon.services.planning import Planner
from oddaemon.services.returning import Returning

log = logging.getLogger(__name__)

TICK = Seconds(1)
"""Between two looks when nothing runs."""
POLL_EACH = Seconds(0.004)
"""Between two looks at what runs, for each download that runs: about 2 % of a core whatever their number."""
POLL_AT_MOST = Seconds(0.2)
POLL_AT_LEAST = Seconds(4)
BREATH = Seconds(0.02)
"""Between two rounds that follow one another at once: wishes that arrive together share a plan."""
NEWS_SHARE = 10
"""An engine with news is asked after one part in so many of the time that it would be asked after otherwise."""
FULL_PASS = Seconds(15)
"""Between two plans when nothing has woken the reconciler."""
PLAN_SHARE = 20
"""A plan may take one part in so many of the time: with 10,000 jobs waiting they come further apart."""
PLAN_CHEAP = Seconds(0.01)
"""One that takes no longer may take half of the time, and so on up to PLAN_SHARE: few jobs wait for nothing."""
NEVER = Seconds(-1e9)


@dataclass(slots=True)
class Reconciler:
    """The loop: one per controller. Each round the parts do what is due."""

    store: Store
    clock: Clock
    nodes: Callable[[], Sequence[NodeClient]]
    board: Board
    view: AtWork
    watch: NodeWatch
    planner: Planner
    follower: Follower
    deleter: Deleter
    copier: Copier
    wishes: CopyWishes
    figures: KeptFigures
    returning: Returning
    last_tick: Seconds = Seconds(0)
    """When the loop last came round, on the monotonic clock: what a watchdog looks at."""
    _polled_at: Seconds = NEVER
    _news: bool = False
    """An engine has something to tell."""
    _dirty: bool = True
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _at_once: asyncio.Event = field(default_factory=asyncio.Event)
    _planned_at: Seconds = NEVER
    _begun: bool = False
    _back: set[NodeId] = field(default_factory=set)

    def replan(self) -> None:
        """A plan is due at the next round; never waits."""
        self._dirty = True

    def wake(self, entry_id: EntryId | None = None) -> None:
        """Something changed; never waits."""
        if entry_id is not None:
            self.view.reselect.add(entry_id)
        self._dirty = True
        self._woken.set()

    def wake_at_once(self) -> None:
        """An admin changed what may run: the next plan waits for no rest. Never waits."""
        self._at_once.set()
        self.wake()

    def news(self, node_id: NodeId | None = None) -> None:
        """An engine, or a worker, has something to tell; never waits."""
        self.follower.news(node_id or self.watch.local)
        self._news = True
        self._woken.set()

    def back(self, node_id: NodeId) -> None:
        """A node can be reached again; never waits."""
        self._back.add(node_id)
        self.news(node_id)

    def note(self, replica: Replica) -> None:
        """A replica was stored."""
        self.view.note(replica)
        self._dirty = True

    def lost(self, replicas: Sequence[Replica]) -> None:
        """They went with their node."""
        self.view.lost(replicas)
        self.wake()

    async def leave(self) -> None:
        """Says that no node takes work any more; `run` has ended."""
        try:
            await self.watch.leave()
        except OpenDebridError as error:
            log.warning("the end is not on record", extra={"action": "leave_failed", "error": error.message})

    async def run(self) -> None:
        """Until cancelled. A round that fails is logged, and the next one follows."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    await self._round(group)
                except OpenDebridError as error:
                    log.warning("round failed", extra={"action": "reconcile_failed", "error": error.message})
                    self._at_once.clear()
                except Exception:
                    log.exception("round failed", extra={"action": "reconcile_crashed"})
                    self._at_once.clear()
                self.last_tick = self.clock.monotonic()
                await self._wait()

    async def _wait(self) -> None:
        """Until something wakes it, a tick at the most. What came while a plan had to be put off waits for its time."""
        if self._dirty:
            due = self._planned_at + self._plan_rest() - self.clock.monotonic()
            await asyncio.sleep(BREATH)
            await self._unless(self._at_once, min(TICK, max(due, BREATH)) - BREATH)
            return
        pause = float(self._poll_every())
        if self._news:
            await asyncio.sleep(min(pause, max(BREATH, self._polled_at + self._poll_after() - self.clock.monotonic())))
            return
        if self.planner.due_at is not None:
            pause = min(pause, max(BREATH, (self.planner.due_at - self.clock.now()).total_seconds()))
        await self._unless(self._woken, pause)

    async def _unless(self, event: asyncio.Event, pause: float) -> None:
        """Waits for so long, or until the event."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await event.wait()

    async def _round(self, group: asyncio.TaskGroup) -> None:
        self._woken.clear()
        now = self.clock.monotonic()
        if not self._begun:
            await self.watch.begin()
            self._begun = True
        await self.watch.listen()
        for node in self.nodes():
            if node.node_id == self.watch.local and node.node_id not in self.board.nodes:
                await self.watch.look_at(node)
            elif self.watch.due(node):
                # beside the loop: an engine that does not answer holds up nothing else
                group.create_task(self.watch.look_at(node), name=f"look at {node.node_id}")
        self._back, back = set(), self._back
        for node in self.nodes():
            if node.node_id in back:
                group.create_task(self.returning.back(node), name=f"back {node.node_id}")
        if now - self._polled_at >= self._poll_after():
            self._polled_at, self._news = now, False
            self.follower.follow(group)
        if self._plan_due(now):
            self._dirty = False
            self._at_once.clear()
            if await self.planner.plan(group):
                self._woken.set()
            self._planned_at = self.clock.monotonic()
        self.deleter.begin(group)
        await self.wishes.look()
        self.copier.begin(group)
        await self.figures.keep()

    def _poll_every(self) -> Seconds:
        """A few downloads are looked at often, so that their end is seen at once; a thousand every few seconds."""
        filling = len(self.view.filling())
        return Seconds(min(max(POLL_AT_MOST, filling * POLL_EACH), POLL_AT_LEAST)) if filling else TICK

    def _poll_after(self) -> Seconds:
        return Seconds(self._poll_every() * (1 / NEWS_SHARE if self._news else 0.9))

    def _plan_due(self, now: Seconds) -> bool:
        if self._at_once.is_set():
            return True
        age = now - self._planned_at
        if self._dirty or (self.planner.due_at is not None and self.planner.due_at <= self.clock.now()):
            return age >= min(self._plan_rest(), FULL_PASS)
        return age >= FULL_PASS

    def _plan_rest(self) -> Seconds:
        return Seconds(self.planner.cost * min(PLAN_SHARE, self.planner.cost / PLAN_CHEAP))

    def stalled_for(self) -> Seconds:
        """How long ago the loop last came round."""
        return Seconds(self.clock.monotonic() - self.last_tick) if self.last_tick else Seconds(0)
