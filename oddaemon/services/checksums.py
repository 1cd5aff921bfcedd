"""Checksums that jobs ask for: of files that are ready, and of those that join them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from oddaemon.domain.cache import EntryFile, Replica, ReplicaState, is_hit, parse_key
from oddaemon.domain.errors import NotFound
from oddaemon.domain.events import CacheHit
from oddaemon.domain.failure import Failure, FailureCode
from oddaemon.domain.job import Job
from oddaemon.domain.types import EntryId, JobId, NodeId
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.claims import fail, job_event, join, release, settle, wanted_by, wants_check
from oddaemon.services.joint_wishes import unfinished
from oddaemon.services.replicas import Found, Replicas


@dataclass(slots=True)
class Checksums:
    """Compares digests, and completes or fails those that only waited for that."""

    store: Store
    clock: Clock
    node: Callable[[NodeId | None], NodeClient]
    replicas: Replicas
    wake: Callable[[], None]

    async def compare(
        self, replica: Replica, jobs: Sequence[Job], files: Sequence[EntryFile]
    ) -> Mapping[JobId, bool]:
        """Whether each job that asked for a checksum has it. One digest per algorithm is computed."""
        digests: dict[tuple[str, str], str] = {}
        matches: dict[JobId, bool] = {}
        for job in jobs:
            if job.checksum is None:
                continue
            wanted = [file for file in files if file.index in wanted_by(job, files) and file.ready]
            algorithm, _, expected = job.checksum.partition("=")
            if len(wanted) != 1:
                continue  # nothing to compare: settling it fails it
            place = (wanted[0].disk_path, algorithm)
            if place not in digests:
                node = self.node(replica.node_id)
                try:
                    digests[place] = await node.checksum(replica.id, wanted[0].disk_path, algorithm)
                except NotFound:
                    digests[place] = ""
            matches[job.id] = digests[place] == expected
        return matches

    async def check_ready(self, entry_id: EntryId) -> None:
        """Jobs with a checksum that joined an entry whose files are ready."""

        def look_up(tx: Transaction) -> Found | None:
            entry = tx.cache.entry(entry_id)
            ready = [found for found in tx.cache.replicas_of(entry_id) if found.state is ReplicaState.READY]
            if entry is None or not ready:
                return None
            files = {file.index: file for file in tx.cache.files(entry_id)}
            return Found(replica=ready[0], entry=entry, jobs=tx.jobs.of_entry(entry_id), files=files)

        first = await self.store.read(look_up)
        if first is None:
            return
        async with self.replicas.alone(first.replica.id):
            found = await self.store.read(look_up)
            if found is not None:
                await self._verify_ready(found)
        self.wake()

    async def _verify_ready(self, found: Found) -> None:
        files = list(found.files.values())
        matches = await self.compare(found.replica, to_verify(found.jobs, files), files)
        trusted = any(matches.values()) or any(job.finished and job.checksum for job in found.jobs)

        def work(tx: Transaction) -> None:
            at = self.clock.now()
            for job in unfinished(tx.jobs.of_entry(found.entry.id)):
                verdict = matches.get(job.id)
                if verdict and job.started_at is None:
                    # it only waited for this look at what was there
                    tx.jobs.update(replace(job, cache_hit=True))
                    tx.cache.touch(found.entry.id, at, hit=True)
                    tx.events.add(job_event(CacheHit, job, at, key=found.entry.key))
                if verdict is not False:
                    continue
                if trusted:
                    fail(tx, job, checksum_failure(job), at)
                else:
                    # nobody's checksum matches what is here: one fresh generation
                    join(tx, replace(job, entry_id=None, force=True), parse_key(found.entry.key), at=at)
            settle(tx, found.entry.id, at, verified=matches)
            release(tx, found.entry.id, at)

        await self.store.write(work)


def to_verify(jobs: Sequence[Job], files: Sequence[EntryFile]) -> list[Job]:
    """Those that wait for nothing any more but their checksum."""
    return [
        job
        for job in unfinished(jobs)
        if job.checksum is not None
        and not wants_check(job)
        and is_hit(files, wanted_by(job, files), files_known=True)
    ]


def checksum_failure(job: Job) -> Failure:
    return Failure(
        code=FailureCode.CHECKSUM,
        message=f"the file does not have the checksum {job.checksum}",
    )
