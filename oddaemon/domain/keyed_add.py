"""An add that its caller named with a key of its own, so that it can be sent again without being carried out again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from oddaemon.domain.types import JobId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedAdd:
    user_id: UserId
    key: str
    """The caller's: unique among the user's own."""
    digest: str
    """Of what was asked for."""
    job_ids: tuple[JobId, ...]
    """Of the jobs that it makes, settled before the first: what was begun and not answered goes on with the same."""
    created_at: datetime
    answer: str | None = None
    """What the caller was told; None: it was not told yet."""
