"""What the reducer is told: by the daemon through the feed, and by the person at the keys. Plain values, no Textual.

Times are of the event loop's clock, in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from odctl.client.errors import OdctlError
from odctl.client.models import Hello, Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which jobs, in which order; as `odctl ls` takes them."""

    filter: str = ""
    sort: str = ""
    old: bool = False


# From the daemon


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting:
    where: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    hello: Hello
    where: str
    why: str
    """Where the choice of this daemon comes from."""
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    error: OdctlError
    at: float
    retry_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The daemon said something, and be it that there is no news."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTold:
    """Of the jobs that `query` asks for, those from `offset` on."""

    query: Query
    offset: int
    jobs: tuple[Job, ...]
    total: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRefused:
    """The filter or the order is wrong."""

    query: Query
    error: OdctlError


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsTold:
    """Answers to something that was asked of these jobs: they are so now."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsRemoved:
    numbers: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusTold:
    status: Mapping[str, Any]
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTold:
    """Of one of the other lists, in answer to `query`, the items from `offset` on."""

    list: str
    query: Query
    offset: int
    items: tuple[Any, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRefused:
    list: str
    query: Query
    error: OdctlError


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesTold:
    """More at the end of a list that grows; `anew`: in the place of what was told before."""

    list: str
    lines: tuple[Any, ...]
    anew: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Stands among the events where some were lost."""

    oldest: int
    """The oldest one that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Something that the person asked for."""

    what: str
    error: OdctlError
    at: datetime


# From the person


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Another filter or order."""

    query: Query


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedTo:
    """The cursor, to a row of the list. The number of its job where it is known."""

    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkToggled:
    """On the job under the cursor; the cursor goes one down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeMarked:
    """From the last mark that was set to the cursor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllMarked:
    """These jobs: all that the filter finds, as the daemon told."""

    sizes: Mapping[int, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarksCleared:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeToggled:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowToggled:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAsked:
    """Another filter or order of one of the other lists."""

    list: str
    query: Query


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMoved:
    """The cursor of one of the other lists."""

    list: str
    row: int


Message = (
    Connecting | Connected | Lost | Heard | PageTold | QueryRefused | JobsTold | JobsRemoved | StatusTold
    | Asked | MovedTo | MarkToggled | RangeMarked | AllMarked | MarksCleared | FreezeToggled | FollowToggled
    | ListTold | ListRefused | LinesTold | Failed | ListAsked | ListMoved
)  # fmt: skip
