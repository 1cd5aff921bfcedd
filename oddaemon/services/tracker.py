"""Applies what engines report of what they work on: files, figures, sizes and failures, each in one unit of work.
The end is `completing`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from oddaemon.domain.admission import Limits, human_time
from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.errors import Unavailable
from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.domain.files import display_name
from oddaemon.domain.job import JobState
from oddaemon.domain.selection import ALL
from oddaemon.domain.types import Bytes, NodeId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import FillStatus
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.board import Board
from oddaemon.services.claims import fail, ready_elsewhere, settle, wanted_by, with_figures
from oddaemon.services.entry_files import entry_file, reported_files, total_size
from oddaemon.services.joint_wishes import unfinished
from oddaemon.services.private_torrents import split_private
from oddaemon.services.replicas import Replicas
from oddaemon.services.steering import Steerer
from oddaemon.services.stopping import Stopper
from oddaemon.services.stored import too_large

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tracker:
    """Brings what the store says of a replica and its jobs up to what their engine says."""

    store: Store
    clock: Clock
    node: Callable[[NodeId | None], NodeClient]
    board: Board
    replicas: Replicas
    stopper: Stopper
    steerer: Steerer
    limits: Callable[[], Limits]
    wake: Callable[[], None]

    async def files_changed(self, replica: Replica, status: FillStatus) -> None:
        """The engine knows something new about the files: names, sizes, or which are finished. Jobs whose files are all
        there complete now, whoever else still waits."""
        async with self.replicas.alone(replica.id):
            found = await self.replicas.load(replica)
            if found is None or found.replica.state is not ReplicaState.FILLING:
                return
            node = self.node(replica.node_id)
            reported = await node.list_files(replica.engine, replica.id)
            if not reported:
                return
            files = reported_files(reported, found.files)
            finished = {file.index for file in reported if file.finished and file.disk_path}
            candidates = [file for file in files if file.index in finished and not file.ready]
            sizes = await node.verify(replica.id, candidates) if candidates else {}
            ready = {file.index for file in candidates if file.size is not None and sizes.get(file.index) == file.size}
            files = [file.made_ready(file.size) if file.index in ready else file for file in files]
            # before anything is settled: nobody else's job may complete with a private torrent's files
            split = await split_private(self.replicas, self.clock, found, status)

            def work(tx: Transaction) -> None:
                at = self.clock.now()
                entry = tx.cache.entry(found.entry.id)
                current = tx.cache.replica(replica.id)
                if entry is None or current is None or current.state is not ReplicaState.FILLING:
                    return
                if ready_elsewhere(tx, current):
                    return  # the files that are ready are of another replica, until this one has all that is wanted
                tx.cache.put_files(entry.id, files)
                name = entry.name or (display_name(status.name) if status.name else None)
                tx.cache.update_entry(replace(entry, files_known=True, name=name, total_size=total_size(files)))
                settle(tx, entry.id, at)

            await self.store.write(work)
            self.board.files_seen[replica.id] = status.files_rev
            if split:
                # begun with everybody's trackers: begins again with its owner's own
                await self.node(replica.node_id).cancel(replica.engine, replica.id)
            else:
                await self.steerer.follow_wishes(replica)
        self.wake()

    async def figures(self, replica: Replica) -> None:
        """Progress of each job's own selection, for jobs that want different files of one download."""
        found = await self.replicas.load(replica)
        if found is None:
            return
        jobs = unfinished(found.jobs)
        files = [found.files[index] for index in sorted(found.files)]
        wanted = {job.id: wanted_by(job, files) for job in jobs}
        if len(set(wanted.values())) < 2:
            for job in jobs:
                self.board.job_done.pop(job.id, None)
            return
        reported = await self.node(replica.node_id).list_files(replica.engine, replica.id)
        done = {file.index: file.done for file in reported}
        self.board.file_progress[replica.id] = {file.index: file for file in reported}
        for job in jobs:
            figure = Bytes(sum(done.get(index, 0) for index in wanted[job.id]))
            self.board.job_done[job.id] = (figure, with_figures(job, files, wanted[job.id]).size)

    async def too_large(self, replica: Replica, size: Bytes) -> None:
        """All that is wanted is more than one download, or all that a user stores, may be. Each job answers for its own
        selection; while the files are unknown, for everything."""
        limits = self.limits()
        found = await self.replicas.load(replica)
        if found is None:
            return
        files = [found.files[index] for index in sorted(found.files)]
        if not found.entry.files_known and any(job.selection != ALL for job in unfinished(found.jobs)):
            # one that ended at once told of its files and of its end together
            reported = await self.node(replica.node_id).list_files(replica.engine, replica.id)
            files = [entry_file(file, None) for file in reported]

        def work(tx: Transaction) -> tuple[Failure | None, bool]:
            """Why the jobs failed that are too large, and whether others are left."""
            at, jobs = self.clock.now(), tx.jobs.of_entry(replica.entry_id)
            sharers = len({job.user_id for job in jobs if job.state is not JobState.CANCELLED})
            last: Failure | None = None
            for job in unfinished(jobs):
                selected = with_figures(job, files, wanted_by(job, files)).size if files else None
                owner = tx.users.get(job.user_id)
                its = size if selected is None else selected
                failure = too_large(job, its, limits, None if owner is None else owner.limits, sharers)
                if failure is not None:
                    fail(tx, job, failure, at)
                    last = failure
            return last, any(not job.finished for job in tx.jobs.of_entry(replica.entry_id))

        async with self.replicas.alone(replica.id):
            failure, others = await self.store.write(work)
            if failure is not None and others:
                await self.steerer.follow_wishes(replica)
        if failure is not None and not others:
            await self._end(replica, failure, Bytes(0))
        elif failure is not None:
            self.wake()

    async def failed(self, replica: Replica, status: FillStatus) -> None:
        failure = status.failure or Failure(
            code=FailureCode.ENGINE, message="the engine gave no reason", retry=Retry.PASSING
        )
        await self._end(replica, failure, status.done)

    async def no_progress(self, replica: Replica, idle: Seconds) -> None:
        failure = Failure(code=FailureCode.NO_PROGRESS, message=f"not one byte came for {human_time(idle)}")
        await self._end(replica, failure, Bytes(0))

    async def _end(self, replica: Replica, failure: Failure, done: Bytes) -> None:
        async with self.replicas.alone(replica.id):
            try:
                await self.node(replica.node_id).cancel(replica.engine, replica.id)
            except Unavailable as error:
                log.info("cancel not delivered", extra={"action": "cancel_undelivered", "error": error.message})
            await self.stopper.attempt_failed(replica.id, failure, done)
        self.board.files_seen.pop(replica.id, None)
        self.wake()
