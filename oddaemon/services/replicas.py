"""Work on single replicas: one piece after the other on each, and what is stored of one is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from oddaemon.domain.cache import CacheEntry, EntryFile, Replica
from oddaemon.domain.job import Job
from oddaemon.domain.types import ReplicaId
from oddaemon.ports.store import Store, Transaction

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A replica with what belongs to it, as one consistent view."""

    replica: Replica
    entry: CacheEntry
    jobs: Sequence[Job]
    files: Mapping[int, EntryFile]


@dataclass(slots=True)
class Replicas:
    """Everything that touches one replica on its node goes through its lock, one after the other."""

    store: Store
    note: Callable[[Replica], None]
    """Told of every replica that was stored."""
    _locks: dict[ReplicaId, asyncio.Lock] = field(default_factory=dict)
    _reserved: set[ReplicaId] = field(default_factory=set)

    @asynccontextmanager
    async def alone(self, replica_id: ReplicaId) -> AsyncIterator[None]:
        lock = self._locks.setdefault(replica_id, asyncio.Lock())
        async with lock:
            yield

    def is_busy(self, replica_id: ReplicaId) -> bool:
        lock = self._locks.get(replica_id)
        return replica_id in self._reserved or (lock is not None and lock.locked())

    async def write(self, work: Callable[[Transaction, list[Replica]], T]) -> T:
        """A unit of work that appends every replica it stores to its list; they are noted after the commit."""
        noted: list[Replica] = []

        def whole(tx: Transaction) -> T:
            noted.clear()
            return work(tx, noted)

        answer = await self.store.write(whole)
        for replica in noted:
            self.note(replica)
        return answer

    async def load(self, replica: Replica) -> Found | None:
        """As it is stored now; None when it is gone."""

        def work(tx: Transaction) -> Found | None:
            current = tx.cache.replica(replica.id)
            entry = tx.cache.entry(replica.entry_id)
            if current is None or entry is None:
                return None
            files = {file.index: file for file in tx.cache.files(entry.id)}
            return Found(replica=current, entry=entry, jobs=tx.jobs.of_entry(entry.id), files=files)

        return await self.store.read(work)

    def reserve(self, replica_id: ReplicaId) -> None:
        """It counts as busy until it is released: who has begun with it goes on in a moment."""
        self._reserved.add(replica_id)

    def release(self, replica_id: ReplicaId) -> None:
        self._reserved.discard(replica_id)

    def forget(self, replica_id: ReplicaId) -> None:
        """It is gone."""
        self._locks.pop(replica_id, None)
