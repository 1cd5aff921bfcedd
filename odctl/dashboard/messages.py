"""What the reducer is told: by the daemon through the feed, and by the person at the keys. Plain values, no Textual.

Times are of the event loop's clock, in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from odctl.client.errors import OdctlError
from odctl.client.models import Hello, Job


class Query(Struct, frozen=True, kw_only=True):
    """Which jobs, in which order; as `odctl ls` takes them."""

    filter: str = ""
    sort: str = ""
    old: bool = False


# From the daemon


class Connecting(Struct, frozen=True, kw_only=True):
    where: str
    at: float


class Connected(Struct, frozen=True, kw_only=True):
    hello: Hello
    where: str
    why: str
    """Where the choice of this daemon comes from."""
    at: float


class TakesLong(Struct, frozen=True, kw_only=True):
    """The connection that is being made."""


class HelloTold(Struct, frozen=True, kw_only=True):
    """One is another there than before, or has another role."""

    hello: Hello


class Lost(Struct, frozen=True, kw_only=True):
    error: OdctlError
    at: float
    retry_at: float


class Heard(Struct, frozen=True, kw_only=True):
    """The daemon said something, and be it that there is no news."""

    at: float


class PageTold(Struct, frozen=True, kw_only=True):
    """Of the jobs that `query` asks for, those from `offset` on."""

    query: Query
    offset: int
    jobs: tuple[Job, ...]
    total: int
    at: float


class QueryRefused(Struct, frozen=True, kw_only=True):
    """The filter or the order is wrong."""

    query: Query
    error: OdctlError


class JobsTold(Struct, frozen=True, kw_only=True):
    """Answers to something that was asked of these jobs: they are so now."""

    jobs: tuple[Job, ...]


class JobsRemoved(Struct, frozen=True, kw_only=True):
    numbers: frozenset[int]


class StatusTold(Struct, frozen=True, kw_only=True):
    status: Mapping[str, Any]
    at: float


class ListTold(Struct, frozen=True, kw_only=True):
    """Of one of the other lists, in answer to `query`, the items from `offset` on."""

    list: str
    query: Query
    offset: int
    items: tuple[Any, ...]
    total: int


class ListRefused(Struct, frozen=True, kw_only=True):
    list: str
    query: Query
    error: OdctlError


class LinesTold(Struct, frozen=True, kw_only=True):
    """More at the end of a list that grows; `anew`: in the place of what was told before."""

    list: str
    lines: tuple[Any, ...]
    anew: bool = False


class Gap(Struct, frozen=True, kw_only=True):
    """Stands among the events where some were lost."""

    oldest: int
    """The oldest one that is kept."""


class Failed(Struct, frozen=True, kw_only=True):
    """Something that the person asked for."""

    what: str
    error: OdctlError
    at: datetime


# From the person


class Asked(Struct, frozen=True, kw_only=True):
    """Another filter or order."""

    query: Query


class MovedTo(Struct, frozen=True, kw_only=True):
    """The cursor, to a row of the list. The number of its job where it is known."""

    row: int


class MarkToggled(Struct, frozen=True, kw_only=True):
    """On the job under the cursor; the cursor goes one down."""


class RangeMarked(Struct, frozen=True, kw_only=True):
    """From the last mark that was set to the cursor."""


class AllMarked(Struct, frozen=True, kw_only=True):
    """These jobs: all that the filter finds, as the daemon told."""

    sizes: Mapping[int, int | None]


class MarksCleared(Struct, frozen=True, kw_only=True):
    pass


class FreezeToggled(Struct, frozen=True, kw_only=True):
    pass


class FollowToggled(Struct, frozen=True, kw_only=True):
    pass


class ListAsked(Struct, frozen=True, kw_only=True):
    """Another filter or order of one of the other lists."""

    list: str
    query: Query


class ListMoved(Struct, frozen=True, kw_only=True):
    """The cursor of one of the other lists."""

    list: str
    row: int


Message = (
    Connecting | TakesLong | Connected | HelloTold | Lost | Heard | PageTold | QueryRefused | JobsTold | JobsRemoved
    | StatusTold | Asked | MovedTo | MarkToggled | RangeMarked | AllMarked | MarksCleared | FreezeToggled
    | FollowToggled
    | ListTold | ListRefused | LinesTold | Failed | ListAsked | ListMoved
)  # fmt: skip
