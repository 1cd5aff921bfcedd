"""What the parts of the dashboard may ask of the application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from odctl.client.errors import OdctlError
from odctl.dashboard.feed import Work
from odctl.dashboard.glyphs import Glyphs
from odctl.dashboard.messages import Message, Query
from odctl.dashboard.preferences import Preferences
from odctl.dashboard.state import State

if TYPE_CHECKING:
    from textual.screen import Screen

    from odctl.client.daemon import DaemonClient

T = TypeVar("T")

TOLD = 5
"""Failures of a batch that are told one by one."""
CHANGES = frozenset(
    {
        "add", "pause", "cancel", "retry", "remove", "priority", "tags", "select_files", "command",
        "copy_link", "qr", "get", "play",
    }
)  # fmt: skip
"""Actions that change something, or make links: not there when only looking was asked for."""


class Dashboard(Protocol):
    """The application, to panes and dialogs."""

    state: State
    preferences: Preferences

    @property
    def glyphs(self) -> Glyphs: ...

    @property
    def columns(self) -> int:
        """Of the terminal."""

    @property
    def client(self) -> DaemonClient | None:
        """While it is connected."""

    @property
    def place(self) -> str:
        """What the server is called, for people."""

    @property
    def read_only(self) -> bool:
        """Nothing may be changed."""

    def give_up(self) -> None:
        """Does not wait any longer for the connection that is being made."""

    def tell(self, message: Message) -> None:
        """Takes in what was said and shows what came of it."""

    def ask(self, query: Query) -> None:
        """Another list."""

    def want(self, offset: int, limit: int, fields: tuple[str, ...]) -> None:
        """The list is told for these rows from here on."""

    def attend(self, name: str, work: Work | None) -> None:
        """From here on `work` runs over every connection; None: nothing does."""

    def prefer(self, **changes: object) -> None:
        """Keeps what the person likes."""

    def carry_out(
        self, what: str, work: Callable[[DaemonClient], Awaitable[T]], then: Callable[[T], None] | None = None,
        *, opens: bool = False,
    ) -> None:  # fmt: skip
        """Does `work` beside everything else and gives its answer to `then`; says so when it fails. `opens`: `then`
        opens a dialog, which has the keys that are typed meanwhile; it is not opened to whoever did something else."""

    def complain(self, what: str, error: OdctlError) -> None:
        """Says what failed, why, and what to do."""

    def mishap(self, what: str, fault: BaseException) -> None:
        """Tells of an exception that nobody expected, and goes on."""

    def say(self, text: str, severity: str = "information") -> None:
        """A toast. Names from outside are only text in it."""

    async def switch(self, pane: str) -> None:
        """Shows another screen."""

    def open_add(self, text: str = "", *, adding: bool = True) -> None:
        """Opens the dialog that adds, or only looks at, the sources in `text`."""

    def push_screen(self, screen: Screen[Any], callback: Callable[[Any], Any] | None = None) -> Any:
        """Opens a dialog; `callback` gets its answer."""

    def copy_to_clipboard(self, text: str) -> None:
        """Asks the terminal to (OSC 52)."""

    def run_worker(self, work: Any, *, name: str = "", exit_on_error: bool = True) -> Any:
        """Runs a coroutine beside everything else, until the dashboard is left."""

    def suspend(self) -> AbstractContextManager[None]:
        """The terminal is another program's meanwhile."""
