"""The list of jobs: draws what is on the screen of a list of any length, line by line.

Textual's DataTable needs 100 ms for a cell that changes among 10,000 rows; this draws the lines that changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from odctl.client.models import Job
from odctl.dashboard.columns import GUTTER, STYLES, Placed, bar, layout, note_of, state_of
from odctl.dashboard.fitted import fitted
from odctl.dashboard.glyphs import Glyphs
from odctl.dashboard.state import State

CARDS_BELOW = 80
"""A screen of fewer columns has two lines for each job."""
CARD = ("name",)


class JobTable(ScrollView, can_focus=True):
    """Rows are those of `State.window`; what is not known yet is drawn as a blank line."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"jobs--{name}" for name in STYLES), "jobs--cursor", "jobs--cursor-blurred", "jobs--header", "jobs--match",
    }  # fmt: skip
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "Down", show=False, id="list.down"),
        Binding("up,k", "move(-1)", "Up", show=False, id="list.up"),
        Binding("pagedown", "page(1.0)", "Page down", show=False, id="list.page-down"),
        Binding("pageup", "page(-1.0)", "Page up", show=False, id="list.page-up"),
        Binding("ctrl+d", "page(0.5)", "Half a page down", show=False, id="list.half-down"),
        Binding("ctrl+u", "page(-0.5)", "Half a page up", show=False, id="list.half-up"),
        Binding("g,home", "ends(False)", "First", show=False, id="list.first"),
        Binding("G,end", "ends(True)", "Last", show=False, id="list.last"),
        Binding("left", "sideways(-8)", "Left", show=False, id="list.left"),
        Binding("right", "sideways(8)", "Right", show=False, id="list.right"),
    ]

    @dataclass
    class Moved(Message):
        """The person moved the cursor to this row."""

        row: int

    @dataclass
    class Opened(Message):
        """The person wants to see the job of this row: a double click."""

        row: int

    class Scrolled(Message):
        """Other rows are on the screen."""

    class LaidOut(Message):
        """The columns have other widths."""

    def __init__(self, glyphs: Glyphs, columns: Sequence[str], state: State) -> None:
        super().__init__(id="jobs")
        self.glyphs = glyphs
        self.ids = tuple(columns)
        self.placed: tuple[Placed, ...] = ()
        self.state = state
        self.stale = False
        self._styles: dict[str, Style] = {}

    @property
    def row_height(self) -> int:
        return 2 if self.app.size.width < CARDS_BELOW else 1

    @property
    def rows(self) -> range:
        """Those on the screen."""
        top = round(self.scroll_y) // self.row_height
        return range(top, top + max(1, self.scrollable_content_region.height // self.row_height))

    def show(self, state: State, *, stale: bool = False) -> None:
        """Draws what differs from what was shown."""
        before, self.state = self.state, state
        restyled = stale != self.stale
        self.stale = stale
        if (before.total or 0) != (state.total or 0):
            self._resize()
        if state.follow and state.number is not None and (state.row, state.number) != (before.row, before.number):
            self.reveal(state.row)
        if restyled:
            self.refresh()
            return
        height = self.row_height
        for row in self.rows:
            if self._looks(before, row) != self._looks(state, row):
                self.refresh_lines(row * height, height)

    def lay_out(self, ids: Sequence[str]) -> None:
        """Shows these columns."""
        self.ids = tuple(ids)
        self._resize()
        self.refresh()

    def reveal(self, row: int) -> None:
        """Scrolls so that this row is on the screen."""
        rows, height = self.rows, self.row_height
        if row < rows.start:
            self.scroll_to(y=row * height, animate=False, immediate=True)
        elif row >= rows.stop:
            self.scroll_to(y=(row - len(rows) + 1) * height, animate=False, immediate=True)

    def _looks(self, state: State, row: int) -> tuple[object, ...]:
        job = state.window.at(row)
        number = None if job is None else job.id
        return job, row == state.row, number is not None and number == state.number, number in state.marks

    def _resize(self) -> None:
        width = self.scrollable_content_region.width or self.app.size.width
        if self.row_height > 1:
            self.placed = layout(CARD, width)
            total = width
        else:
            self.placed = layout(self.ids, width)
            total = GUTTER + sum(place.width + 1 for place in self.placed)
        self.post_message(self.LaidOut())
        self.virtual_size = Size(max(width, total), (self.state.total or 0) * self.row_height)

    # Drawing

    def render_line(self, y: int) -> Strip:
        height = self.row_height
        line = round(self.scroll_y) + y
        row = line // height
        width = self.scrollable_content_region.width
        job = self.state.window.at(row)
        if job is None:
            known = row < (self.state.total or 0)
            rest = f"  {self.glyphs.bar_unknown * 6}" if known else ""
            segments = [Segment(fitted(rest, width), self._style("dim"))]
        elif height > 1:
            segments = list(self._card(job, line % height, width))
        else:
            segments = list(self._row(job))
        base = self._base(row, job)
        strip = Strip(Segment(text, base + style if style else base) for text, style, _ in segments)
        left = round(self.scroll_x) if height == 1 else 0
        return strip.crop_extend(left, left + width, base)

    def _base(self, row: int, job: Job | None) -> Style:
        style = self.rich_style
        if row == self.state.row and job is not None and job.id == self.state.number:
            style = style + self._style("cursor" if self.has_focus else "cursor-blurred")
        if self.stale:
            style = style + Style(dim=True)
        return style

    def _row(self, job: Job) -> Iterator[Segment]:
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
                yield Segment(fitted(note, width, self.glyphs.more), self._style(style))
                at = end
            else:
                text, style = place.column.cell(job, self.glyphs, place.width)
                shown = fitted(text, place.width, self.glyphs.more, right=place.column.right)
                yield Segment(shown, self._style(style))
                at += 1
            yield Segment(" ")

    def _gutter(self, job: Job) -> Iterator[Segment]:
        here = job.id == self.state.number
        yield Segment(self.glyphs.cursor if here else " ", self._style("mark"))
        yield Segment(self.glyphs.mark if job.id in self.state.marks else " ", self._style("mark"))

    def _card(self, job: Job, line: int, width: int) -> Iterator[Segment]:
        """Two lines where there is no room for columns: the name, then how it stands."""
        if line == 0:
            yield from self._gutter(job)
            shown = f"{job.id} {job.name or job.source}"
            yield Segment(fitted(shown, width - GUTTER, self.glyphs.more), self._style("name"))
            return
        text, style = state_of(job, self.glyphs)
        text = fitted(text, 16, self.glyphs.more)
        yield Segment("   " + text, self._style(style))
        note = note_of(job)
        if note:
            yield Segment(fitted(note, width - 19, self.glyphs.more), self._style("note"))
        elif width > 40:
            done, rest = bar(job.progress if job.size is not None else None, width - 40, self.glyphs)
            yield Segment(done + rest, self._style("bar"))
            from odctl import text as words

            yield Segment(f" {words.percent(job.progress):>6} {words.rate(job.rate_down):>12}", self._style("dim"))

    def _style(self, name: str) -> Style:
        found = self._styles.get(name)
        if found is None:
            found = self._styles[name] = self.get_component_rich_style(f"jobs--{name}", partial=True)
        return found

    def notify_style_update(self) -> None:
        self._styles = {}
        super().notify_style_update()

    # What the person does

    def on_resize(self, event: events.Resize) -> None:
        self._resize()
        self.post_message(self.Scrolled())

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.post_message(self.Scrolled())

    def action_move(self, by: int) -> None:
        self.post_message(self.Moved(self.state.row + by))

    def action_page(self, pages: float) -> None:
        self.action_move(round(pages * len(self.rows)))

    def action_ends(self, last: bool) -> None:
        self.post_message(self.Moved((self.state.total or 1) - 1 if last else 0))

    def action_sideways(self, by: int) -> None:
        self.scroll_relative(x=by, animate=False)

    def _row_at(self, event: events.MouseEvent) -> int:
        return (round(self.scroll_y) + event.y) // self.row_height

    def on_click(self, event: events.Click) -> None:
        row = self._row_at(event)
        if row < (self.state.total or 0):
            self.post_message(self.Opened(row) if event.chain == 2 else self.Moved(row))


class JobHeader(Widget):
    """The titles of the columns; a click sorts by one. It has no scroll of its own: it shows what the table shows."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"jobs--header", "jobs--sorted"}

    @dataclass
    class Chosen(Message):
        """Sort by this field."""

        field: str

    def __init__(self, table: JobTable) -> None:
        super().__init__(id="jobs-header")
        self.table = table

    def render_line(self, y: int) -> Strip:
        keys = [key for key in self.table.state.query.sort.split(",") if key]
        first = keys[0] if keys else ""
        field, descending = first.removeprefix("!"), first.startswith("!")
        glyphs = self.table.glyphs
        plain = self.get_component_rich_style("jobs--header")
        sorted_by = self.get_component_rich_style("jobs--sorted")
        segments = [Segment(" " * GUTTER, plain)]
        for place in self.table.placed:
            title, here = place.column.title, bool(field) and place.column.sort == field
            if here:
                title += glyphs.sort_down if descending else glyphs.sort_up
            shown = fitted(title, place.width, glyphs.more, right=place.column.right)
            segments += [Segment(shown, sorted_by if here else plain), Segment(" ", plain)]
        left, width = round(self.table.scroll_x), self.size.width
        return Strip(segments).crop_extend(left, left + width, plain)

    def on_click(self, event: events.Click) -> None:
        at = event.x + round(self.table.scroll_x) - GUTTER
        for place in self.table.placed:
            if 0 <= at <= place.width and place.column.sort:
                self.post_message(self.Chosen(place.column.sort))
                return
            at -= place.width + 1
