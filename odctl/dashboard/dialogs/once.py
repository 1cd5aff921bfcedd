"""Shows what nobody can be told again, until the person leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Static

from odctl.dashboard.dialogs.base import Dialog
from odctl.text import clean


class Once(Dialog[None]):
    """`text` is what `y` copies. It is kept nowhere else."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy", "Copy", id="dialog.copy"),
        Binding("enter", "leave", "Done", show=False, id="dialog.done"),
    ]

    def __init__(self, title: str, lines: Sequence[str], text: str) -> None:
        super().__init__(title, "y copies it · esc done")
        self.lines = tuple(lines)
        self.text = text

    def parts(self) -> list[Widget]:
        shown = Text("\n".join(map(clean, self.lines)) + "\n\n", overflow="fold")
        shown.append(clean(self.text), "bold")
        return [Static(shown, id="said", markup=False)]

    def action_copy(self) -> None:
        self.dashboard.copy_to_clipboard(self.text)
        self.dashboard.say("copied, if the terminal can; else select it with the mouse")
