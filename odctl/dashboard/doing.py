"""What the dashboard asks of the daemon for a key, and what it says of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from textual.screen import ModalScreen, Screen

from odctl.client.errors import OdctlError
from odctl.dashboard import messages as m
from odctl.dashboard.pace import Paced
from odctl.text import clean

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient
    from odctl.dashboard.feed import Feed
    from odctl.dashboard.messages import Message

T = TypeVar("T")

TYPED_INTO = frozenset({"Input", "TextArea"})
"""Textual's, by name: none is imported before it is needed."""
PATIENCE_SECONDS = 4.0
"""For an answer, before it is said that none came."""


class Doing(Paced):
    """Part of the application."""

    feed: Feed

    def tell(self, message: Message) -> None:
        """Takes in what was said and shows what came of it."""
        raise NotImplementedError

    def carry_out(
        self, what: str, work: Callable[[DaemonClient], Awaitable[T]], then: Callable[[T], None] | None = None,
        *, opens: bool = False,
    ) -> None:  # fmt: skip
        """Does `work` beside everything else and gives its answer to `then`; says so when it fails. `opens`: `then`
        opens a dialog, which has the keys that are typed meanwhile; it is not opened to whoever did something else."""
        client = self.feed.client
        if client is None:
            self.complain(what, OdctlError("offline, nothing was changed", hint="again when the daemon is there"))
            return

        before, release = self.screen, self.hold_keys() if opens else None
        reminder = self.set_timer(PATIENCE_SECONDS, lambda: self._still_waiting(what, opens=opens))

        async def run() -> None:
            try:
                answer = await work(client)
                if opens and self._elsewhere(before):
                    self.say(f"{what}: you went on meanwhile, nothing was done", severity="warning")
                elif then is not None:
                    then(answer)
            except OdctlError as error:
                self.complain(what, error)
            finally:
                reminder.stop()
                if release is not None:
                    release()

        self.run_worker(run(), name=what, exit_on_error=False)

    def _still_waiting(self, what: str, *, opens: bool) -> None:
        """An answer that does not come would be nothing on the screen for as long as a call may take."""
        if opens:
            more = "nothing was changed; esc does not wait for it"
        else:
            more = "it may be done all the same, the list will show; :doctor says what is wrong"
        self.say(f"{what}: still waiting for the daemon – {more}", severity="warning")

    def _elsewhere(self, before: Screen[object]) -> bool:
        """The person is in another dialog by now, or writes something."""
        other = self.screen is not before and isinstance(self.screen, ModalScreen)
        return other or any(kind.__name__ in TYPED_INTO for kind in type(self.focused).__mro__)

    def complain(self, what: str, error: OdctlError) -> None:
        hint = f" – {error.hint}" if error.hint else ""
        self.tell(m.Failed(what=what, error=error, at=datetime.now(UTC)))
        self.say(f"{what}: {error.message}{hint}", severity="error")

    def say(self, text: str, severity: str = "information") -> None:
        """A toast. Names from outside are only text in it; whoever puts them on a line of their own cleans them."""
        shown = "\n".join(clean(line) for line in text.split("\n"))
        self.notify(shown, severity=severity, markup=False)  # type: ignore[arg-type]
