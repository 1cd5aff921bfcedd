"""Asks for one line of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.text import Text
from textual.widget import Widget
from textual.widgets import Input, Static

from odctl.client.errors import OdctlError
from odctl.dashboard.dialogs.base import Dialog
from odctl.text import clean


class Ask(Dialog[str]):
    """`check` raises OdctlError for what is no answer; that is shown, and the line stays."""

    def __init__(
        self, title: str, lines: Sequence[str] = (), *, value: str = "", placeholder: str = "",
        check: Callable[[str], object] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(title, "enter does it · esc back")
        self.lines = tuple(lines)
        self.value = value
        self.placeholder = placeholder
        self.check = check

    def parts(self) -> list[Widget]:
        said = Text("\n".join(clean(line) for line in self.lines), overflow="fold")
        return [
            Static(said, id="said", markup=False),
            Input(clean(self.value) if self.value else "", placeholder=self.placeholder, id="answer", compact=True),
            Static("", id="wrong", markup=False),
        ]

    def on_mount(self) -> None:
        self.query_one("#answer", Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            if self.check is not None:
                self.check(event.value)
        except OdctlError as error:
            hint = f" – {clean(error.hint)}" if error.hint else ""
            self.query_one("#wrong", Static).update(Text(clean(error.message) + hint))
        else:
            self.dismiss(event.value)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
