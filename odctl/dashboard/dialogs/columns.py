"""Which columns the list of jobs has, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from odctl.dashboard.columns import COLUMNS, WIDE
from odctl.dashboard.dialogs.base import Dialog


class ChooseColumns(Dialog[tuple[str, ...]]):
    """Its answer is the columns' ids in their order."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "Down", show=False, id="dialog.down"),
        Binding("up,k", "move(-1)", "Up", show=False, id="dialog.up"),
        Binding("J,shift+down", "carry(1)", "Later", show=False, id="dialog.later"),
        Binding("K,shift+up", "carry(-1)", "Earlier", show=False, id="dialog.earlier"),
        Binding("space", "show", "Show", show=False, id="dialog.toggle"),
        Binding("0", "reset", "Reset", show=False, id="dialog.reset"),
        Binding("enter", "take", "Take", show=False, id="dialog.take"),
    ]

    def __init__(self, shown: Sequence[str]) -> None:
        super().__init__("Columns", "space shows · J K move · 0 as at first · enter takes")
        self._fill(shown)

    def _fill(self, shown: Sequence[str]) -> None:
        self.order = [*shown, *(column.id for column in COLUMNS if column.id not in shown)]
        self.shown = set(shown)
        self.at = 0

    def parts(self) -> list[Widget]:
        return [VerticalScroll(Static(self._drawn(), id="said", markup=False), can_focus=False)]

    def _drawn(self) -> Text:
        titles = {column.id: column.title for column in COLUMNS}
        text = Text(no_wrap=True)
        for at, name in enumerate(self.order):
            sign = "x" if name in self.shown else " "
            text.append(f" [{sign}] {titles[name]:<10} \n", "reverse" if at == self.at else "")
        return text

    def _show(self) -> None:
        self.query_one("#said", Static).update(self._drawn())
        self.query_one(VerticalScroll).scroll_to(y=max(0, self.at - 8), animate=False)

    def action_move(self, by: int) -> None:
        self.at = (self.at + by) % len(self.order)
        self._show()

    def action_carry(self, by: int) -> None:
        other = self.at + by
        if 0 <= other < len(self.order):
            self.order[self.at], self.order[other] = self.order[other], self.order[self.at]
            self.at = other
            self._show()

    def action_show(self) -> None:
        self.shown ^= {self.order[self.at]}
        self._show()

    def action_reset(self) -> None:
        self._fill(WIDE)
        self._show()

    def action_take(self) -> None:
        self.dismiss(tuple(name for name in self.order if name in self.shown) or WIDE)
