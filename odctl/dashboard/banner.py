"""The line under the header: what is wrong, and what to do. It is there only when something is."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static

from odctl.dashboard.glyphs import Glyphs
from odctl.dashboard.state import Phase, State
from odctl.text import clean, duration

SLOW_SECONDS = 1.0
"""A connection that takes longer is spoken of."""
QUIET_SECONDS = 5.0
"""A daemon of which nothing was heard for longer is said to be silent."""


def banner(state: State, now: float, glyphs: Glyphs) -> str:
    """What to say of the connection, else of the daemon's first warning; empty: nothing."""
    connection = state.connection
    where = connection.where or "the daemon"
    if connection.phase is Phase.LOST:
        wait = max(0.0, connection.retry_at - now)
        retry = f"retry in {duration(wait)} (r now)" if wait >= 1 else "trying again"
        why = f": {clean(connection.error.message)}" if connection.error is not None else ""
        age = f", shown as of {duration(now - connection.heard_at)} ago" if connection.heard_at else ""
        # the reason last: it is the longest, and what is cut off is the end
        return f"{glyphs.warning} {clean(where)} unreachable {duration(now - connection.since)} – {retry}{age}{why}"
    if connection.phase is Phase.CONNECTING:
        waited = now - connection.since
        return f"{clean(where)} {glyphs.more} {waited:.1f} s" if waited > SLOW_SECONDS and connection.where else ""
    silent = now - connection.heard_at
    if silent > QUIET_SECONDS:
        return f"{glyphs.warning} nothing heard from {clean(where)} for {duration(silent)}"
    for warning in (state.status or {}).get("warnings") or ():
        hint = f" – {clean(warning['hint'])}" if warning.get("hint") else ""
        return f"{glyphs.warning} {clean(warning['message'])}{hint}"
    return ""


class Banner(Static):
    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(Text(""), id="banner", markup=False)
        self.glyphs = glyphs
        self._said = ""

    def show(self, state: State, now: float) -> None:
        said = banner(state, now, self.glyphs)
        if said != self._said:
            self._said = said
            self.update(Text(said, no_wrap=True, overflow="ellipsis"))
        if self.display != bool(said):
            self.display = bool(said)
