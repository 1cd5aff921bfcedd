"""What of the content here a caller may know before it is the caller's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from oddaemon.domain.cache import CacheEntry, CacheKey
from oddaemon.domain.job import JobState
from oddaemon.domain.user import Principal
from oddaemon.ports.store import Transaction


@dataclass(frozen=True, slots=True)
class Discretion:
    """It is not for everybody to know what others fetched, unless a setting says so."""

    tells_of_others: Callable[[], bool]

    def may_know(self, tx: Transaction, who: Principal, entry: CacheEntry) -> bool:
        if who.is_admin or self.tells_of_others():
            return True
        jobs = tx.jobs.of_entry(entry.id)
        return any(job.user_id == who.user_id and job.state is not JobState.CANCELLED for job in jobs)

    def may_know_of(self, tx: Transaction, who: Principal, key: CacheKey) -> bool:
        """Whether there is nothing of that key, or nothing that the caller may not know."""
        entry = tx.cache.current_entry(key.full)
        return entry is None or self.may_know(tx, who, entry)
