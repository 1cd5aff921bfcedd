"""What lives in memory only: figures of what runs, and why waiting jobs wait. Lost with the process, on purpose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from oddaemon.domain.cache import Replica
from oddaemon.domain.failure import Reason
from oddaemon.domain.job import Job
from oddaemon.domain.node import NodeSnapshot
from oddaemon.domain.types import Bytes, BytesPerSecond, EngineName, EntryId, JobId, NodeId, ReplicaId, Seconds
from oddaemon.ports.engine import FillFile, FillStatus
from oddaemon.services.seed_wishes import SEEDING
from oddaemon.services.views import Live

_FIGURES = (
    "running", "rate_down", "rate_up", "eta", "seeders", "peers", "done", "size", "quiet", "name", "engine_state",
    "seeding",
)  # fmt: skip


@dataclass(slots=True)
class Board:
    """Written by the reconciler and the tracker, read by the views. One event loop, no locks."""

    statuses: dict[ReplicaId, FillStatus] = field(default_factory=dict)
    replica_of: dict[EntryId, ReplicaId] = field(default_factory=dict)
    file_progress: dict[ReplicaId, Mapping[int, FillFile]] = field(default_factory=dict)
    """Bytes per file, for replicas whose jobs want different files of them."""
    files_seen: dict[ReplicaId, int] = field(default_factory=dict)
    """The `files_rev` of each replica whose file list is stored."""
    job_done: dict[JobId, tuple[Bytes, Bytes | None]] = field(default_factory=dict)
    """(done, size) of a job whose selection differs from its replica's."""
    reasons: Mapping[JobId, Reason] = field(default_factory=dict)
    positions: Mapping[JobId, int] = field(default_factory=dict)
    placements: dict[EntryId, str] = field(default_factory=dict)
    nodes: dict[NodeId, NodeSnapshot] = field(default_factory=dict)
    quiet: dict[ReplicaId, Seconds] = field(default_factory=dict)
    """For how long what runs has not got a byte, when that is worth telling."""
    received: int = 0
    """Bytes that downloads brought since the start."""
    shunned: dict[NodeId, tuple[Seconds, Reason]] = field(default_factory=dict)
    """Nodes that refused what was given to them a moment ago: until when, on the monotonic clock, others go before."""
    strays: dict[NodeId, int] = field(default_factory=dict)
    """Directories on a node, at the start, that belong to no replica."""

    def online(self, node_id: NodeId) -> bool:
        """False for a node that is known to be offline."""
        node = self.nodes.get(node_id)
        return node is None or node.online

    def can_be_asked(self, node_id: NodeId, engine: EngineName | None) -> bool:
        """Whether the node is online and has the engine, or any."""
        node = self.nodes.get(node_id)
        return node is not None and node.online and any(
            found.ok and engine in (None, found.name) for found in node.engines
        )  # fmt: skip

    def live(self, job: Job) -> Live:
        """The job's figures: its own selection's progress of the one download."""
        replica_id = self.replica_of.get(job.entry_id) if job.entry_id is not None else None
        status = self.statuses.get(replica_id) if replica_id is not None else None
        if status is None or job.finished:
            return Live(done=job.done)
        done, _ = self.job_done.get(job.id, (status.done, status.total))
        return Live(
            done=done,
            rate_down=status.rate_down,
            rate_up=status.rate_up,
            eta=status.eta,
            seeders=status.seeders,
            peers=status.peers,
        )

    def figures(self, job_id: JobId, entry_id: EntryId) -> tuple[Bytes, Bytes | None] | None:
        """Bytes done and size of an unfinished job, while it runs."""
        replica_id = self.replica_of.get(entry_id)
        status = self.statuses.get(replica_id) if replica_id is not None else None
        return None if status is None else self.job_done.get(job_id, (status.done, status.total))

    def figures_now(self) -> Mapping[str, Mapping[EntryId, float | str]]:
        """What lists are filtered and sorted by and no database knows, of what runs: see ports.store Query.live."""
        running = {
            entry_id: self.statuses[replica_id]
            for entry_id, replica_id in self.replica_of.items()
            if replica_id in self.statuses
        }
        figures: dict[str, dict[EntryId, float | str]] = {name: {} for name in _FIGURES}
        for entry_id, status in running.items():
            told = {
                "running": 1, "rate_down": status.rate_down, "rate_up": status.rate_up, "eta": status.eta,
                "seeders": status.seeders, "peers": status.peers, "done": status.done, "size": status.total or None,
                "quiet": self.quiet.get(status.replica_id), "name": status.name or None,
                "engine_state": self.engine_state(status) or None,
                "seeding": SEEDING if status.engine_state == SEEDING else None,
            }  # fmt: skip
            for name, value in told.items():
                if value is not None:
                    figures[name][entry_id] = value
        return figures

    def figures_of_jobs(self) -> Mapping[str, Mapping[JobId, float | str | None]]:
        """Likewise of single jobs: see Query.live_jobs."""
        return {
            "done": {job_id: done for job_id, (done, _) in self.job_done.items()},
            "size": {job_id: size or None for job_id, (_, size) in self.job_done.items()},
            "reason": {job_id: str(reason.code) for job_id, reason in self.reasons.items()},
        }

    def engine_state(self, status: FillStatus) -> str | None:
        """What people read of what runs."""
        quiet = self.quiet.get(status.replica_id)
        if quiet is None:
            return status.engine_state
        time = f"{quiet / 60:.0f} min" if quiet >= 60 else f"{quiet:.0f} s"
        return f"no seeds for {time}" if status.seeders == 0 else f"{status.engine_state}, no byte for {time}"

    def size(self, job: Job) -> Bytes | None:
        """The size of the job's selection, as far as it is known now."""
        replica_id = self.replica_of.get(job.entry_id) if job.entry_id is not None else None
        status = self.statuses.get(replica_id) if replica_id is not None else None
        if job.finished or status is None:
            return job.size
        return self.job_done.get(job.id, (status.done, status.total))[1] or job.size

    def with_figures(self, job: Job) -> Job:
        """The job with the bytes and the size that are known now, for the time in which it does not run."""
        return replace(job, done=max(job.done, self.live(job).done), size=self.size(job))

    def can_select(self, replica: Replica) -> bool:
        """Whether its engine can be told another selection while it runs."""
        node = self.nodes.get(replica.node_id)
        engines = node.engines if node is not None else ()
        return any(engine.name == replica.engine and engine.capabilities.get("select") for engine in engines)

    def stand_still(self, replicas: Iterable[ReplicaId]) -> None:
        """Their node is away: what they have is known, how fast they go is not."""
        for replica_id in replicas:
            status = self.statuses.get(replica_id)
            if status is not None:
                self.statuses[replica_id] = replace(
                    status, rate_down=BytesPerSecond(0), rate_up=BytesPerSecond(0), eta=None, seeders=None, peers=None
                )

    def forget(self, replica_id: ReplicaId, entry_id: EntryId) -> None:
        self.statuses.pop(replica_id, None)
        self.file_progress.pop(replica_id, None)
        self.files_seen.pop(replica_id, None)
        if self.replica_of.get(entry_id) == replica_id:
            del self.replica_of[entry_id]
