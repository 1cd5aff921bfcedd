"""The two lines at the top: which daemon, who one is there, how fast it goes; the screens, and how the disk is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.message import Message
from textual.widget import Widget

from odctl import text as words
from odctl.dashboard.fitted import fitted
from odctl.dashboard.glyphs import Glyphs, spark
from odctl.dashboard.state import Phase, State

SPARK = 12
LEAST_ADDRESS = 12
"""Columns of an address that say anything."""


def first_line(state: State, width: int, glyphs: Glyphs, context: str) -> Text:
    """Which daemon it is, and what it does."""
    hello = state.connection.hello
    who = "" if hello is None else f"  {hello.user} ({hello.role})"
    where = state.connection.where
    frozen = "  FROZEN" if state.frozen else ""
    name = f" OpenDebrid{frozen}  {context or (hello.node if hello else '')}"
    rates = (state.status or {}).get("rates") or {}
    wide = width >= 100
    right = "".join(
        f"  {sign} {words.size(int(rates.get(name) or 0))}/s" + (f" {spark(history, SPARK, glyphs)}" if wide else "")
        for sign, name, history in ((glyphs.down, "down", state.down), (glyphs.up, "up", state.up))
    ) if state.status is not None else ""  # fmt: skip
    room = max(0, width - len(right) - 1)
    # the address gives way first: it is the longest, and the name says which daemon it is
    beside = room - cell_len(name) - cell_len(who) - 2
    place = "" if beside < LEAST_ADDRESS else "  " + fitted(where, min(beside, cell_len(where)), glyphs.more)
    return Text(fitted(name + place + who, room, glyphs.more) + right + " ", no_wrap=True)


def free_disk(status: Mapping[str, Any] | None) -> int | None:
    """Bytes on all nodes; None: it was not told."""
    nodes = _nodes(status) if status is not None else ()
    return sum(int(node.get("disk_free") or 0) for node in nodes) if nodes else None


def totals(status: Mapping[str, Any] | None, glyphs: Glyphs, room: int) -> str:
    """Free disk, and jobs by state: as much as stands in `room` whole, the jobs first."""
    if status is None:
        return ""
    jobs = status.get("jobs") or {}
    free = free_disk(status) or 0
    total = sum(int(node.get("disk_total") or 0) for node in _nodes(status))
    cells = 7
    full = round((1 - free / total) * cells) if total else 0
    bar = f" {glyphs.full * full}{glyphs.light * (cells - full)}"
    disk = f"disk {words.size(free)} free"
    counts = "  ".join(f"{name} {jobs.get(name, 0)}" for name in ("queued", "active", "failed"))
    told = [f"{disk}{bar}  {counts}", f"{disk}  {counts}"] if total else []
    return next((one for one in told if cell_len(one) <= room), counts)


def _nodes(status: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    from odctl.client.models import jsonable

    return [jsonable(node) for node in status.get("nodes") or ()]


class TopBar(Widget):
    """Drawn from the state alone."""

    class Chosen(Message):
        """A screen was clicked."""

        def __init__(self, pane: str) -> None:
            super().__init__()
            self.pane = pane

    def __init__(self, glyphs: Glyphs, context: str = "", color: str = "") -> None:
        super().__init__(id="top")
        self.glyphs = glyphs
        self.context = context
        self.color = color
        self.state = State()
        self.panes: Sequence[tuple[str, str]] = ()
        self.current = ""

    def name_place(self, context: str, color: str) -> None:
        """Another daemon: its context's name and colour."""
        self.context, self.color = context, color
        self.refresh()

    def show(self, state: State, panes: Sequence[tuple[str, str]], current: str) -> None:
        """`panes`: ids and titles, in the order of their keys."""
        before = self._key()
        self.state, self.panes, self.current = state, panes, current
        if before != self._key():
            self.refresh()

    def _key(self) -> tuple[object, ...]:
        """All that is drawn. Not when the daemon was last heard: that changes with every word of it."""
        state, connection = self.state, self.state.connection
        return (
            connection.phase, connection.where, connection.hello, state.status, state.down, state.up, state.frozen,
            tuple(self.panes), self.current,
        )  # fmt: skip

    def render(self) -> Text:
        width = self.size.width
        lost = self.state.connection.phase is Phase.LOST
        first = first_line(self.state, width, self.glyphs, self.context)
        first.stylize("bold")
        at = first.plain.find(self.context) if self.context and self.color else -1
        if at >= 0:
            # black on a colour can be read in each of them
            first.stylize(f"black on {self.color}", max(0, at - 1), at + len(self.context) + 1)
        second = Text(" ", no_wrap=True)
        for number, (pane, title) in enumerate(self.panes, 1):
            label = f"{number} {title}" if width >= 80 or pane == self.current else str(number)
            second.append(label, "bold reverse" if pane == self.current else "")
            second.append("  ")
        right = totals(self.state.status, self.glyphs, room := width - second.cell_len - 1)
        if room > 0:
            second.append(fitted(right, room, self.glyphs.more, right=True), "dim" if lost else "")
        return Text("\n").join((first, second))

    def on_click(self, event: events.Click) -> None:
        if event.y != 1:
            return
        at = event.x - 1
        for number, (pane, title) in enumerate(self.panes, 1):
            label = f"{number} {title}" if self.size.width >= 80 or pane == self.current else str(number)
            if 0 <= at < len(label):
                self.post_message(self.Chosen(pane))
                return
            at -= len(label) + 2
