"""Decides which copies are made: of pinned entries that are wished to lie on several nodes and lie on fewer, because
they are new, or because a node was removed or has been away for longer than the grace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from oddaemon.domain.admission import Limits, NodeRoom
from oddaemon.domain.cache import CacheEntry, Replica, ReplicaState
from oddaemon.domain.types import Bytes, EntryId, NodeId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store, Transaction
from oddaemon.services import ids
from oddaemon.services.at_work import AtWork
from oddaemon.services.replicas import Replicas
from oddaemon.services.works import reserve_copies

LOOK_EVERY = Seconds(2)
REST = Seconds(600)
"""After a copy that was given up, before another one of the same entry is begun."""
_COUNTED = frozenset({ReplicaState.READY, ReplicaState.COPYING})


@dataclass(slots=True)
class CopyWishes:
    store: Store
    clock: Clock
    view: AtWork
    replicas: Replicas
    rooms: Callable[[], Mapping[NodeId, NodeRoom]]
    is_gone: Callable[[NodeId], bool]
    limits: Callable[[], Limits]
    _looked_at: Seconds | None = None
    _resting: dict[EntryId, Seconds] = field(default_factory=dict)
    """Until when, on the monotonic clock."""

    def failed(self, copy: Replica) -> None:
        self._resting[copy.entry_id] = Seconds(self.clock.monotonic() + REST)

    async def look(self) -> None:
        """Begins what is missing."""
        now = self.clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < LOOK_EVERY:
            return
        self._looked_at = now
        self._resting = {entry: until for entry, until in self._resting.items() if until > now}
        if not await self.store.read(self._lacking):
            return
        rooms = dict(self.rooms())
        for filling in self.view.filling():
            if filling.node_id in rooms:
                rooms[filling.node_id].take(filling.engine, self.view.remaining(filling))
        reserve_copies(self.view, rooms)

        def work(tx: Transaction, noted: list[Replica]) -> None:
            at, taken = self.clock.now(), {node: room.reserved for node, room in rooms.items()}
            for entry, missing in self._lacking(tx).items():
                noted += self._begun(tx, entry, missing, rooms, at)
            for node, reserved in taken.items():
                rooms[node].reserved = reserved  # a unit of work may be carried out twice

        await self.replicas.write(work)

    def _lacking(self, tx: Transaction) -> dict[CacheEntry, int]:
        """By entry how many copies are to be made."""
        found: dict[CacheEntry, int] = {}
        for entry in tx.cache.wishing():
            if entry.complete_at is None or entry.id in self._resting:
                continue
            there = [one for one in tx.cache.replicas_of(entry.id) if one.state in _COUNTED]
            counted = [one for one in there if not self.is_gone(one.node_id)]
            if any(one.state is ReplicaState.READY for one in there) and len(counted) < entry.replicas:
                found[entry] = entry.replicas - len(counted)
        return found

    def _begun(
        self, tx: Transaction, entry: CacheEntry, missing: int, rooms: Mapping[NodeId, NodeRoom], at: datetime
    ) -> list[Replica]:
        """On the nodes with the most room; fewer where there is none."""
        size = Bytes(sum(file.size or 0 for file in tx.cache.files(entry.id) if file.ready))
        limits, has_it = self.limits(), {one.node_id for one in tx.cache.replicas_of(entry.id)}
        free = [
            room for node, room in rooms.items()
            if node not in has_it and room.shunned is None and not room.node.draining
            and room.refuses_copy(size, limits) is None
        ]  # fmt: skip
        free.sort(key=lambda room: (-room.above_reserve(limits), room.node.id))
        made = []
        for room in free[:missing]:
            room.reserved += size
            why = f"one of {entry.replicas} copies; {room.node.name} had the most room"
            copy = new_copy(entry, room.node.id, size, at, why)
            tx.cache.insert_replica(copy)
            made.append(copy)
        return made


def new_copy(entry: CacheEntry, node_id: NodeId, size: Bytes, at: datetime, placement: str) -> Replica:
    """A replica that the copier fills. Not stored."""
    return Replica(
        id=ids.new_replica_id(), entry_id=entry.id, node_id=node_id, engine=entry.engine, created_at=at,
        updated_at=at, state=ReplicaState.COPYING, wanted=size, placement=placement,
    )  # fmt: skip
