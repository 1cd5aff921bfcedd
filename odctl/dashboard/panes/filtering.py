"""The line in which a filter is typed, below a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from rich.cells import cell_len
from textual.containers import Vertical

from odctl import text as words
from odctl.client.errors import OdctlError
from odctl.dashboard.panes.base import Pane

if TYPE_CHECKING:
    from textual.widgets import Input

TYPING_SECONDS = 0.2
"""After the last key of a filter it is asked for."""


def import_line() -> None:
    """What a filter is typed into: its module takes longer to import than a key may take to its effect."""
    from textual.widgets import Input  # noqa: F401 - for its effect


class Filtering(Pane):
    """The list is told by what is typed, while it is typed."""

    frame: Vertical
    """What the list stands in."""
    FILTER: ClassVar[str] = ""
    """An example of a filter."""

    def filter_text(self) -> str:
        """The filter that the list is told by."""
        raise NotImplementedError

    def filter_by(self, text: str) -> None:
        """Asks for another one."""
        raise NotImplementedError

    def focus_list(self) -> None:
        """The line is closed: the keys are the list's again."""
        raise NotImplementedError

    def action_filter(self) -> None:
        line = self.filter_line()
        if line is None:
            from textual.widgets import Input

            line = Input(self.filter_text(), placeholder=self.FILTER, id="filter", compact=True)
            self.frame.mount(line)
        line.focus()

    def filter_line(self) -> Input | None:
        """While it is open."""
        found = self.query("#filter")
        return cast("Input", found.first()) if found else None

    def refusal(self, error: OdctlError) -> str:
        """What is wrong and what to do; below a caret where the daemon says at which character of the line: it may be
        scrolled, and its characters two columns wide."""
        position, caret, where = error.details.get("position"), "", ""
        if isinstance(position, int) and position >= 0:
            line = self.filter_line()
            text, scrolled = (self.filter_text(), 0) if line is None else (line.value, round(line.scroll_offset.x))
            column = cell_len(text[:position]) - scrolled
            if 0 <= column < self.frame.content_size.width:
                caret = " " * column + "^\n"
            else:
                where = f" (at character {position + 1})"
        hint = f" – {words.clean(error.hint)}" if error.hint else ""
        return caret + words.clean(error.message) + where + hint

    def close_filter(self) -> None:
        self.query("#filter").remove()
        self.focus_list()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "filter":
            typed = event.value
            self.set_timer(TYPING_SECONDS, lambda: self._typed(typed))

    def _typed(self, typed: str) -> None:
        line = self.filter_line()
        if line is not None and line.value == typed != self.filter_text():
            self.filter_by(typed)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "filter":
            self.filter_by(event.value)
            self.close_filter()
