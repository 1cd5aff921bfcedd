"""A list with columns of anything: of nodes, of the cache, of events."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from odctl.dashboard.columns import Column, fit
from odctl.dashboard.fitted import fitted
from odctl.dashboard.glyphs import Glyphs
from odctl.dashboard.line_list import LineList
from odctl.dashboard.listed import Listed


class RowList(LineList):
    """Rows are those that `Listed` knows; what is not known yet is drawn as a blank line."""

    class Loosened(Message):
        """The person scrolled by other means than the cursor."""

    def __init__(self, glyphs: Glyphs, columns: Sequence[Column[Any]], listed: Listed, id: str) -> None:
        super().__init__(glyphs, id)
        self.columns = tuple(columns)
        self.listed = listed
        self.nothing = ""

    @property
    def count(self) -> int:
        return self.listed.total or 0

    @property
    def row(self) -> int:
        return self.listed.row

    @property
    def order(self) -> str:
        return self.listed.query.sort

    def show(self, listed: Listed, *, nothing: str = "", stale: bool = False) -> None:
        """Draws what differs from what was shown. `nothing` stands in the place of a list without rows."""
        before, self.listed = self.listed, listed
        whole = stale != self.stale or nothing != self.nothing
        self.stale, self.nothing = stale, nothing
        if (before.total or 0) != self.count:
            self.measure()
            whole = whole or not (before.total and self.count)
        if listed.tail and listed.row != before.row:
            self.reveal(listed.row)
        if whole:
            self.refresh()
            return
        for row in self.rows:
            if self._looks(before, row) != self._looks(listed, row):
                self.refresh_lines(row, 1)

    def show_columns(self, columns: Sequence[Column[Any]]) -> None:
        if tuple(columns) != self.columns:
            self.columns = tuple(columns)
            self.measure()
            self.refresh()

    def measure(self) -> None:
        width = self.room
        self.placed = fit(self.columns, width)
        self.virtual_size = Size(width, self.count)
        self.post_message(self.LaidOut())

    def reveal(self, row: int) -> None:
        super().reveal(row)
        if row not in self.rows and row < self.count:
            # a list that was empty until now scrolls only when it was laid out
            self.call_after_refresh(super().reveal, row)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        if self.listed.tail:
            self.reveal(self.listed.row)

    def on_mouse_scroll_up(self) -> None:
        self.post_message(self.Loosened())

    def on_scroll_to(self) -> None:
        # of the scroll bar
        self.post_message(self.Loosened())

    @staticmethod
    def _looks(listed: Listed, row: int) -> tuple[object, ...]:
        return listed.at(row), row == listed.row and listed.key is not None

    def render_line(self, y: int) -> Strip:
        row = round(self.scroll_y) + y
        width = self.scrollable_content_region.width
        if not self.count:
            return self._nothing_line(y, width)
        item = self.listed.at(row)
        here = item is not None and row == self.listed.row and item is self.listed.current
        base = self.plain
        if here:
            base = base + self._style("cursor" if self.has_focus else "cursor-blurred")
        if self.stale:
            base = base + Style(dim=True)
        if item is None:
            known = f"  {self.glyphs.bar_unknown * 6}" if row < self.count else ""
            segments = [Segment(fitted(known, width), self._style("dim"))]
        else:
            segments = [Segment(self.glyphs.cursor if here else " ", self._style("mark")), Segment(" ")]
            for place in self.placed:
                text, style = place.column.cell(item, self.glyphs, place.width)
                shown = fitted(text, place.width, self.glyphs.more, right=place.column.right)
                segments += [Segment(shown, self._style(style)), Segment(" ")]
        strip = Strip(Segment(text, base + style if style else base) for text, style, _ in segments)
        return strip.crop_extend(0, width, base)

    def _nothing_line(self, y: int, width: int) -> Strip:
        lines = [part for line in self.nothing.split("\n") for part in textwrap.wrap(line, max(10, width - 4)) or [""]]
        at = y - max(0, (self.scrollable_content_region.height - len(lines)) // 2)
        line = lines[at] if 0 <= at < len(lines) and self.nothing else ""
        shown = fitted(" " * max(0, (width - cell_len(line)) // 2) + line, width, self.glyphs.more)
        return Strip([Segment(shown, self.plain + Style(dim=self.stale))])
