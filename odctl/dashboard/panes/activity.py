"""Activity: what happens, the daemon's log, and what failed here."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec.structs import replace
from rich.text import Text
from textual.binding import Binding, BindingType

from odctl import text as words
from odctl.dashboard import activity
from odctl.dashboard.listed import Listed
from odctl.dashboard.panes.listing import ListPane
from odctl.dashboard.row_list import RowList
from odctl.dashboard.state import State
from odctl.dashboard.tailing import EventTail, LogTail

TITLES = {"events": "Events", "log": "Log", "failures": "What failed here"}
LEVELS = ("", "info", "warn", "error")
"""Of the log; the first one is everything."""
NOTHING = {
    "events": "Nothing happened in the last hour.\nWhat happens from now on is shown here.",
    "log": "The log has no such line.",
    "failures": "Nothing that was asked for here has failed.",
}


class ActivityPane(ListPane):
    TITLE = "Activity"
    LIST = "events"
    COLUMNS = activity.EVENTS
    FILTER = "job.* cache.hit node.offline"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "view('events')", "Events", id="activity.events"),
        Binding("l", "view('log')", "Log", id="activity.log"),
        Binding("x", "view('failures')", "Failed here", id="activity.failures"),
        Binding("v", "level", "Level", id="activity.level"),
    ]
    view = "events"

    def on_mount(self) -> None:
        tell = self.dashboard.tell
        self.tails = {
            "events": EventTail(query=lambda: self.dashboard.state.lists["events"].query, post=tell),
            "log": LogTail(query=lambda: self.dashboard.state.lists["log"].query, post=tell),
        }

    @property
    def list_name(self) -> str:
        return self.view

    def entered(self) -> None:
        super().entered()
        self._attend()

    def left(self) -> None:
        for name in self.tails:
            self.dashboard.attend(name, None)

    def _attend(self) -> None:
        """Follows what is shown, and nothing else."""
        for name, tail in self.tails.items():
            self.dashboard.attend(name, tail if name == self.view else None)

    def show(self, state: State) -> None:
        hello = state.connection.hello
        if self.view == "log" and hello is not None and not state.admin:
            self.call_later(self.action_view, "events")  # it is for admins, which one was
        super().show(state)

    def asked(self) -> None:
        self.tails[self.view].again()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "filter":
            return self.view == "events"
        if action == "level":
            return self.view == "log"
        if action == "view":
            return parameters[0] != self.view and (parameters[0] != "log" or self.dashboard.state.admin)
        return super().check_action(action, parameters)

    # Drawing

    def title(self, state: State, listed: Listed) -> str:
        parts = ["Activity", TITLES[self.view]]
        if self.view == "log" and listed.query.filter:
            parts.append(f"{listed.query.filter} and worse")
        if listed.total:
            parts.append(str(listed.total))
            parts.append("following" if listed.tail else f"{listed.total - listed.row - 1} below, G follows")
        return " ─ ".join(parts)

    def filter_title(self, listed: Listed) -> str:
        return super().filter_title(listed) if self.view == "events" else ""

    def nothing(self, state: State, listed: Listed) -> str:
        if self.view == "events" and listed.query.filter:
            return f"No event of {words.clean(listed.query.filter)} in the last hour.\nesc clears the filter."
        return NOTHING[self.view]

    def facts(self, state: State, item: Any) -> Text:
        return activity.in_full(item)

    # Keys

    def action_view(self, view: str) -> None:
        self.view = view
        listed = self.listed
        self.table.show_columns(activity.COLUMNS[view])
        self._attend()
        self.show(self.dashboard.state)
        self.table.reveal(listed.row)
        self.refresh_bindings()

    def action_level(self) -> None:
        now = self.listed.query.filter
        level = LEVELS[(LEVELS.index(now) + 1) % len(LEVELS)] if now in LEVELS else ""
        self.ask(replace(self.listed.query, filter=level))

    def action_back(self) -> None:
        if self.view == "log" and not self.has_class("alone"):
            return  # its level is no filter that one leaves
        super().action_back()

    def on_row_list_loosened(self, message: RowList.Loosened) -> None:
        """Who scrolls up reads: what comes does not move the list any more."""
        if self.listed.tail:
            self.move_to(self.table.rows.start)
