"""Whether what is recorded as ready is still on the disk: looked at when somebody wants it, and slowly, again and
again, by itself (product.md section 5, invariant 3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from oddaemon.domain.cache import ReplicaState
from oddaemon.domain.errors import DeadlineExceeded, OpenDebridError
from oddaemon.domain.types import EntryId, ReplicaId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.hits import HitChecker, OnDisk

log = logging.getLogger(__name__)

FILES_A_SECOND = 20
"""Of the slow look at everything: a file costs a `stat` and a part of a read of the store."""
REST = Seconds(3600)
"""Between two such looks."""
LOOK_DEADLINE = Seconds(20)
"""For the files of one entry."""


@dataclass(slots=True)
class Presence:
    store: Store
    clock: Clock
    hits: HitChecker
    wake: Callable[[EntryId | None], None]
    """Told of every entry of which files are gone."""
    _looking: set[ReplicaId] = field(default_factory=set)

    async def check(self, entry_id: EntryId) -> int:
        """Looks at the files of an entry's ready replica, if it has one, and marks what is gone as missing: its jobs go
        back to the queue. Answers how many files there were to look at. Raises StorageMissing, NodeUnavailable or
        DeadlineExceeded when it cannot look; nothing is marked then."""
        try:
            async with asyncio.timeout(LOOK_DEADLINE):
                seen = await self.hits.look(entry_id)
        except TimeoutError as error:
            raise DeadlineExceeded(f"looking at the files took longer than {LOOK_DEADLINE:g} s") from error
        if seen.bad:
            await self._record(entry_id, seen)
        return seen.files

    async def _record(self, entry_id: EntryId, seen: OnDisk) -> None:
        at = self.clock.now()
        jobs = await self.store.write(lambda tx: self.hits.record(tx, seen, at))
        log.warning(
            "ready files are gone",
            extra={
                "action": "files_gone",
                "entry": str(entry_id),
                "files": sorted(seen.bad[entry_id])[:10],
                "jobs": [job.number for job in jobs],
            },
        )
        self.wake(entry_id)

    async def suspect(self, replica_id: ReplicaId) -> None:
        """Somebody who serves the replica did not find a file. Whatever comes of it, nothing is raised."""
        if replica_id in self._looking:
            return
        self._looking.add(replica_id)
        try:
            replica = await self.store.read(lambda tx: tx.cache.replica(replica_id))
            if replica is not None and replica.state is ReplicaState.READY:
                await self.check(replica.entry_id)
        except OpenDebridError as error:
            log.info("cannot look at a replica", extra={"action": "presence_unknown", "error": error.message})
        finally:
            self._looking.discard(replica_id)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.sweep()
            except OpenDebridError as error:
                log.info("cannot look at all files", extra={"action": "sweep_ended", "error": error.message})
            except Exception:
                log.exception("looking at all files failed", extra={"action": "sweep_crashed"})
            await self.clock.sleep(REST)

    async def sweep(self) -> None:
        """One look at everything that is ready, slowly. Raises what keeps it from looking: a disk that is not mounted
        keeps it from everything."""

        def ready(tx: Transaction) -> list[EntryId]:
            return [found.entry_id for found in tx.cache.replicas_in([ReplicaState.READY])]

        for entry_id in await self.store.read(ready):
            files = await self.check(entry_id)
            await self.clock.sleep(Seconds(max(files, 1) / FILES_A_SECOND))
