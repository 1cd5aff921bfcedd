"""What the links of users may still give today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from oddaemon.domain.types import Bytes, NodeId, UserId

Counted = Mapping[int | NodeId, int]
"""Up to which of its reports what each giver gave is stored: a file process of this node by its pid, a node by its
id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allotment:
    """Of one user with a limit."""

    left: Bytes
    """0 or less: nothing any more."""
    day: Bytes
    """The whole of the next day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayLeft:
    until: datetime
    """When the next day begins."""
    users: Mapping[UserId, Allotment | None] = field(default_factory=dict)
    """None: without a limit."""
    others: Bytes | None = None
    """What each of those may give in a day that are not among `users`, and gave nothing yet. None: no limit."""
