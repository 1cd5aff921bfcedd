"""Asks once before something is done that cannot be taken back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Static

from odctl.dashboard.dialogs.base import Dialog
from odctl.text import clean

NO = "no"


class Choose(Dialog[str]):
    """One of several buttons: `choices` holds their answers and labels. The first button is the one that changes
    nothing; it has the focus, and its answer is None, as that of escape."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,up", "app.focus_previous", "Left", show=False, id="dialog.left"),
        Binding("right,down", "app.focus_next", "Right", show=False, id="dialog.right"),
        Binding("n", "leave", "No", show=False, id="dialog.no"),
    ]

    def __init__(
        self, question: str, lines: Sequence[str], choices: Sequence[tuple[str, str]], *, no: str = "Leave it"
    ) -> None:
        super().__init__(question, "enter chooses · esc leaves it as it is")
        self.lines = tuple(lines)
        self.choices = tuple(choices)
        self.no = no

    def parts(self) -> list[Widget]:
        said = Text("\n".join(clean(line) for line in self.lines), overflow="fold")
        buttons = [Button(Content(clean(label)), id=f"choice-{answer}") for answer, label in self.choices]
        no = Button(Content(clean(self.no)), id=f"choice-{NO}", variant="primary")
        return [VerticalScroll(Static(said, id="said", markup=False), can_focus=False), Horizontal(no, *buttons)]

    def on_mount(self) -> None:
        self.query_one(f"#choice-{NO}", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        answer = (event.button.id or "").removeprefix("choice-")
        self.dismiss(None if answer == NO else answer)


class Confirm(Dialog[bool]):
    """True when the person pressed the button `yes`, or y; else False. The other button has the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *Choose.BINDINGS,
        Binding("y", "yes", "Yes", show=False, id="dialog.yes"),
    ]

    def __init__(self, question: str, lines: Sequence[str], yes: str, *, no: str = "Leave it") -> None:
        super().__init__(question, "enter chooses · y yes · esc no")
        self.lines = tuple(lines)
        self.yes = yes
        self.no = no

    def parts(self) -> list[Widget]:
        said = Text("\n".join(clean(line) for line in self.lines), overflow="fold")
        no = Button(Content(clean(self.no)), id="choice-no", variant="primary")
        yes = Button(Content(clean(self.yes)), id="choice-yes", variant="error")
        return [VerticalScroll(Static(said, id="said", markup=False), can_focus=False), Horizontal(no, yes)]

    def on_mount(self) -> None:
        self.query_one("#choice-no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "choice-yes")

    def action_yes(self) -> None:
        self.dismiss(True)

    def action_leave(self) -> None:
        self.dismiss(False)
