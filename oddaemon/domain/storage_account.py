"""What a user is charged for the content that his jobs claim, and which of them have to wait because it is too much.

Charged is what a job will take when it is done, as soon as that is known, so that what was begun can also end; of a job
of unknown size, and of one that failed or waits for the limit, what is there. The same file is charged to a user once,
however many of his jobs claim it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from oddaemon.domain.types import Bytes, EntryId, JobId, JobNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One job's claim, as the storage of its user sees it."""

    job_id: JobId
    number: JobNumber
    entry_id: EntryId
    parts: Mapping[int, int]
    """The user's share of what it takes, by part of the content. Equal parts of one entry are the same bytes."""
    here: Bytes = Bytes(0)
    """The user's share of what is there of it."""
    settled: bool = False
    """It is charged whatever the limit: it is completed, or failed."""
    running: bool = False
    grows: bool = False
    """Its size is not known: it takes more than is known now."""


@dataclass(slots=True, kw_only=True)
class StorageAccount:
    used: Bytes = Bytes(0)
    over: dict[JobId, Bytes] = field(default_factory=dict)
    """The jobs for which there is no room, and what each would take on top of what is used."""


def account(holdings: Iterable[Holding], limit: Bytes, *, asked: JobId | None = None) -> StorageAccount:
    """What stands comes first, then what runs, then what waits, each by age; `asked` comes last of all, and is held
    against the limit even if it is settled. A smaller job may pass one for which there is no room. `limit` 0: none."""
    result = StorageAccount()
    charged: dict[tuple[EntryId, int], int] = {}

    def place(holding: Holding) -> tuple[bool, bool, bool, int]:
        return holding.job_id == asked, not holding.settled, not holding.running, holding.number

    for holding in sorted(holdings, key=place):
        more = {
            (holding.entry_id, part): size
            for part, size in holding.parts.items()
            if size > charged.get((holding.entry_id, part), 0)
        }
        grown = sum(size - charged.get(part, 0) for part, size in more.items())
        after = result.used + grown
        held = limit and (holding.job_id == asked or not holding.settled)
        if held and ((grown and after > limit) or (holding.grows and after >= limit)):
            here = 0 if holding.job_id == asked else min(grown, holding.here)
            result.over[holding.job_id] = Bytes(grown - here)
            result.used = Bytes(result.used + here)
            continue
        result.used = Bytes(after)
        charged |= more
    return result
