"""A torrent that only turns out to be private while it is downloaded: nobody shares it from then on."""

from __future__ import annotations

import logging
from dataclasses import replace

from oddaemon.domain.cache import Replica, parse_key
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.job import JobState, Signal
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import FillStatus
from oddaemon.ports.store import Transaction
from oddaemon.services.claims import join, release, requeue
from oddaemon.services.replicas import Found, Replicas

log = logging.getLogger(__name__)

ALONE = Reason(code=ReasonCode.QUEUED, message="a private torrent: downloaded for you alone")


async def split_private(replicas: Replicas, clock: Clock, found: Found, status: FillStatus) -> bool:
    """A torrent that turns out to be private: the first claimant keeps the replica, every other user starts on
    their own. Whether anybody left; also when its owner has another copy and joins that."""
    if not status.private or found.entry.owner is not None:
        return False

    def work(tx: Transaction, noted: list[Replica]) -> bool:
        at = clock.now()
        entry = tx.cache.entry(found.entry.id)
        if entry is None or entry.owner is not None:
            return False
        jobs = tx.jobs.of_entry(entry.id)
        if not jobs:
            return False
        owner = jobs[0].user_id
        key = parse_key(entry.key)
        mine = key.private_to(owner)
        others = tx.cache.generations(mine.full)
        has_one = tx.cache.current_entry(mine.full) is not None
        generation = max((found.generation for found in others), default=0) + 1
        tx.cache.update_entry(
            replace(entry, key=mine.full, owner=owner, generation=generation, current=entry.current and not has_one)
        )
        left = False
        for job in jobs:
            if job.user_id == owner and not has_one:
                tx.jobs.update(replace(job, cache_key=mine.full))
                continue
            left = True
            if job.state is JobState.ACTIVE:
                job = requeue(tx, job, Signal.YIELD, at, ALONE)
            if job.finished:
                # a retry finds its own copy
                tx.jobs.update(replace(job, entry_id=None, cache_key=None, node_id=None, updated_at=at))
            else:
                join(tx, replace(job, entry_id=None), key.private_to(job.user_id), at=at)
        if release(tx, entry.id, at):
            noted += tx.cache.replicas_of(entry.id)
        return left

    left = await replicas.write(work)
    if left:
        log.info("private torrent split", extra={"action": "private_split", "replica": str(found.replica.id)})
    return left
