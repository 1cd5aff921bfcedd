"""What every screen of the dashboard is."""

from __future__ import annotations

from typing import ClassVar, cast

from textual import events
from textual.containers import Container

from odctl.dashboard.blank import Blank
from odctl.dashboard.desk import CHANGES, Dashboard
from odctl.dashboard.state import State


class Pane(Blank, Container):
    """One of the screens. It is told of every new state while it is shown."""

    TITLE: ClassVar[str] = ""
    can_focus = True
    """While it has nothing to list, its keys are its own."""

    @property
    def dashboard(self) -> Dashboard:
        return cast(Dashboard, self.app)

    def show(self, state: State) -> None:
        """Draws what differs from what is shown."""

    def entered(self) -> None:
        """It is the one that is shown from here on: take the focus, ask for what is needed."""

    def left(self) -> None:
        """Another one is shown: ask for nothing any more."""

    def on_paste(self, event: events.Paste) -> None:
        """Where nothing is written what is pasted is to be added."""
        event.stop()
        if event.text.strip() and not self.dashboard.read_only:
            self.dashboard.open_add(event.text)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return not (action in CHANGES and self.dashboard.read_only)
