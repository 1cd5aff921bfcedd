"""Downloads: the list, its filter, and the details of the job under the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from msgspec.structs import replace
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from odctl import text as words
from odctl.dashboard import actions, taking
from odctl.dashboard import messages as m
from odctl.dashboard.actions import JobActions
from odctl.dashboard.columns import MEDIUM, WIDE, fields_of
from odctl.dashboard.filter_tabs import FilterTabs
from odctl.dashboard.first import MARGIN, WIDE_FROM
from odctl.dashboard.framed import Framed
from odctl.dashboard.job_table import JobHeader, JobTable
from odctl.dashboard.line_list import LineList, ListHeader
from odctl.dashboard.panes import kept
from odctl.dashboard.panes.kept import KeptFilters
from odctl.dashboard.showing import show
from odctl.dashboard.state import Phase, State
from odctl.dashboard.taking import Taking

if TYPE_CHECKING:
    from odctl.dashboard.details import Details

OF_JOBS = frozenset(
    binding.action.partition("(")[0]
    for binding in (*actions.BINDINGS, *taking.BINDINGS)
) | {"mark", "mark_range", "mark_all", "details", "files", "log", "sort", "reverse", "match"}
"""Actions that mean nothing where no job is listed."""


class ListFrame(Framed, Vertical):
    """The list with what is above and below it."""


class JobsPane(JobActions, Taking, KeptFilters):
    TITLE = "Downloads"
    frame: ListFrame
    FILTER: ClassVar[str] = "state=active rate_down>1M name~linux"
    BINDINGS: ClassVar[list[BindingType]] = [
        *actions.BINDINGS,
        *taking.BINDINGS,
        Binding("space", "mark", "Mark", id="jobs.mark"),
        Binding("v", "mark_range", "Mark range", show=False, id="jobs.mark-range"),
        Binding("asterisk", "mark_all", "Mark all", show=False, id="jobs.mark-all"),
        Binding("backslash", "clear_marks", "Clear marks", show=False, id="jobs.clear-marks"),
        Binding("slash", "filter", "Filter", id="jobs.filter", key_display="/"),
        *kept.BINDINGS,
        Binding("enter", "details", "Details", id="jobs.details"),
        Binding("plus", "wider(1)", "Wider details", show=False, id="details.wider", key_display="+"),
        Binding("underscore", "wider(-1)", "Narrower details", show=False, id="details.narrower", key_display="_"),
        Binding("f", "files", "Files", show=False, id="jobs.files"),
        Binding("L", "log", "Log", show=False, id="jobs.log"),
        Binding("s", "sort", "Sort", id="jobs.sort"),
        Binding("c", "columns", "Columns", show=False, id="jobs.columns"),
        Binding("S", "reverse", "Reverse", show=False, id="jobs.reverse"),
        Binding("F", "follow", "Follow", show=False, id="jobs.follow"),
        Binding("z", "freeze", "Freeze", show=False, id="jobs.freeze"),
        Binding("escape", "back", "Back", show=False, id="app.back"),
    ]

    def compose(self) -> ComposeResult:
        dashboard = self.dashboard
        self.table = JobTable(dashboard.glyphs, self._columns(), dashboard.state)
        self.tabs = FilterTabs(dashboard.preferences.filters)
        self.tabs.display = bool(dashboard.preferences.filters)
        self.frame = ListFrame(self.tabs, JobHeader(self.table), self.table, id="list")
        self._said: dict[str, Static] = {}
        self.getting: dict[int, str] = {}
        self.folder = ""
        self._titled = ""
        self.details: Details | None = None
        self._alone = False
        """The details stand in the place of the list. Not kept: a dashboard starts with its list."""
        self._wide = dashboard.columns >= WIDE_FROM
        self._fields: tuple[str, ...] = ()
        """What the list is told of each job."""
        self._asked = range(0)
        """The rows that were asked for last."""
        # the details come after the first picture, to where there is room for them already
        self.frame.set_class(self._mode() == 1, "beside")
        yield self.frame

    def entered(self) -> None:
        (self.table if self.table.display else self).focus()
        self._want()
        # the list first: the details are not part of the first picture
        self.call_after_refresh(self._place_details)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in OF_JOBS and not self.dashboard.state.total:
            return None  # not now; the help has it all the same
        return super().check_action(action, parameters)

    # The details

    def _mode(self) -> int:
        """0 hidden, 1 beside the list, 2 alone."""
        if self._alone:
            return 2
        return self.dashboard.preferences.pane if self.dashboard.columns >= WIDE_FROM else 0

    def _place_details(self) -> None:
        mode = self._mode()
        if self.details is None:
            if not mode or not self.is_attached:
                return  # or the dashboard is left before it was drawn
            from odctl.dashboard.details import Details

            self.details = Details(self.dashboard)
            self.mount(self.details)
        show(self.details, mode > 0)
        show(self.frame, mode < 2)
        self.frame.set_class(mode == 1, "beside")
        self.details.set_class(mode == 2, "alone")
        self.details.show_job(self.dashboard.state)

    def _in_details(self) -> bool:
        return self.details is not None and self.details.has_focus_within

    def _open_details(self, tab: str = "") -> None:
        from odctl.dashboard.details import TABS

        if not self._mode():
            if self.dashboard.columns >= WIDE_FROM:
                self.dashboard.prefer(pane=1)
            else:
                self._alone = True
            self._place_details()
        details = self.details
        assert details is not None

        def opened() -> None:
            details.open(TABS.index(tab) if tab else details.at)

        self.call_after_refresh(opened)

    def action_details(self) -> None:
        self._open_details()

    def action_files(self) -> None:
        self._open_details("Files")

    def action_log(self) -> None:
        self._open_details("Log")

    def action_wider(self, by: int) -> None:
        """Hidden, beside the list where there is room, alone; no further at either end."""
        widths = (0, 1, 2) if self.dashboard.columns >= WIDE_FROM else (0, 2)
        at = max(0, min(widths.index(self._mode()) + by, len(widths) - 1))
        self._alone = widths[at] == 2
        if len(widths) == 3 and not self._alone:
            self.dashboard.prefer(pane=widths[at])
        self._place_details()
        if self._mode() == 2 and self.details is not None:
            self.call_after_refresh(self.details.take_focus)
        elif self._mode() == 0:
            self.table.focus()

    def chosen_file(self) -> int | None:
        if not self._in_details() or self.details is None or self.details.tab != "Files":
            return None
        file = self.details.files.file
        return None if file is None else file.index

    def on_line_list_opened(self, message: LineList.Opened) -> None:
        self.dashboard.tell(m.MovedTo(row=message.row))
        self._open_details()

    def _columns(self) -> tuple[str, ...]:
        chosen = self.dashboard.preferences.columns
        narrow = self.dashboard.columns < WIDE_FROM - 20
        return MEDIUM if chosen == WIDE and narrow else chosen

    # Drawing

    def show(self, state: State) -> None:
        before = self.table.state
        if self.details is not None:
            self.details.show_job(state)
        self.table.show(state, stale=not state.live)
        self.show_tabs(state)
        if before.query != state.query:
            self.query_one(JobHeader).refresh()
        if bool(before.total) != bool(state.total):
            self.screen.refresh_bindings()
        title = self._title(state)
        if self._titled != title:
            self._titled = title
            self.frame.head(Content(title))
        nothing = self._nothing(state)
        self._say("empty", nothing, after=self.table)
        self._show_list(not nothing)
        self._say("filter-error", "" if state.refused is None else self.refusal(state.refused))

    def _show_list(self, shown: bool) -> None:
        """What is hidden loses the focus: the pane takes it, or its keys would do nothing, and gives it back."""
        if self.table.display == shown:
            return
        focused = self.screen.focused
        self.table.display = shown
        if focused in (None, self, self.table):
            (self.table if shown else self).focus()

    def _say(self, name: str, text: str, *, after: Widget | None = None) -> None:
        """A part that is there only while it has something to say; most never have."""
        found = self._said.get(name)
        if found is None and text:
            found = self._said[name] = Static(id=name, markup=False)
            self.frame.mount(found, after=after)
        if found is not None:
            if text:
                found.update(Text(text, justify="center" if after is not None else "left"))
            show(found, bool(text))

    def _title(self, state: State) -> str:
        parts = ["Downloads"]
        if state.query.filter:
            parts.append("/" + words.clean(state.query.filter))
        if state.total is not None:
            everything = ((state.status or {}).get("jobs") or {}).get("total")
            of = f" of {everything}" if everything is not None and state.query.filter else ""
            parts.append(f"{state.total}{of}")
        if state.marks:
            size = sum(size or 0 for size in state.marks.values())
            parts.append(f"{len(state.marks)} marked · {words.size(size)}")
        if state.follow:
            parts.append("following")
        return " ─ ".join(parts)

    def _nothing(self, state: State) -> str:
        """What stands in the place of a list that has no rows."""
        if state.total is None:
            error = state.connection.error
            if error is None:
                return self._waiting(state) if state.connection.slow else ""
            start = "s  start it      " if getattr(error, "absent", False) else ""
            keys = f"{start}r  try again now      C  another server      q  quit"
            lines = [error.message, error.why, error.hint, "", keys]
            return "\n".join(words.clean(line) if line else "" for line in lines if line is not None)
        if state.total:
            return ""
        if state.query.filter:
            everything = ((state.status or {}).get("jobs") or {}).get("total", "?")
            shown = words.clean(state.query.filter)
            return f"No job matches {shown}.\nesc clears the filter ({everything} jobs in all)."
        from odctl.dashboard.top_bar import free_disk

        free = free_disk(state.status)
        room = f"      {words.size(free)} free" if free is not None else ""
        where = words.clean(state.connection.where)
        return f"Nothing downloading. Press a to add, or:  odctl add URL\n\n{where}{room}"

    def _waiting(self, state: State) -> str:
        """Where rows will stand, and how not to wait for them."""
        rows = [self.dashboard.glyphs.bar_unknown * length for length in (30, 24, 28, 20, 26)]
        return "\n".join((*rows, "", f"connecting to {words.clean(state.connection.where)}", "", "esc  do not wait"))

    def show_getting(self) -> None:
        said = [f"getting {number} {how}" for number, how in self.getting.items()]
        self.frame.foot(Content(" ─ ".join(said)))

    # The window

    def _want(self) -> None:
        """Asks for the rows that are shown and those around them."""
        if self.table.size.height == 0:
            return  # it has no place yet
        rows = self.table.rows
        margin = int(len(rows) * MARGIN) + 1
        start = max(0, rows.start - margin)
        self._fields = fields_of(self.table.placed)
        self._asked = range(start, start + min(200, rows.stop + margin - start))
        self.dashboard.want(start, len(self._asked), self._fields)

    def on_line_list_scrolled(self) -> None:
        window, rows = self.table.state.window, self.table.rows
        total = self.table.state.total or 0
        # another window only when the last one is nearly left: every one costs the daemon a page
        near = len(rows) // 4
        known = self._asked or range(window.offset, window.offset + len(window.jobs))
        above = known.start > 0 and rows.start - near < known.start
        below = known.stop < total and rows.stop + near > known.stop
        if above or below or not window.jobs:
            self._want()

    def on_line_list_laid_out(self) -> None:
        self.query_one(JobHeader).refresh()
        if fields_of(self.table.placed) != self._fields:
            self._want()  # other columns need to be told more

    def on_resize(self) -> None:
        wide = self.dashboard.columns >= WIDE_FROM
        if wide and not self._wide:
            self._alone = False
        self._wide = wide
        self.call_after_refresh(self._place_details)
        self.table.lay_out(self._columns())
        self._want()

    # The cursor

    def on_line_list_moved(self, message: LineList.Moved) -> None:
        self.move_to(message.row)

    def move_to(self, row: int) -> None:
        self.dashboard.tell(m.MovedTo(row=row))
        self.table.reveal(self.dashboard.state.row)

    def in_sight(self, what: str) -> bool:
        """A key never meets a job that is not lit: the list may have been scrolled away from under the cursor."""
        state, details = self.dashboard.state, self.details
        named = details is not None and details.shown and details.job is not None and details.job.id == state.number
        if state.number is None or named or state.row in self.table.rows:
            return True
        self.table.reveal(state.row)
        self.dashboard.say(f"{what}: the cursor was out of sight; here it is", severity="warning")
        return False

    def on_list_header_chosen(self, message: ListHeader.Chosen) -> None:
        self.sort_by(message.field)

    def sort_by(self, field: str) -> None:
        """By this field; the other way round when it is sorted by it already."""
        query = self.dashboard.state.query
        self._ask_sorted(f"!{field}" if query.sort == field else field)

    def _ask_sorted(self, order: str) -> None:
        self.dashboard.prefer(sort=order)
        self._ask(replace(self.dashboard.state.query, sort=order))

    def _ask(self, query: m.Query) -> None:
        self.dashboard.ask(query)
        self.table.scroll_to(y=0, animate=False, immediate=True)
        self._want()

    def action_sort(self) -> None:
        from odctl.dashboard.dialogs.sort import DEFAULT, sort_menu

        def answered(field: str | None) -> None:
            if field == "reverse":
                self.action_reverse()
            elif field == DEFAULT:
                self._ask_sorted("")
            elif field:
                self.sort_by(field)

        self.dashboard.push_screen(sort_menu(self.dashboard.state.query.sort), answered)

    def action_columns(self) -> None:
        from odctl.dashboard.dialogs.columns import ChooseColumns

        def answered(ids: tuple[str, ...] | None) -> None:
            if ids:
                self.dashboard.prefer(columns=ids)
                self.table.lay_out(self._columns())
                self._want()

        self.dashboard.push_screen(ChooseColumns(self.dashboard.preferences.columns), answered)

    def action_reverse(self) -> None:
        order = self.dashboard.state.query.sort
        if not order:
            self.dashboard.say("s chooses what to sort by first")
            return
        self._ask_sorted(order[1:] if order.startswith("!") else f"!{order}")

    def action_mark(self) -> None:
        if not self.in_sight("mark"):
            return
        self.dashboard.tell(m.MarkToggled())
        self.table.reveal(self.dashboard.state.row)

    def action_mark_range(self) -> None:
        self.dashboard.tell(m.RangeMarked())

    def action_clear_marks(self) -> None:
        self.dashboard.tell(m.MarksCleared())

    def action_follow(self) -> None:
        self.dashboard.tell(m.FollowToggled())

    def action_freeze(self) -> None:
        self.dashboard.tell(m.FreezeToggled())

    # The filter

    def focus_list(self) -> None:
        self.table.focus()

    def filter_text(self) -> str:
        return self.dashboard.state.query.filter

    def filter_by(self, text: str) -> None:
        self._ask(replace(self.dashboard.state.query, filter=text.strip()))

    def action_back(self) -> None:
        """One step out of whatever it is: the details, the filter's line, the marks, the filter; the connecting."""
        if self.details is not None and (self._in_details() or self._alone):
            if self.details.back():
                return
            self._alone = False
            self._place_details()
            self.table.focus()
        elif self.filter_line() is not None:
            self.close_filter()
        elif self.dashboard.state.marks:
            self.action_clear_marks()
        elif self.dashboard.state.query.filter:
            self.filter_by("")
        elif self.dashboard.state.connection.phase is Phase.CONNECTING:
            self.dashboard.give_up()
