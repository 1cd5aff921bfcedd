"""What is at work: the replicas that are not at rest and the claims on them, as a view of the store that is renewed by
each plan and kept up by whoever stores a replica. One event loop, no locks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.types import Bytes, EntryId, ReplicaId, UserId
from oddaemon.domain.user import UserLimits
from oddaemon.ports.store import ClaimRow
from oddaemon.services.board import Board


@dataclass(slots=True)
class AtWork:
    board: Board
    replicas: dict[ReplicaId, Replica] = field(default_factory=dict)
    """Every replica that is not ready, and the ready ones of unfinished jobs."""
    by_entry: dict[EntryId, list[ClaimRow]] = field(default_factory=dict)
    """Unfinished claims."""
    own: Mapping[UserId, UserLimits] = field(default_factory=dict)
    """Of the users that have limits of their own."""
    reselect: set[EntryId] = field(default_factory=set)
    """Entries whose claimants changed: selection and speed limits of what runs have to follow."""
    stopped: list[Callable[[ReplicaId], None]] = field(default_factory=list)
    """Told of every replica that is stored as not running."""
    gone: Callable[[Sequence[ReplicaId]], None] = lambda _: None
    """Told of replicas whose files are no longer what links say: who serves them has to look again."""

    def filling(self) -> list[Replica]:
        return [found for found in self.replicas.values() if found.state is ReplicaState.FILLING]

    def idle(self) -> list[Replica]:
        """What waits or pauses although no job waits for it."""
        still = {ReplicaState.WAITING, ReplicaState.PAUSED, ReplicaState.MISSING}
        return [
            found
            for found in self.replicas.values()
            if found.state in still and found.entry_id not in self.by_entry
        ]

    def note(self, replica: Replica) -> None:
        """A replica was stored."""
        self.replicas[replica.id] = replica
        if replica.state is ReplicaState.FILLING:
            self.board.replica_of[replica.entry_id] = replica.id
            return
        for tell in self.stopped:
            tell(replica.id)
        if replica.state in {ReplicaState.MISSING, ReplicaState.DELETING}:
            self.gone([replica.id])

    def lost(self, replicas: Sequence[Replica]) -> None:
        """They went with their node."""
        for replica in replicas:
            self.replicas.pop(replica.id, None)
            self.board.forget(replica.id, replica.entry_id)
            for tell in self.stopped:
                tell(replica.id)
        self.gone([replica.id for replica in replicas])

    def renew(self, claims: Sequence[ClaimRow], replicas: Sequence[Replica]) -> None:
        wanted = {found.id: self.replicas[found.id].wanted for found in replicas if found.id in self.replicas}
        by_entry: dict[EntryId, list[ClaimRow]] = {}
        for claim in claims:
            by_entry.setdefault(claim.entry_id, []).append(claim)
        self.by_entry = by_entry
        known = {claim.job_id for claim in claims}
        self.board.job_done = {job: figures for job, figures in self.board.job_done.items() if job in known}
        self.replicas = {
            found.id: found if found.wanted is not None else replace(found, wanted=wanted.get(found.id))
            for found in replicas
        }
        for found in replicas:
            if found.state is ReplicaState.FILLING:
                self.board.replica_of[found.entry_id] = found.id
            if found.placement:
                self.board.placements.setdefault(found.entry_id, found.placement)

    def remaining(self, replica: Replica) -> Bytes | None:
        """Bytes that it still needs; None while its size is unknown."""
        status = self.board.statuses.get(replica.id)
        total = status.total if status is not None and status.total is not None else replica.wanted
        done = max(status.done if status is not None else Bytes(0), replica.done)
        return None if total is None else Bytes(max(0, total - done))
