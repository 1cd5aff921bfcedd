"""A which-key menu: one key, one choice."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from odctl.dashboard.dialogs.base import Dialog
from odctl.text import clean


class Menu(Dialog[str]):
    """`choices`: key, words, and answer. Up, down and enter do, too."""

    def __init__(self, title: str, choices: Sequence[tuple[str, str, str]]) -> None:
        super().__init__(title, "a key chooses · esc back")
        self.choices = tuple(choices)
        self.at = 0

    def parts(self) -> list[Widget]:
        return [VerticalScroll(Static(self._drawn(), id="said", markup=False), can_focus=False)]

    def _drawn(self) -> Text:
        shown = Text(no_wrap=True, overflow="ellipsis")
        for at, (key, said, _) in enumerate(self.choices):
            style = "reverse" if at == self.at else ""
            shown.append(f" {key} ", "bold")
            shown.append(f" {clean(said)} ", style)
            shown.append("\n")
        return shown

    def on_key(self, event: events.Key) -> None:
        if event.key in ("up", "down") and self.choices:
            self.at = (self.at + (1 if event.key == "down" else -1)) % len(self.choices)
            self.query_one("#said", Static).update(self._drawn())
        elif event.key == "enter" and self.choices:
            self.dismiss(self.choices[self.at][2])
        else:
            for key, _, answer in self.choices:
                if event.character == key:
                    event.stop()
                    self.dismiss(answer)
                    return
            return
        event.stop()
