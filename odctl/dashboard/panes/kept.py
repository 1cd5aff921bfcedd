"""Filters that are kept as tabs, the one for problems, and the way through what a filter finds."""

from __future__ import annotations

from textual.binding import Binding

from odctl import text as words
from odctl.dashboard.filter_tabs import FilterTabs, after
from odctl.dashboard.panes.filtering import Filtering
from odctl.dashboard.showing import show
from odctl.dashboard.state import State

PROBLEMS = "problems"
"""A word of the daemon's filters: what failed, and what waits for something that is broken."""
BINDINGS: tuple[Binding, ...] = (
    Binding("exclamation_mark", "problems", "Problems", show=False, id="jobs.problems"),
    Binding(
        "less_than_sign", "tab(-1)", "Kept filter before", show=False, id="jobs.filter-before", key_display="<"
    ),
    Binding("greater_than_sign", "tab(1)", "Next kept filter", show=False, id="jobs.filter-next", key_display=">"),
    Binding("M", "keep_filter", "Keep this filter", show=False, id="jobs.keep-filter"),
    Binding("n", "match(1)", "Next match", show=False, id="jobs.next-match"),
    Binding("N", "match(-1)", "Match before", show=False, id="jobs.match-before"),
)


class KeptFilters(Filtering):
    """Part of the pane that lists jobs."""

    tabs: FilterTabs

    def move_to(self, row: int) -> None:
        """The cursor goes to this row."""
        raise NotImplementedError

    def action_problems(self) -> None:
        self.filter_by("" if self.dashboard.state.query.filter == PROBLEMS else PROBLEMS)

    def action_match(self, by: int) -> None:
        """Round and round what the filter finds."""
        state = self.dashboard.state
        if not state.query.filter:
            self.dashboard.say("n goes through what a filter finds: / takes one")
        elif state.total:
            self.move_to((state.row + by) % state.total)

    def show_tabs(self, state: State) -> None:
        filters = self.dashboard.preferences.filters
        show(self.tabs, bool(filters))
        self.tabs.show(filters, state.query.filter)

    def on_filter_tabs_chosen(self, message: FilterTabs.Chosen) -> None:
        self.filter_by(message.filter)

    def action_tab(self, by: int) -> None:
        filters = self.dashboard.preferences.filters
        if filters:
            self.filter_by(after(filters, self.dashboard.state.query.filter, by))
        else:
            self.dashboard.say("no filter is kept: / takes one, M keeps it")

    def action_keep_filter(self) -> None:
        """Under a name, as a tab; one that is kept already is forgotten."""
        text, filters = self.dashboard.state.query.filter, dict(self.dashboard.preferences.filters)
        name = next((name for name, kept in filters.items() if kept == text), "")
        if not text:
            self.dashboard.say("there is no filter to keep: / takes one")
        elif name:
            del filters[name]
            self._kept(filters, f"{words.clean(name)} is not kept any more")
        else:
            self._ask_name(text, filters)

    def _ask_name(self, text: str, filters: dict[str, str]) -> None:
        from odctl.dashboard.dialogs.ask import Ask

        def answered(name: str | None) -> None:
            if name and name.strip():
                self._kept({**filters, name.strip(): text}, "< and > go through the filters that are kept")

        lines = [f"{words.clean(text)}", "is kept as a tab above the list; M forgets it again."]
        self.dashboard.push_screen(Ask("Keep this filter", lines, placeholder="a name"), answered)

    def _kept(self, filters: dict[str, str], said: str) -> None:
        self.dashboard.prefer(filters=filters)
        self.show_tabs(self.dashboard.state)
        self.dashboard.say(said)
