"""What the screens beside Downloads have in common: a list, what is known of the item under the cursor, a filter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from msgspec.structs import replace
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from odctl import text as words
from odctl.client.errors import OdctlError
from odctl.client.models import Failure
from odctl.dashboard import messages as m
from odctl.dashboard.columns import Column
from odctl.dashboard.dialogs.menu import Menu
from odctl.dashboard.line_list import LineList, ListHeader
from odctl.dashboard.listed import Listed
from odctl.dashboard.panes.filtering import Filtering
from odctl.dashboard.row_list import RowList
from odctl.dashboard.showing import show
from odctl.dashboard.state import State

BESIDE_FROM = 110
"""From so many columns on what is known of an item stands beside the list, else below it."""
BELOW_FROM = 18
"""From so many lines on; on fewer `enter` shows it alone."""
LABEL = 11
REVERSE = "reverse"
Fact = tuple[str, object, str]
"""A word, what is to be said, and its style. What is empty is not said."""


def facts(told: Iterator[Fact]) -> Text:
    """One line each; whatever is in them cannot steer the terminal."""
    text = Text(overflow="fold")
    for name, value, style in told:
        if value not in (None, ""):
            text.append(f"{name:<{LABEL}} ", "dim")
            text.append(f"{words.clean(value)}\n", style)
    return text


def failed(told: Failure) -> OdctlError:
    """An error that came as a value, as what `Dashboard.complain` takes."""
    return OdctlError(told.message, code=told.code, hint=told.hint, details=told.details)


class ListPane(Filtering):
    LIST: ClassVar[str] = ""
    """Its name in `State.lists`."""
    COLUMNS: ClassVar[Sequence[Column[Any]]] = ()
    FILTER: ClassVar[str] = ""
    """An example of a filter; empty: there is none."""
    CHANGES: ClassVar[frozenset[str]] = frozenset()
    """Actions that change something: for admins, and not when only looking was asked for."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", id="list.filter", key_display="/"),
        Binding("s", "sort", "Sort", show=False, id="list.sort"),
        Binding("S", "reverse", "Reverse", show=False, id="list.reverse"),
        Binding("enter", "alone", "Details", id="list.details"),
        Binding("escape", "back", "Back", show=False, id="app.back"),
    ]

    def compose(self) -> ComposeResult:
        listed = self.dashboard.state.lists[self.LIST]
        self.table = RowList(self.dashboard.glyphs, self.COLUMNS, listed, f"{self.LIST}-list")
        self.header = ListHeader(self.table, f"{self.LIST}-header")
        self.frame = Vertical(self.header, self.table, classes="frame")
        self.about = Static("", classes="about-text", markup=False)
        self._told = Text()
        self._said: Static | None = None
        with Container(classes="parts"):
            yield self.frame
            yield VerticalScroll(self.about, classes="about")

    def entered(self) -> None:
        self.table.focus()

    @property
    def list_name(self) -> str:
        """Of the list that is shown."""
        return self.LIST

    @property
    def listed(self) -> Listed:
        return self.dashboard.state.lists[self.list_name]

    @property
    def current(self) -> Any:
        """The item under the cursor, or None."""
        return self.listed.current

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in self.CHANGES and (self.dashboard.read_only or not self.dashboard.state.admin):
            return False
        if action == "filter":
            return bool(self.FILTER)
        if action in ("sort", "reverse"):
            return any(column.sort for column in self.COLUMNS)
        return super().check_action(action, parameters)

    # Of each screen

    def title(self, state: State, listed: Listed) -> str:
        return ""

    def nothing(self, state: State, listed: Listed) -> str:
        """What stands in the place of a list without rows that was told."""
        return f"Nothing matches {words.clean(listed.query.filter)}.\nesc clears the filter."

    def facts(self, state: State, item: Any) -> Text:
        """All that is known of the item under the cursor."""
        return Text()

    def asked(self) -> None:
        """Another filter, order, or part of the list is wanted."""

    # Drawing

    def show(self, state: State) -> None:
        listed = state.lists[self.list_name]
        before = self.table.listed
        self.table.show(listed, nothing=self._nothing(state, listed), stale=not state.live)
        if before.query != listed.query:
            self.header.refresh()
        title = Content(" ─ ".join(filter(None, (words.clean(self.title(state, listed)), self.filter_title(listed)))))
        if self.frame.border_title != title:
            self.frame.border_title = title
        current = listed.current
        told = Text() if current is None else self.facts(state, current)
        if told != self._told:
            self._told = told
            self.about.update(told)
        self.set_class(not state.live, "stale")
        self._say("" if listed.refused is None or not listed.total else self.refusal(listed.refused))

    def filter_title(self, listed: Listed) -> str:
        """The filter, as it stands in the frame."""
        return "/" + words.clean(listed.query.filter) if listed.query.filter else ""

    def _nothing(self, state: State, listed: Listed) -> str:
        if listed.refused is not None:
            return self.refusal(listed.refused)
        if listed.total is None:
            error = state.connection.error
            return "" if error is None else self.refusal(error)
        return self.nothing(state, listed)

    def _say(self, text: str) -> None:
        """What is wrong with the filter, below the list."""
        if self._said is None and text:
            self._said = Static(classes="wrong", markup=False)
            self.frame.mount(self._said)
        if self._said is not None:
            self._said.update(Text(text))
            show(self._said, bool(text))

    def on_resize(self) -> None:
        size = self.app.size
        self.set_class(size.width < BESIDE_FROM, "below")
        self.set_class(size.width < BESIDE_FROM and size.height < BELOW_FROM, "small")

    def on_line_list_laid_out(self) -> None:
        self.header.refresh()

    # The cursor

    def on_line_list_moved(self, message: LineList.Moved) -> None:
        self.move_to(message.row)

    def on_line_list_opened(self, message: LineList.Opened) -> None:
        self.move_to(message.row)
        self.action_alone()

    def move_to(self, row: int) -> None:
        self.dashboard.tell(m.ListMoved(list=self.list_name, row=row))
        self.table.reveal(self.listed.row)

    def action_alone(self) -> None:
        """What is known of the item, in the place of the list; the list again."""
        alone = self.toggle_class("alone").has_class("alone")
        (self.query_one(".about") if alone else self.table).focus()

    # Filter and order

    def ask(self, query: m.Query) -> None:
        """Another filter or order."""
        self.dashboard.tell(m.ListAsked(list=self.list_name, query=query))
        self.table.scroll_to(y=0, animate=False, immediate=True)
        self.asked()

    def on_list_header_chosen(self, message: ListHeader.Chosen) -> None:
        """By this field; the other way round when it is sorted by it already."""
        order = self.listed.query.sort
        self.sort_by(f"!{message.field}" if order == message.field else message.field)

    def action_sort(self) -> None:
        now = self.listed.query.sort.removeprefix("!")
        fields = {column.sort: column.title.lower() for column in self.COLUMNS if column.sort}
        choices = [("r", "the other way round", REVERSE)]
        for field, title in fields.items():
            key = next((letter for letter in field if letter not in {known for known, _, _ in choices}), "")
            choices.append((key, title + ("  now" if field == now else ""), field))

        def chosen(field: str | None) -> None:
            if field == REVERSE:
                self.action_reverse()
            elif field is not None:
                self.sort_by(field)

        self.dashboard.push_screen(Menu("Sort by", choices), chosen)

    def action_reverse(self) -> None:
        order = self.listed.query.sort
        if order:
            self.sort_by(order[1:] if order.startswith("!") else f"!{order}")

    def sort_by(self, order: str) -> None:
        self.ask(replace(self.listed.query, sort=order))

    def focus_list(self) -> None:
        self.table.focus()

    def filter_text(self) -> str:
        return self.listed.query.filter

    def filter_by(self, text: str) -> None:
        self.ask(replace(self.listed.query, filter=text.strip()))

    def action_back(self) -> None:
        """One step out of whatever it is: the filter's line, the details, the filter."""
        if self.filter_line() is not None:
            self.close_filter()
        elif self.has_class("alone"):
            self.action_alone()
        elif self.listed.query.filter:
            self.filter_by("")
