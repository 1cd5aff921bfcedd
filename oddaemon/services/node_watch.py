"""Nodes and their disks as they are now: below the reserve everything stops, and goes on only well above it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from oddaemon.domain.admission import Limits, NodeRoom, disk_full, reserve_of
from oddaemon.domain.errors import Unavailable
from oddaemon.domain.events import Event, NodeDiskLow, NodeOffline, NodeOnline
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.job import Hold
from oddaemon.domain.node import DiskUsage, Liveness, NodeSnapshot
from oddaemon.domain.types import Bytes, NodeId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.board import Board

log = logging.getLogger(__name__)

SNAPSHOT_AGE = Seconds(3)
ROUND = Seconds(2)
"""Between two times that `listen` is called, when all is well."""


@dataclass(slots=True)
class NodeWatch:
    """The board's `nodes` is the view. This process's own node is asked; a worker tells, and is offline when it has
    not told anything for three heartbeats. A lost connection alone means nothing."""

    store: Store
    clock: Clock
    board: Board
    limits: Callable[[], Limits]
    changed: Callable[[], None]
    """Told when what may run has changed."""
    local: NodeId
    life: Callable[[], Liveness] = Liveness
    back: Callable[[NodeId], None] = lambda _: None
    """Told of a node that can be reached again."""
    _snapshot_at: dict[NodeId, Seconds] = field(default_factory=dict)
    _asking: set[NodeId] = field(default_factory=set)
    _heard_at: dict[NodeId, Seconds] = field(default_factory=dict)
    """When its silence begins to count: later than its last word where nobody listened."""
    _last_word: dict[NodeId, Seconds] = field(default_factory=dict)
    _unheard: set[NodeId] = field(default_factory=set)
    """Those that were online when an earlier process ended, and have said nothing to this one."""
    _silent_from: dict[NodeId, Seconds] = field(default_factory=dict)
    """When each offline worker went, on the monotonic clock: setting the wall clock ends no grace."""
    _mute_from: dict[NodeId, Seconds] = field(default_factory=dict)
    """Since when a worker has answered none of our calls."""
    _listening_from: Seconds | None = None
    _listened_at: Seconds = Seconds(0)
    _told: dict[NodeId, NodeSnapshot] = field(default_factory=dict)
    """Each node as the store has it, but for figures that only the board knows."""

    async def begin(self) -> None:
        """After a start every stored worker is offline until it tells: since the time in the store, or since now if
        it was online then."""
        now, at = self.clock.monotonic(), self.clock.now()
        stored = await self.store.read(lambda tx: tx.nodes.all())
        workers = [node for node in stored if node.id != self.local and node.id not in self.board.nodes]
        for node in workers:
            since = node.offline_since or at
            if node.offline_since is None:
                self._unheard.add(node.id)
            self._told[node.id] = node
            self._silent_from[node.id] = Seconds(now - max(0.0, (at - since).total_seconds()))
            self.board.nodes[node.id] = replace(node, online=False, offline_since=since)
        self._listening_from = self._listened_at = now

    async def heard(self, seen: NodeSnapshot) -> None:
        """A worker registered or its heart beat: it is online, with what it says it has. What is the controller's to
        judge or an admin's to set (its marks, `disk_low`, `offline_since`) stays what it is here, whatever `seen`
        says; of a node that nobody knew it is taken from the store, else from `seen`."""
        self._heard_at[seen.id] = self._last_word[seen.id] = self.clock.monotonic()
        known = self.board.nodes.get(seen.id)
        if known is not None and self._is_mute(seen.id):
            await self._note(replace(seen, online=known.online, offline_since=known.offline_since))
        else:
            await self._note(replace(seen, online=True, offline_since=None))

    def mute(self, node_id: NodeId) -> None:
        """The node did not answer a call. One that tells and does not listen (a line that is cut one way) is offline
        too, after the same time."""
        node = self.board.nodes.get(node_id)
        if node_id != self.local and node is not None and node.online:
            self._mute_from.setdefault(node_id, self.clock.monotonic())

    def answered(self, node_id: NodeId) -> None:
        self._mute_from.pop(node_id, None)

    def _is_mute(self, node_id: NodeId) -> bool:
        since = self._mute_from.get(node_id)
        return since is not None and self.clock.monotonic() - since >= self.life().silence

    def offline_since(self, node_id: NodeId) -> datetime | None:
        """None for a node that is online, or that nobody knows."""
        node = self.board.nodes.get(node_id)
        return None if node is None else node.offline_since

    def heard_ago(self, node_id: NodeId) -> Seconds | None:
        """For how long a node has said nothing; None when nobody knows: it never did, or was online when an earlier
        process ended and was not heard since."""
        if (at := self._last_word.get(node_id)) is not None:
            return Seconds(max(0.0, self.clock.monotonic() - at))
        since = None if node_id in self._unheard else self.offline_since(node_id)
        return None if since is None else Seconds(max(0.0, (self.clock.now() - since).total_seconds()))

    async def set(self, node_id: NodeId, change: Callable[[NodeSnapshot], NodeSnapshot]) -> NodeSnapshot | None:
        """An admin's wish: what `change` makes of the node's marks holds at once, and is stored first. None for a node
        that nobody knows."""

        def work(tx: Transaction) -> NodeSnapshot | None:
            node = self.board.nodes.get(node_id) or tx.nodes.get(node_id)
            if node is None:
                return None
            changed = change(node)
            tx.nodes.upsert(changed, self.clock.now())
            tx.nodes.mark(node_id, changed.marks)
            return changed

        changed = await self.store.write(work)
        if changed is not None:
            self._told[node_id] = self.board.nodes[node_id] = changed
            self.changed()
        return changed

    def forget(self, node_id: NodeId) -> None:
        """The node was removed."""
        self.board.nodes.pop(node_id, None)
        self._unheard.discard(node_id)
        self._last_word.pop(node_id, None)
        for known in (self._snapshot_at, self._heard_at, self._silent_from, self._mute_from, self._told):
            known.pop(node_id, None)
        self.changed()

    def is_past_grace(self, node_id: NodeId) -> bool:
        """Whether a worker has been offline for so long that its downloads are to be placed elsewhere. Never before
        this process has listened for long enough to have heard it."""
        node, gone = self.board.nodes.get(node_id), self._silent_from.get(node_id)
        if node is None or node.online or gone is None or self._listening_from is None:
            return False
        now, life = self.clock.monotonic(), self.life()
        return now - gone >= life.grace and now - self._listening_from >= life.silence

    async def listen(self) -> None:
        """Finds the workers that have gone silent. To be called often."""
        now, life = self.clock.monotonic(), self.life()
        pause = now - self._listened_at
        self._listened_at = now
        if pause > life.heartbeat_every + ROUND:
            # nobody was heard because nobody listened: the machine slept, or was too busy
            earliest = Seconds(now - life.silence + life.heartbeat_every)
            for times in (self._heard_at, self._mute_from):
                times.update({node: max(at, earliest) for node, at in times.items()})
            if self._listening_from is not None:
                self._listening_from = max(self._listening_from, earliest)
        for node_id, node in list(self.board.nodes.items()):
            if node_id == self.local or (not node.online and self._is_stored_offline(node_id)):
                continue
            if not node.online and self._listening_from is not None:
                heard = self._listening_from
            else:
                heard = self._heard_at.get(node_id, now)
            silent = now - heard >= life.silence
            if silent:
                # when it tells again, it is taken at its word
                self._mute_from.pop(node_id, None)
            if silent or (node.online and self._is_mute(node_id)):
                await self._went(node, Seconds(now))

    def _is_stored_offline(self, node_id: NodeId) -> bool:
        told = self._told.get(node_id)
        return told is not None and not told.online and told.offline_since is not None

    async def _went(self, node: NodeSnapshot, now: Seconds) -> None:
        self._silent_from.setdefault(node.id, now)
        await self._note(replace(node, online=False, offline_since=node.offline_since or self.clock.now()))

    def due(self, node: NodeClient) -> bool:
        """Whether this process's own node was last asked a while ago, and is not being asked."""
        if node.node_id != self.local:
            return False
        age = self.clock.monotonic() - self._snapshot_at.get(node.node_id, -1e9)
        return node.node_id not in self._asking and age >= SNAPSHOT_AGE

    async def look_at(self, node: NodeClient) -> None:
        """Asks the node how it is. Whatever it answers, nothing is raised."""
        self._asking.add(node.node_id)
        try:
            await self._look_at(node)
        except Exception:
            log.exception("looking at a node failed", extra={"action": "snapshot_crashed", "node": node.node_id})
        finally:
            self._asking.discard(node.node_id)

    async def _look_at(self, node: NodeClient) -> None:
        try:
            seen = await node.snapshot()
        except Unavailable:
            known = self.board.nodes.get(node.node_id)
            if known is not None:
                await self._note(replace(known, online=False))
            return
        finally:
            self._snapshot_at[node.node_id] = self.clock.monotonic()
        await self._note(seen)

    async def _note(self, seen: NodeSnapshot) -> None:
        before = self.board.nodes.get(seen.id)
        if before is None:
            # the marks outlive the process: a restart between the two limits must not start what was stopped
            stored = await self.store.read(lambda tx: tx.nodes.get(seen.id))
            before = self.board.nodes.get(seen.id) or stored
            if stored is not None:
                self._told.setdefault(seen.id, replace(stored, online=False) if seen.id == self.local else stored)
        known = self.board.nodes.get(seen.id)
        if before is not None:
            seen = replace(seen, disk_low=before.disk_low).marked(before.marks)
        self.board.nodes[seen.id] = seen
        if seen.online:
            self._silent_from.pop(seen.id, None)
        self.watch_disk(seen.id)
        if known is None or known.engines != seen.engines or known.works != seen.works:
            self.changed()
        if seen.online and (known is None or not known.online):
            self.back(seen.id)
        await self._tell(self.board.nodes[seen.id])

    async def _tell(self, node: NodeSnapshot) -> None:
        """Stores what changed of a node, with its events. Tried again with the next look when it cannot be stored."""
        told = self._told.get(node.id)
        if told is not None and _lasting(told) == _lasting(node):
            return
        works, low = (told.works, told.disk_low) if told is not None else (False, False)
        at, limits = self.clock.now(), self.limits()
        happened: list[Event] = []
        if node.works and not works:
            happened.append(NodeOnline(at=at, node_id=node.id))
        elif works and not node.works:
            why = "storage_missing" if node.online else "not_reached"
            happened.append(NodeOffline(at=at, node_id=node.id, data={"reason": why}))
        if node.disk_low and not low:
            free = {"free": int(node.disk.free), "reserve": int(reserve_of(node, limits))}
            happened.append(NodeDiskLow(at=at, node_id=node.id, data=free))

        def work(tx: Transaction) -> None:
            tx.nodes.upsert(node, at)
            for event in happened:
                tx.events.add(event)

        await self.store.write(work)
        self._told[node.id] = node

    async def leave(self) -> None:
        """The daemon ends: its own node takes no work any more. What the workers do goes on without it: to the next
        start they were online."""
        told = self._told.get(self.local)
        leaving = [told] if told is not None and told.works else []
        at = self.clock.now()

        def work(tx: Transaction) -> None:
            for node in leaving:
                tx.nodes.upsert(replace(node, online=False), at)
                tx.events.add(NodeOffline(at=at, node_id=node.id, data={"reason": "stopped"}))

        if leaving:
            await self.store.write(work)

    def watch_disk(self, node_id: NodeId) -> None:
        """Below the reserve everything stops; it goes on only well above it, so that it does not flap."""
        node, limits = self.board.nodes.get(node_id), self.limits()
        if node is None or not node.disk.present:
            return
        reserve = reserve_of(node, limits)
        if not node.disk_low and node.disk.free < reserve:
            facts = {"node": node.id, "free": int(node.disk.free), "reserve": int(reserve)}
            log.warning("disk low", extra={"action": "disk_low", **facts})
        elif node.disk_low and node.disk.free >= reserve + limits.resume_free:
            log.info("disk has room again", extra={"action": "disk_recovered", "node": node.id})
        else:
            return
        self.board.nodes[node_id] = replace(node, disk_low=not node.disk_low)
        self.changed()

    def trouble(self, node_id: NodeId) -> tuple[Reason, Hold | None] | None:
        """Why everything that runs on the node has to stop now."""
        node = self.board.nodes.get(node_id)
        if node is None or not node.online:
            return None
        if not node.disk.present:
            message = f"node {node.name}: the download disk is not mounted"
            return Reason(code=ReasonCode.STORAGE_MISSING, message=message), None
        if node.disk_low:
            return disk_full(node, self.limits()), Hold.DISK
        return None

    def rooms(self) -> dict[NodeId, NodeRoom]:
        """Every node, with nothing counted as running yet."""
        now = self.clock.monotonic()
        shunned = {node: why for node, (until, why) in self.board.shunned.items() if until > now}
        return {
            node_id: NodeRoom(node=node, shunned=shunned.get(node_id)) for node_id, node in self.board.nodes.items()
        }


_NO_FIGURES = DiskUsage(total=Bytes(0), free=Bytes(0))


def _lasting(node: NodeSnapshot) -> NodeSnapshot:
    """What is worth storing of it: figures change all the time."""
    return replace(node, disk=replace(_NO_FIGURES, present=node.disk.present), load=None)
