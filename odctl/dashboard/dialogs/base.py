"""What every dialog is: a frame above the screen, with its title, the server that it is about, and a way out."""

from __future__ import annotations

from typing import ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.worker import Worker, WorkerState

from odctl.dashboard.desk import Dashboard
from odctl.text import clean

T = TypeVar("T")


def safe(text: object) -> Content:
    """Outside text for where Textual else reads markup, as in the title of a border."""
    return Content(clean(text))


class Dialog(ModalScreen[T]):
    """Its answer is None when the person leaves it by escape."""

    CSS_PATH = "dialogs.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", id="dialog.leave"),
    ]
    wide: ClassVar[bool] = False
    """It takes nearly the whole screen."""

    def __init__(self, title: str, hint: str = "esc back") -> None:
        super().__init__()
        self.heading = title
        self.hint = hint

    @property
    def dashboard(self) -> Dashboard:
        return cast(Dashboard, self.app)

    def compose(self) -> ComposeResult:
        frame = Vertical(*self.parts(), id="dialog", classes="wide" if self.wide else "")
        frame.border_title = safe(self.heading)
        frame.border_subtitle = safe(" ─ ".join(part for part in (self.hint, self.dashboard.place) if part))
        yield frame

    def parts(self) -> list[Widget]:
        """What is in the frame."""
        return []

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.dashboard.mishap(event.worker.name, event.worker.error)

    def action_leave(self) -> None:
        self.dismiss(None)
