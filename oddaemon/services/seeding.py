"""Uploading after completion, for the jobs that ask for it: begun again when a restart has ended it, ended with the
wish.

The store alone tells what is to be seeded: ready replicas of which a completed job has one of the options. They are
taken off the job when as much was uploaded as it asked for.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace

from oddaemon.domain.cache import Replica
from oddaemon.domain.events import JobChanged
from oddaemon.domain.failure import Retry
from oddaemon.domain.job import Job
from oddaemon.domain.types import EntryId, NodeId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import FillState, FillStatus
from oddaemon.ports.node_client import NodeClient, NodeStatuses
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.board import Board
from oddaemon.services.claims import job_event
from oddaemon.services.filling import Filler
from oddaemon.services.seed_wishes import SEED_OPTIONS, SEEDING, rival, seeders, wish_of, without_seeding
from oddaemon.services.steering import Steerer
from oddaemon.services.steps import Steps

log = logging.getLogger(__name__)

LOOK = Seconds(5)
"""Between two looks for what should be seeded and is not."""
NEVER = Seconds(-1e9)


@dataclass(slots=True)
class Seeding:
    store: Store
    clock: Clock
    board: Board
    filler: Filler
    steerer: Steerer
    steps: Steps
    _looked_at: dict[NodeId, Seconds] = field(default_factory=dict)

    async def begin_missing(self, group: asyncio.TaskGroup, node: NodeClient, answer: NodeStatuses) -> None:
        """Gives the node what it should seed and does not."""
        now = self.clock.monotonic()
        if now - self._looked_at.get(node.node_id, NEVER) < LOOK:
            return
        self._looked_at[node.node_id] = now
        for replica in await self.store.read(lambda tx: tx.cache.ready_with(SEED_OPTIONS)):
            if replica.node_id != node.node_id or replica.id in answer.statuses or replica.engine in answer.down:
                continue
            self.board.statuses.pop(replica.id, None)
            self.steps.spawn(group, replica.id, self.filler.seed(replica.id), "seed")

    async def follow(self, node: NodeClient, replica: Replica, status: FillStatus) -> None:
        """What a node works on of a ready replica goes on while a job asks for it, and is forgotten when none does.
        The caller holds the replica's lock."""

        def look(tx: Transaction) -> tuple[list[Job], bool]:
            same = tx.jobs.by_info_hash(status.info_hash) if status.info_hash is not None else ()
            return seeders(tx.jobs.of_entry(replica.entry_id)), rival(same, replica.entry_id)

        jobs, gives_way = await self.store.read(look)
        if gives_way or (jobs and self.filler.told.seeding.get(replica.id) != wish_of(jobs[0].options)):
            # begun again when it may, with the wish of then
            self.board.statuses.pop(replica.id, None)
            await node.cancel(replica.engine, replica.id)
            return
        goes_on = status.state in {FillState.QUEUED, FillState.ACTIVE} or status.engine_state == SEEDING
        if jobs and goes_on:
            self.board.statuses[replica.id] = status
            self.board.replica_of[replica.entry_id] = replica.id
            await self.steerer.follow_limits(replica, jobs)
            return
        before = self.board.statuses.pop(replica.id, None)
        await node.forget(replica.engine, replica.id)
        if status.failure is not None:
            facts = {"action": "seeding_failed", "replica": str(replica.id), "problem": status.failure.message}
            log.warning("seeding failed", extra=facts)
        ended = before is not None and before.engine_state == SEEDING and status.state is FillState.COMPLETE
        hopeless = status.failure is not None and status.failure.retry is Retry.LASTING
        if jobs and (ended or hopeless):
            await self._fulfilled(replica.entry_id)

    async def _fulfilled(self, entry_id: EntryId) -> None:
        """The first job's wish was seeded for; another's has its turn."""

        def work(tx: Transaction) -> None:
            at = self.clock.now()
            for job in seeders(tx.jobs.of_entry(entry_id))[:1]:
                done = tx.jobs.update(replace(without_seeding(job), updated_at=at))
                tx.events.add(job_event(JobChanged, done, at))

        await self.store.write(work)
