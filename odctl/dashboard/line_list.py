"""A list of any length, drawn line by line: what every list of the dashboard does, whatever it is a list of.

Textual's DataTable needs 100 ms for a cell that changes among 10,000 rows; this draws the lines that changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from odctl.dashboard.columns import GUTTER, Placed
from odctl.dashboard.fitted import fitted
from odctl.dashboard.glyphs import Glyphs
from odctl.dashboard.palette import style_of


class LineList(ScrollView, can_focus=True):
    """Has a cursor, scrolls, and says what the person does; which rows there are, and their lines, are of its kinds."""

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

    class Moved(Message):
        """The person moved the cursor to this row."""

        def __init__(self, row: int) -> None:
            super().__init__()
            self.row = row

    class Opened(Message):
        """The person wants to see what is in this row: a double click."""

        def __init__(self, row: int) -> None:
            super().__init__()
            self.row = row

    class Scrolled(Message):
        """Other rows are on the screen."""

    class LaidOut(Message):
        """The columns have other widths."""

    def __init__(self, glyphs: Glyphs, id: str) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self.placed: tuple[Placed[Any], ...] = ()
        self.stale = False
        self._styles: dict[str, Style] = {}

    @property
    def row_height(self) -> int:
        return 1

    @property
    def count(self) -> int:
        """So many rows."""
        return 0

    @property
    def row(self) -> int:
        """That of the cursor."""
        return 0

    @property
    def order(self) -> str:
        """As `--sort` takes it."""
        return ""

    @property
    def rows(self) -> range:
        """Those on the screen."""
        top = round(self.scroll_y) // self.row_height
        return range(top, top + max(1, self.scrollable_content_region.height // self.row_height))

    def reveal(self, row: int) -> None:
        """Scrolls so that this row is on the screen."""
        rows, height = self.rows, self.row_height
        if row < rows.start:
            self.scroll_to(y=row * height, animate=False, immediate=True)
        elif row >= rows.stop:
            self.scroll_to(y=(row - len(rows) + 1) * height, animate=False, immediate=True)

    @property
    def room(self) -> int:
        """Columns for a line. A list that is hidden has what its frame has: its header is there all the same."""
        frame = self.parent
        return (
            self.scrollable_content_region.width
            or (frame.content_size.width if isinstance(frame, Widget) else 0)
            or self.app.size.width
        )

    def measure(self) -> None:
        """Gives the columns their widths and the list its size."""

    def _style(self, name: str) -> Style:
        found = self._styles.get(name)
        if found is None:
            found = self._styles[name] = style_of(name, self.app.theme_variables, self.background_colors[1])
        return found

    @property
    def plain(self) -> Style:
        """Of what has no style of its own; to find it out takes longer than to draw a line."""
        found = self._styles.get("")
        if found is None:
            found = self._styles[""] = self.rich_style
        return found

    def notify_style_update(self) -> None:
        self._styles = {}
        super().notify_style_update()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.refresh_lines(self.row * self.row_height, self.row_height)  # the cursor looks otherwise

    # What the person does

    def on_resize(self, event: events.Resize) -> None:
        self.measure()
        self.post_message(self.Scrolled())

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.post_message(self.Scrolled())

    def action_move(self, by: int) -> None:
        self.post_message(self.Moved(self.row + by))

    def action_page(self, pages: float) -> None:
        self.action_move(round(pages * len(self.rows)))

    def action_ends(self, last: bool) -> None:
        self.post_message(self.Moved((self.count or 1) - 1 if last else 0))

    def action_sideways(self, by: int) -> None:
        self.scroll_relative(x=by, animate=False)

    def on_click(self, event: events.Click) -> None:
        row = (round(self.scroll_y) + event.y) // self.row_height
        if row < self.count:
            self.post_message(self.Opened(row) if event.chain == 2 else self.Moved(row))


class ListHeader(Widget):
    """The titles of the columns; a click sorts by one. It has no scroll of its own: it shows what the list shows."""

    class Chosen(Message):
        """Sort by this field."""

        def __init__(self, field: str) -> None:
            super().__init__()
            self.field = field

    def __init__(self, table: LineList, id: str) -> None:
        super().__init__(id=id)
        self.table = table

    def render_line(self, y: int) -> Strip:
        keys = [key for key in self.table.order.split(",") if key]
        first = keys[0] if keys else ""
        field, descending = first.removeprefix("!"), first.startswith("!")
        glyphs = self.table.glyphs
        variables, below = self.app.theme_variables, self.background_colors[1]
        plain = self.rich_style + style_of("header", variables, below)
        sorted_by = self.rich_style + style_of("sorted", variables, below)
        segments = [Segment(" " * GUTTER, plain)]
        placed: Sequence[Placed[Any]] = self.table.placed
        for place in placed:
            title, here = place.column.title, bool(field) and place.column.sort == field
            if here:
                title += glyphs.sort_down if descending else glyphs.sort_up
            shown = fitted(title, place.width, glyphs.more, right=place.column.right)
            segments += [Segment(shown, sorted_by if here else plain), Segment(" ", plain)]
        left, width = round(self.table.scroll_x), self.size.width
        return Strip(segments).crop_extend(left, left + width, plain)

    def on_resize(self) -> None:
        if not self.table.display:
            self.table.measure()  # what is hidden is not told that its room has changed

    def on_click(self, event: events.Click) -> None:
        at = event.x + round(self.table.scroll_x) - GUTTER
        for place in self.table.placed:
            if 0 <= at <= place.width and place.column.sort:
                self.post_message(self.Chosen(place.column.sort))
                return
            at -= place.width + 1
