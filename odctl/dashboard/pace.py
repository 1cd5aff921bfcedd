"""How often the daemon is looked at: as the person likes it, and seldom while nobody looks at the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from msgspec.structs import replace
from textual.binding import Binding, BindingType

from odctl.dashboard.feed import Feed, Wanted
from odctl.dashboard.steady import Steady

BLURRED_MS = 5000
"""Another window has the focus, where the terminal tells."""
FASTEST_MS, SLOWEST_MS = 125, 8000


class Paced(Steady):
    """What the list is told of, and how often."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "slower", "Slower", show=False, id="app.slower"),
        Binding("right_square_bracket", "faster", "Faster", show=False, id="app.faster"),
    ]
    feed: Feed
    interval_ms: int
    """Between two looks."""

    def __init__(self, clock: Callable[[], float], wanted: Wanted) -> None:
        super().__init__(clock)
        self.wanted = wanted
        self.interval_ms = wanted.interval_ms

    def prefer(self, **changes: object) -> None:
        """Keeps what the person likes."""
        raise NotImplementedError

    def say(self, text: str, severity: str = "information") -> None:
        """A toast."""
        raise NotImplementedError

    @property
    def pace_ms(self) -> int:
        return self.interval_ms if self.app_focus else max(self.interval_ms, BLURRED_MS)

    def want_window(self, wanted: Wanted) -> None:
        """The list is told so from here on."""
        if not self.wanted.covers(wanted):
            self.wanted = wanted
            self.feed.want(wanted)

    def watch_app_focus(self) -> None:
        self._paced()

    def action_slower(self) -> None:
        self._change(2.0)

    def action_faster(self) -> None:
        self._change(0.5)

    def _change(self, factor: float) -> None:
        self.interval_ms = int(min(max(self.interval_ms * factor, FASTEST_MS), SLOWEST_MS))
        self.prefer(interval_ms=self.interval_ms)
        self.say(f"looks every {self.interval_ms / 1000:g} s")
        self._paced()

    def _paced(self) -> None:
        self.want_window(replace(self.wanted, interval_ms=self.pace_ms))
