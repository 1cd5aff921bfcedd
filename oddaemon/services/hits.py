"""Whether ready files are really there: looked at on the node before a hit is answered (product.md section 3.6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from oddaemon.domain.cache import OUT_OF_USE, CacheEntry, CacheKey, EntryFile, Replica, ReplicaState, serving
from oddaemon.domain.errors import OpenDebridError
from oddaemon.domain.job import Job
from oddaemon.domain.types import EntryId, NodeId, ReplicaId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.claims import mark_missing
from oddaemon.services.remembered import Remembered

log = logging.getLogger(__name__)

CHECK_SECONDS = Seconds(1)
"""For another node to answer somebody who adds: what nobody could look at is no hit, and is queued."""
SILENT_SECONDS = Seconds(5)
"""So long nobody who adds waits again for a node that did not answer."""

Candidates = tuple[CacheEntry, Sequence[Replica], Sequence[EntryFile]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDisk:
    """What was just seen. `good`: entries all of whose ready files are there. `bad`: indices that are not, by entry.
    An entry in neither could not be looked at; nothing follows from that."""

    good: Mapping[EntryId, bool] = field(default_factory=dict)
    bad: Mapping[EntryId, frozenset[int]] = field(default_factory=dict)
    files: int = 0
    """How many were looked at."""
    replica: ReplicaId | None = None
    """Where."""


@dataclass(slots=True)
class HitChecker:
    store: Store
    clock: Clock
    node: Callable[[NodeId | None], NodeClient]
    online: Callable[[NodeId], bool] = lambda _: True
    _known: Remembered = field(init=False)
    _silent_until: dict[NodeId, Seconds] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known = Remembered(self.store, self.clock, lambda: self.store.content_rev)

    async def check(self, key: CacheKey) -> OnDisk:
        """Looks at the ready files of the key's current entry, on another node for `CHECK_SECONDS` at most. Costs one
        read when there is none."""

        def look_up(tx: Transaction) -> Candidates | None:
            entry = tx.cache.current_entry(key.full)
            return None if entry is None else _ready(tx, entry)

        return await self._soon(await self._known.look(key.full, look_up))

    async def check_entry(self, entry_id: EntryId) -> OnDisk:
        def look_up(tx: Transaction) -> Candidates | None:
            entry = tx.cache.entry(entry_id)
            return None if entry is None else _ready(tx, entry)

        return await self._try(await self.store.read(look_up))

    async def check_job(self, job: Callable[[Transaction], Job]) -> OnDisk:
        """What is there now of the job's ready files: a job completes with none that are gone."""
        entry_id = (await self.store.read(job)).entry_id
        return OnDisk() if entry_id is None else await self.check_entry(entry_id)

    async def look(self, entry_id: EntryId) -> OnDisk:
        """Of an entry whose replica is ready, and not of one that is still being filled. Raises what the node raises
        when it cannot look."""

        def look_up(tx: Transaction) -> Candidates | None:
            entry = tx.cache.entry(entry_id)
            found = None if entry is None else _ready(tx, entry)
            if found is None:
                return None
            entry, replicas, files = found
            ready = [replica for replica in replicas if replica.state is ReplicaState.READY]
            return (entry, ready, files) if ready else None

        return await self._look(await self.store.read(look_up))

    async def _soon(self, found: Candidates | None) -> OnDisk:
        replica = None if found is None else serving(found[1], self.online)
        if replica is None or replica.node_id == self.node(None).node_id:
            # a disk of this machine may have to wake up first
            return await self._try(found)
        if self.clock.monotonic() < self._silent_until.get(replica.node_id, 0):
            return OnDisk()
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                return await self._try(found)
        except TimeoutError:
            self._silent_until[replica.node_id] = Seconds(self.clock.monotonic() + SILENT_SECONDS)
            facts = {"action": "verify_slow", "node": replica.node_id}
            log.info("a node does not say what it has of a cached entry", extra=facts)
            return OnDisk()

    async def _try(self, found: Candidates | None) -> OnDisk:
        try:
            return await self._look(found)
        except OpenDebridError as error:
            # offline, or the disk is not mounted: no hit, and nothing is invalidated
            log.info("cannot look at a cached entry", extra={"action": "verify_failed", "error": error.message})
            return OnDisk()

    async def _look(self, found: Candidates | None) -> OnDisk:
        if found is None:
            return OnDisk()
        entry, replicas, files = found
        replica = serving(replicas, self.online)
        if replica is None:
            return OnDisk()
        sizes = await self.node(replica.node_id).verify(replica.id, files)
        bad = frozenset(file.index for file in files if sizes.get(file.index) != file.size)
        if bad and replica.state is ReplicaState.FILLING:
            return OnDisk()  # the engine is at these files just now, and repairs them
        return OnDisk(
            good={} if bad else {entry.id: True}, bad={entry.id: bad} if bad else {}, files=len(files),
            replica=replica.id,
        )  # fmt: skip

    def record(self, tx: Transaction, seen: OnDisk, at: datetime) -> Sequence[Job]:
        """Marks what is gone as missing; answers the jobs that went back to the queue."""
        requeued: list[Job] = []
        for entry_id, bad in seen.bad.items():
            entry = tx.cache.entry(entry_id)
            ready = _ready(tx, entry) if entry is not None else None
            looked_at = [] if ready is None else [replica for replica in ready[1] if replica.id == seen.replica]
            if entry is not None and ready is not None and looked_at:
                still = bad & {file.index for file in ready[2]}
                if still:
                    requeued += mark_missing(tx, entry, looked_at[0], still, at)
        return requeued


def _ready(tx: Transaction, entry: CacheEntry) -> Candidates | None:
    """The entry with the replicas that may hold its ready files."""
    files = [file for file in tx.cache.files(entry.id) if file.ready]
    replicas = [found for found in tx.cache.replicas_of(entry.id) if found.state not in OUT_OF_USE]
    return (entry, replicas, files) if files and replicas else None
