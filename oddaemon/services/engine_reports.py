"""What an engine says of a job that it works on, asked at the job's node."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from oddaemon.domain.errors import Unavailable
from oddaemon.domain.job import Job, JobState
from oddaemon.domain.types import Bytes, NodeId, ReplicaId
from oddaemon.domain.user import Principal
from oddaemon.ports.engine import Peer
from oddaemon.ports.node_client import NodeClient
from oddaemon.services.board import Board
from oddaemon.services.job_finder import JobFinder


@dataclass(slots=True)
class EngineReports:
    jobs: JobFinder
    board: Board
    node: Callable[[NodeId | None], NodeClient]

    async def peers(self, who: Principal, id: str) -> Sequence[Peer]:
        """Connected peers of a running torrent; empty for anything else. Raises NotFound."""
        job, replica_id = await self._at_work(who, id)
        if replica_id is None or job.engine is None:
            return ()
        return await self.node(job.node_id).peers(job.engine, replica_id)

    async def raw(self, who: Principal, id: str) -> Mapping[str, str | int | float | bool]:
        """What the engine itself says of an unfinished job's download, without secrets; empty when it says nothing.
        Raises NotFound."""
        job, replica_id = await self._at_work(who, id)
        if replica_id is None or job.engine is None:
            return {}
        return await self.node(job.node_id).raw_status(job.engine, replica_id)

    async def ask_progress(self, job: Job) -> None:
        """What runs is asked for its files; when it does not answer, what was known last is shown."""
        replica_id = self.board.replica_of.get(job.entry_id) if job.entry_id is not None else None
        if job.state is not JobState.ACTIVE or replica_id is None or job.engine is None:
            return
        with contextlib.suppress(Unavailable):
            found = await self.node(job.node_id).list_files(job.engine, replica_id)
            self.board.file_progress[replica_id] = {file.index: file for file in found}

    def progress(self, job: Job) -> Mapping[int, Bytes]:
        """Bytes of each file, by index, as far as they were told."""
        replica_id: ReplicaId | None = self.board.replica_of.get(job.entry_id) if job.entry_id is not None else None
        found = self.board.file_progress.get(replica_id) if replica_id is not None else None
        return {} if found is None else {index: file.done for index, file in found.items()}

    async def _at_work(self, who: Principal, id: str) -> tuple[Job, ReplicaId | None]:
        """The job, and what its engine knows its download by while there is one."""
        job = (await self.jobs.get(who, id)).job
        known = job.entry_id is not None and not job.finished
        return job, self.board.replica_of.get(job.entry_id) if known and job.entry_id is not None else None
