"""Progress goes to the store now and then, for sorting and for the time after a restart."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from oddaemon.domain.cache import ReplicaState
from oddaemon.domain.types import Bytes, ReplicaId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.at_work import AtWork
from oddaemon.services.board import Board

FLUSH = Seconds(30)
"""Between two writes of mere progress."""


@dataclass(slots=True)
class KeptFigures:
    """Which figures the store has, and since when."""

    store: Store
    clock: Clock
    board: Board
    view: AtWork
    _kept: dict[ReplicaId, Bytes] = field(default_factory=dict)
    _kept_at: Seconds = Seconds(0)

    async def keep(self) -> None:
        """Stores what changed, if that was last done a while ago."""
        now = self.clock.monotonic()
        if now - self._kept_at < FLUSH:
            return
        self._kept_at = now
        changed = [
            (replica, status)
            for replica_id, status in self.board.statuses.items()
            if (replica := self.view.replicas.get(replica_id)) is not None
            and replica.state is ReplicaState.FILLING
            and self._kept.get(replica_id) != status.done
        ]
        if not changed:
            return
        self._kept = {replica.id: status.done for replica, status in changed}
        figures = [
            (claim.job_id, *self.board.job_done.get(claim.job_id, (status.done, status.total)))
            for replica, status in changed
            for claim in self.view.by_entry.get(replica.entry_id, ())
        ]

        def work(tx: Transaction) -> None:
            at = self.clock.now()
            for replica, status in changed:
                current = tx.cache.replica(replica.id)
                if current is None or current.state is not ReplicaState.FILLING:
                    continue
                progressed = status.done > current.done
                tx.cache.update_replica(
                    replace(
                        current, done=max(current.done, status.done), wanted=status.total or current.wanted,
                        progress_at=at if progressed else current.progress_at,
                        attempts=0 if progressed else current.attempts,
                    )
                )  # fmt: skip
            tx.jobs.record_progress(figures)

        await self.store.write(work)
