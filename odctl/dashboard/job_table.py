"""The list of jobs: draws what is on the screen of a list of any length, line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual.filter import ANSIToTruecolor
from textual.geometry import Region, Size
from textual.strip import Strip

from odctl import text as words
from odctl.client.models import Job
from odctl.dashboard.columns import GUTTER, Cell, Placed, bar, layout, note_of, state_of
from odctl.dashboard.fitted import fitted
from odctl.dashboard.glyphs import Glyphs
from odctl.dashboard.line_list import LineList, ListHeader
from odctl.dashboard.matched import needles, pieces
from odctl.dashboard.state import State

CARDS_BELOW = 80
"""A screen of fewer columns has two lines for each job."""
CARD = ("name",)
KEPT = 1000
"""Lines that are remembered as they were drawn."""
Shared = tuple[int, int, tuple[Placed[Any], ...], tuple[str, ...]]
"""What is the same for all lines: their width, how far they are scrolled sideways, the columns, what is looked for."""


class JobTable(LineList):
    """Rows are those of `State.window`; what is not known yet is drawn as a blank line."""

    def __init__(self, glyphs: Glyphs, columns: Sequence[str], state: State) -> None:
        self._strips: dict[int, tuple[object, Strip]] = {}
        """What was drawn on each line, and of what: most of what is drawn again is as it was."""
        self._mixes: dict[Style, dict[str, Style]] = {}
        """The styles of cells by name, for each style of lines."""
        super().__init__(glyphs, "jobs")
        self.ids = tuple(columns)
        self.state = state

    @property
    def row_height(self) -> int:
        return 2 if self.app.size.width < CARDS_BELOW else 1

    @property
    def count(self) -> int:
        return self.state.total or 0

    @property
    def row(self) -> int:
        return self.state.row

    @property
    def order(self) -> str:
        return self.state.query.sort

    def show(self, state: State, *, stale: bool = False) -> None:
        """Draws what differs from what was shown."""
        before, self.state = self.state, state
        restyled = stale != self.stale
        self.stale = stale
        if (before.total or 0) != (state.total or 0):
            self.measure()
        if state.follow and state.number is not None and (state.row, state.number) != (before.row, before.number):
            self.reveal(state.row)
        if restyled:
            self.refresh()
            return
        height, first = self.row_height, None
        for row in (*self.rows, -1):
            differs = row >= 0 and self._looks(before, row) != self._looks(state, row)
            if differs and first is None:
                first = row
            elif not differs and first is not None:
                # rows that follow each other are one region
                self.refresh_lines(first * height, ((row if row >= 0 else self.rows.stop) - first) * height)
                first = None

    def lay_out(self, ids: Sequence[str]) -> None:
        """Shows these columns."""
        self.ids = tuple(ids)
        self.measure()
        self.refresh()

    def _looks(self, state: State, row: int) -> tuple[object, ...]:
        job = state.window.at(row)
        number = None if job is None else job.id
        return job, row == state.row, number is not None and number == state.number, number in state.marks

    def measure(self) -> None:
        width = self.room
        if self.row_height > 1:
            self.placed = layout(CARD, width)
            total = width
        else:
            self.placed = layout(self.ids, width)
            total = GUTTER + sum(place.width + 1 for place in self.placed)
        self.post_message(self.LaidOut())
        self.virtual_size = Size(max(width, total), (self.state.total or 0) * self.row_height)

    # Drawing

    def render_lines(self, crop: Region) -> list[Strip]:
        """Without Textual's cache of lines, which would only stand before this one. What is the same for all lines is
        looked up once: a list that changes is drawn forty lines at a time."""
        width, whole, background = self.scrollable_content_region.width, self.size.width, self.background_colors[1]
        left = round(self.scroll_x) if self.row_height == 1 else 0
        of_all = (width, left, self.placed, needles(self.state.query.filter))
        top = round(self.scroll_y)
        strips = [self._strip(top + y, of_all) for y in crop.line_range]
        if crop.right > width:
            place = Segment(" " * (whole - width), self.plain)  # that of the scrollbar
            strips = [Strip([*strip, place], whole) for strip in strips]
        for each in self.get_line_filters():
            if self.stale or not isinstance(each, ANSIToTruecolor):  # only what is dim is anything else
                strips = [strip.apply_filter(each, background) for strip in strips]
        drawn = width if crop.right <= width else whole
        return strips if crop.column_span == (0, drawn) else [strip.crop(*crop.column_span) for strip in strips]

    def render_line(self, y: int) -> Strip:
        return self.render_lines(Region(0, y, self.size.width, 1))[0]

    def _strip(self, line: int, of_all: Shared) -> Strip:
        """A line of the list as wide as it is shown."""
        row = line // self.row_height
        job = self.state.window.at(row)
        base = self._base(row, job)
        marks = job is not None and self._marks(job)
        drawn_of = (job, row < self.count, base, marks, of_all)
        before = self._strips.get(line)
        if before is not None and before[0] == drawn_of:
            return before[1]
        if len(self._strips) > KEPT:
            self._strips.clear()
        width, left = of_all[:2]
        strip = Strip(self._segments(job, line, of_all, base))
        if left or strip.cell_length > width:
            strip = strip.crop_extend(left, left + width, base)
        elif strip.cell_length < width:
            strip = Strip([*strip, Segment(" " * (width - strip.cell_length), base)], width)
        self._strips[line] = (drawn_of, strip)
        return strip

    def _segments(self, job: Job | None, line: int, of_all: Shared, base: Style) -> Sequence[Segment]:
        height, width = self.row_height, of_all[0]
        if job is None:
            rest = f"  {self.glyphs.bar_unknown * 6}" if line // height < self.count else ""
            cells: Iterable[Cell] = [(fitted(rest, width), "dim")]
        elif height > 1:
            cells = self._card(job, line % height, width)
        else:
            cells = self._row(job, of_all[3])
        mixes = self._mixes.get(base)
        if mixes is None:
            mixes = self._mixes[base] = {}
        # every other style is a hundred bytes to the terminal: what looks alike is one segment
        segments, text, style = [], "", base
        for more, name in cells:
            other = mixes.get(name) or self._mixed(base, name)
            if other is style:
                text += more
            else:
                if text:
                    segments.append(Segment(text, style))
                text, style = more, other
        segments.append(Segment(text, style))
        return segments

    def _mixed(self, base: Style, name: str) -> Style:
        mixed = base + self._style(name)
        # one object for all that look alike
        alike = next((other for mixes in self._mixes.values() for other in mixes.values() if other == mixed), mixed)
        self._mixes[base][name] = alike
        return alike

    def notify_style_update(self) -> None:
        self._strips.clear()
        self._mixes.clear()
        super().notify_style_update()

    def _marks(self, job: Job) -> tuple[bool, bool]:
        """Whether it is under the cursor, and whether it is marked."""
        return job.id == self.state.number, job.id in self.state.marks

    def _base(self, row: int, job: Job | None) -> Style:
        style = self.plain
        if row == self.state.row and job is not None and job.id == self.state.number:
            style = style + self._style("cursor" if self.has_focus else "cursor-blurred")
        if self.stale:
            style = style + Style(dim=True)
        return style

    def _row(self, job: Job, found: tuple[str, ...]) -> list[Cell]:
        cells, glyphs, placed = [self._gutter(job)], self.glyphs, self.placed
        note = note_of(job)
        at, end = 0, len(placed)
        while at < end:
            place = placed[at]
            column, width = place.column, place.width
            if note and column.live:
                first = at
                while at < end and placed[at].column.live:
                    at += 1
                width = sum(other.width + 1 for other in placed[first:at]) - 1
                style = "failed" if job.state == "failed" else "note"
                cells.append((fitted(note, width, glyphs.more) + " ", style))
                continue
            text, style = column.cell(job, glyphs, width)
            shown = fitted(text, width, glyphs.more, right=column.right) + " "
            if found and column.id == "name":
                cells += pieces(shown, found, style, "match")
            else:
                cells.append((shown, style))
            at += 1
        return cells

    def _gutter(self, job: Job) -> Cell:
        here, marked = self._marks(job)
        text = (self.glyphs.cursor if here else " ") + (self.glyphs.mark if marked else " ")
        return text, "mark" if here or marked else "dim"

    def _card(self, job: Job, line: int, width: int) -> Iterator[Cell]:
        """Two lines where there is no room for columns: the name, then how it stands."""
        if line == 0:
            yield self._gutter(job)
            shown = f"{job.id} {job.name or job.source}"
            shown = fitted(shown, width - GUTTER, self.glyphs.more)
            yield from pieces(shown, needles(self.state.query.filter), "name", "match")
            return
        text, style = state_of(job, self.glyphs)
        text = fitted(text, 16, self.glyphs.more)
        yield "   " + text, style
        note = note_of(job)
        if note:
            yield fitted(note, width - 19, self.glyphs.more), "note"
        elif width > 40:
            known = job.size is not None or job.state == "completed"
            done, rest = bar(job.progress if known else None, width - 40, self.glyphs)
            yield done + rest, "bar"
            percent = words.percent(job.progress) if known else self.glyphs.dash
            yield f" {percent:>6} {words.rate(job.rate_down):>12}", "dim"


class JobHeader(ListHeader):
    """That of the jobs."""

    def __init__(self, table: JobTable) -> None:
        super().__init__(table, "jobs-header")
