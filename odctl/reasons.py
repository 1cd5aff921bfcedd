"""What a job waits for, in the reader's own time: the daemon writes UTC, not knowing where its reader is."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from odctl.client.models import Reason
from odctl.text import moment

_UTC = re.compile(r"(until )?(\d{4}-\d\d-\d\d )?\d\d:\d\d(:\d\d)? UTC")


def clock(at: datetime) -> str:
    """In local time; today's without the date."""
    local = at.astimezone()
    same_day = local.date() == datetime.now(UTC).astimezone().date()
    return local.strftime("%H:%M:%S") if same_day else moment(at)


def in_local_time(
    reason: Reason, until: Callable[[datetime], str] = clock, when: Callable[[datetime], str] = clock
) -> str:
    """`until` and `when` say how a moment stands behind "until", and elsewhere."""
    at = reason.retry_at
    if at is None:
        return reason.message
    return _UTC.sub(lambda found: f"until {until(at)}" if found[1] else when(at), reason.message)
