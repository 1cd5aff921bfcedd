"""The list of jobs: draws what is on the screen of a list of any length, line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.segment import Segment
from rich.style import Style
from textual.filter import ANSIToTruecolor
from textual.geometry import Region, Size
from textual.strip import Strip

from odctl import text as words
from odctl.client.models import Job
from odctl.dashboard.columns import GUTTER, Cell, bar, layout, note_of, state_of
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


class JobTable(LineList):
    """Rows are those of `State.window`; what is not known yet is drawn as a blank line."""

    def __init__(self, glyphs: Glyphs, columns: Sequence[str], state: State) -> None:
        self._strips: dict[int, tuple[object, Strip]] = {}
        """What was drawn on each line, and of what: most of what is drawn again is as it was."""
        self._mixes: dict[tuple[Style, str], Style] = {}
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
        """Without Textual's cache of lines, which would only stand before this one."""
        width, background = self.size.width, self.background_colors[1]
        strips = [self.render_line(y) for y in crop.line_range]
        for each in self.get_line_filters():
            if self.stale or not isinstance(each, ANSIToTruecolor):  # only what is dim is anything else
                strips = [strip.apply_filter(each, background) for strip in strips]
        return strips if crop.column_span == (0, width) else [strip.crop(*crop.column_span) for strip in strips]

    def render_line(self, y: int) -> Strip:
        line, width = round(self.scroll_y) + y, self.scrollable_content_region.width
        left = round(self.scroll_x) if self.row_height == 1 else 0
        row = line // self.row_height
        job = self.state.window.at(row)
        base = self._base(row, job)
        marks, found = job is not None and self._marks(job), needles(self.state.query.filter)
        drawn_of = (job, row < self.count, base, width, left, self.placed, marks, found)
        before = self._strips.get(line)
        if before is not None and before[0] == drawn_of:
            return before[1]
        if len(self._strips) > KEPT:
            self._strips.clear()
        strip = Strip(self._segments(job, line, width, base))
        if left or strip.cell_length > width:
            strip = strip.crop_extend(left, left + width, base)
        # what is left of the line, and the place of the scrollbar
        rest = [(width - strip.cell_length, base), (self.size.width - width, self.plain)]
        strip = Strip([*strip, *(Segment(" " * more, style) for more, style in rest if more > 0)], self.size.width)
        self._strips[line] = (drawn_of, strip)
        return strip

    def _segments(self, job: Job | None, line: int, width: int, base: Style) -> Sequence[Segment]:
        height = self.row_height
        if job is None:
            rest = f"  {self.glyphs.bar_unknown * 6}" if line // height < self.count else ""
            pieces: Iterable[Cell] = [(fitted(rest, width), "dim")]
        elif height > 1:
            pieces = self._card(job, line % height, width)
        else:
            pieces = self._row(job)
        # every other style is a hundred bytes to the terminal: what looks alike is one segment
        segments, text, style = [], "", base
        for more, name in pieces:
            other = self._mixed(base, name)
            if other is style:
                text += more
            else:
                if text:
                    segments.append(Segment(text, style))
                text, style = more, other
        return [*segments, Segment(text, style)]

    def _mixed(self, base: Style, name: str) -> Style:
        found = self._mixes.get((base, name))
        if found is None:
            mixed = base + self._style(name)
            # one object for all that look alike
            found = self._mixes[base, name] = next((other for other in self._mixes.values() if other == mixed), mixed)
        return found

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

    def _row(self, job: Job) -> Iterator[Cell]:
        yield from self._gutter(job)
        note = note_of(job)
        at = 0
        while at < len(self.placed):
            place = self.placed[at]
            if note and place.column.live:
                end = at
                while end < len(self.placed) and self.placed[end].column.live:
                    end += 1
                width = sum(other.width + 1 for other in self.placed[at:end]) - 1
                style = "failed" if job.state == "failed" else "note"
                yield fitted(note, width, self.glyphs.more) + " ", style
                at = end
            else:
                text, style = place.column.cell(job, self.glyphs, place.width)
                shown = fitted(text, place.width, self.glyphs.more, right=place.column.right)
                found = needles(self.state.query.filter) if place.column.id == "name" else ()
                yield from pieces(shown + " ", found, style, "match")
                at += 1

    def _gutter(self, job: Job) -> Iterator[Cell]:
        here, marked = self._marks(job)
        text = (self.glyphs.cursor if here else " ") + (self.glyphs.mark if marked else " ")
        yield text, "mark" if here or marked else "dim"

    def _card(self, job: Job, line: int, width: int) -> Iterator[Cell]:
        """Two lines where there is no room for columns: the name, then how it stands."""
        if line == 0:
            yield from self._gutter(job)
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
