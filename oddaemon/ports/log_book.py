"""The daemon's own recent log, readable by the faces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from oddaemon.domain.types import JobNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """Secrets are masked before a line gets here. `message` holds no control characters."""

    at: datetime
    level: str
    message: str
    logger: str = ""
    job: JobNumber | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


class LogBook(Protocol):
    def tail(
        self, *, lines: int, job: JobNumber | None = None, level: str = "debug", since: datetime | None = None
    ) -> Sequence[LogLine]:
        """The newest `lines` that match, oldest first."""

    def follow(self, *, job: JobNumber | None = None, level: str = "debug") -> AsyncIterator[LogLine]:
        """Lines from now on; a slow reader loses the oldest."""
