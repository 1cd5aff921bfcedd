"""Nodes and their disks as they are now: below the reserve everything stops, and goes on only well above it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from oddaemon.domain.admission import Limits, NodeRoom, disk_full
from oddaemon.domain.errors import Unavailable
from oddaemon.domain.events import Event, NodeDiskLow, NodeOffline, NodeOnline
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.job import Hold
from oddaemon.domain.node import NodeSnapshot
from oddaemon.domain.types import NodeId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.board import Board

log = logging.getLogger(__name__)

SNAPSHOT_AGE = Seconds(3)


@dataclass(slots=True)
class NodeWatch:
    store: Store
    clock: Clock
    board: Board
    limits: Callable[[], Limits]
    changed: Callable[[], None]
    """Told when what may run has changed."""
    _snapshot_at: dict[NodeId, Seconds] = field(default_factory=dict)
    _asking: set[NodeId] = field(default_factory=set)
    _told: dict[NodeId, tuple[bool, bool]] = field(default_factory=dict)
    """Whether a node works and whether its disk is low, as the store has it."""

    def due(self, node: NodeClient) -> bool:
        """Whether the node was last asked a while ago, and is not being asked."""
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
            # the mark outlives the process: a restart between the two limits must not start what was stopped
            stored = await self.store.read(lambda tx: tx.nodes.get(seen.id))
            seen = replace(seen, disk_low=stored is not None and stored.disk_low)
            self._told[seen.id] = False, seen.disk_low
        else:
            seen = replace(seen, disk_low=before.disk_low)
        self.board.nodes[seen.id] = seen
        self.watch_disk(seen.id)
        if before is None or before.engines != seen.engines or before.works != seen.works:
            self.changed()
        await self._tell(self.board.nodes[seen.id])

    async def _tell(self, node: NodeSnapshot) -> None:
        """Stores what changed of a node, with its events. Tried again with the next look when it cannot be stored."""
        works, low = self._told[node.id]
        if (works, low) == (node.works, node.disk_low):
            return
        at, limits = self.clock.now(), self.limits()
        happened: list[Event] = []
        if node.works and not works:
            happened.append(NodeOnline(at=at, node_id=node.id))
        elif works and not node.works:
            why = "storage_missing" if node.online else "not_reached"
            happened.append(NodeOffline(at=at, node_id=node.id, data={"reason": why}))
        if node.disk_low and not low:
            free = {"free": int(node.disk.free), "reserve": int(limits.min_disk_free)}
            happened.append(NodeDiskLow(at=at, node_id=node.id, data=free))

        def work(tx: Transaction) -> None:
            tx.nodes.upsert(node, at)
            for event in happened:
                tx.events.add(event)

        await self.store.write(work)
        self._told[node.id] = node.works, node.disk_low

    async def leave(self) -> None:
        """The daemon ends: none of its nodes takes work any more."""
        leaving = [node for node in self.board.nodes.values() if self._told[node.id][0]]
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
        if not node.disk_low and node.disk.free < limits.min_disk_free:
            facts = {"node": node.id, "free": int(node.disk.free), "reserve": int(limits.min_disk_free)}
            log.warning("disk low", extra={"action": "disk_low", **facts})
        elif node.disk_low and node.disk.free >= limits.min_disk_free + limits.resume_free:
            log.info("disk has room again", extra={"action": "disk_recovered", "node": node.id})
        else:
            return
        self.board.nodes[node_id] = replace(node, disk_low=not node.disk_low)
        self.changed()

    def trouble(self, node_id: NodeId) -> tuple[Reason, Hold | None] | None:
        """Why everything that runs on the node has to stop now."""
        node = self.board.nodes.get(node_id)
        if node is None:
            return None
        if not node.disk.present:
            message = f"node {node.name}: the download disk is not mounted"
            return Reason(code=ReasonCode.STORAGE_MISSING, message=message), None
        if node.disk_low:
            return disk_full(node, self.limits()), Hold.DISK
        return None

    def rooms(self) -> dict[NodeId, NodeRoom]:
        """Every node, with nothing counted as running yet."""
        return {node_id: NodeRoom(node=node) for node_id, node in self.board.nodes.items()}
