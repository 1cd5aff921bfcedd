"""What has changed while nobody could be asked. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from odctl.client.models import Job
from odctl.dashboard.state import Window


def changes(before: Window, offset: int, after: Iterable[Job]) -> int:
    """So many of the jobs that were shown, or are now, are otherwise, have gone, or have come. Mere bytes are no
    change; where other rows are looked at than before, neither is what is not in both."""
    was = {job.id: job.rev for job in before.jobs}
    now = {job.id: job.rev for job in after}
    both = was.keys() & now.keys()
    moved = set() if offset != before.offset else was.keys() ^ now.keys()
    return sum(was[number] != now[number] for number in both) + len(moved)


def said(count: int) -> str:
    return f"reconnected, {count or 'no'} change{'' if count == 1 else 's'}"
