"""What the list is asked for first, which is known before it has a place on a screen. No Textual."""

from __future__ import annotations

import os

from odctl.dashboard.columns import fields_of, layout
from odctl.dashboard.feed import Wanted
from odctl.dashboard.messages import Query
from odctl.dashboard.preferences import Preferences

LOCAL_MS, REMOTE_MS = 500, 1000
WIDE_FROM = 120
"""From so many columns on the details have room beside the list."""
MARGIN = 0.5
"""Screens of rows that are known above and below the one that is shown."""


def interval_ms(preferences: Preferences, *, remote: bool) -> int:
    """Between two looks of the daemon."""
    return preferences.interval_ms or (REMOTE_MS if remote else LOCAL_MS)


def first_wanted(preferences: Preferences, filter: str, screen: os.terminal_size, *, remote: bool) -> Wanted:
    """What will be wanted once the list has its place on a screen of this size, as well as that is known now."""
    beside = preferences.pane == 1 and screen.columns >= WIDE_FROM
    width = (screen.columns * 584 // 1000 if beside else screen.columns) - 3
    return Wanted(
        query=Query(filter=filter, sort=preferences.sort), offset=0, limit=int(screen.lines * (1 + MARGIN)) + 1,
        interval_ms=interval_ms(preferences, remote=remote),
        fields=fields_of(layout(preferences.columns, width)),
    )  # fmt: skip
