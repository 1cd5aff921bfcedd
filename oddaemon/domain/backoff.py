"""How long to wait before a child is started again. Pure."""

from __future__ import annotations

from oddaemon.domain.types import Seconds

FIRST = Seconds(1)
LONGEST = Seconds(30)
HEALTHY_AFTER = Seconds(60)
"""A child that ran for so long was well: the waits begin anew."""


class RestartBackoff:
    """1, 2, 4 … 30 s, and 1 s again once the child has run for a minute."""

    def __init__(self) -> None:
        self._failures = 0

    def next_wait(self, *, ran_for: Seconds) -> Seconds:
        """The wait after an end, the child having been ready for `ran_for`; 0 if it never was."""
        if ran_for >= HEALTHY_AFTER:
            self._failures = 0
        wait = min(FIRST * 2 ** min(self._failures, 10), LONGEST)
        self._failures += 1
        return Seconds(wait)
