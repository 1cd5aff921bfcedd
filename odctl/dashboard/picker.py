"""Picks files in a tree that takes the whole terminal: an application of its own, of the dashboard's list of files.

It needs no daemon: what is picked from was told before.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from msgspec.structs import replace
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.filter import LineFilter
from textual.message import Message
from textual.widgets import Input

from odctl import text as words
from odctl.client.models import File
from odctl.dashboard.ascii_only import AsciiOnly
from odctl.dashboard.file_list import FileList
from odctl.dashboard.glyphs import ASCII, Glyphs, of_terminal
from odctl.dashboard.key_bar import KeyBar

INTERRUPTED = 130


class Tree(FileList):
    """Does itself, and at once, what it is asked to: there may be a next key already."""

    class Changed(Message):
        """Other files are picked."""

    def choose(self, files: Sequence[File]) -> None:
        wanted = not all(file.selected for file in files)
        self.put([replace(file, selected=wanted) for file in files], self.total)
        self.post_message(self.Changed())


class Picker(App[frozenset[int]]):
    """Its answer is the numbers of the files that are wanted, at least one; None when the person left it."""

    CSS_PATH = "dashboard.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "accept", "OK", id="picker.accept", key_display="enter"),
        Binding("q", "leave", "Quit", id="picker.leave"),
        # first of all: what comes behind it is for the line that it opens, however fast it comes
        Binding("slash,f", "filter", "Filter", id="picker.filter", key_display="/", priority=True),
        Binding("escape", "one_back", show=False, id="picker.back"),
        Binding("ctrl+q", "leave", show=False, id="picker.leave-too"),
        Binding("ctrl+c", "interrupt", show=False, priority=True, id="picker.interrupt"),
    ]

    def __init__(self, files: Sequence[File], name: str, glyphs: Glyphs) -> None:
        """Those of `files` that are selected are picked at the beginning."""
        super().__init__()
        self.files = sorted(files, key=lambda file: file.path.split("/"))
        self.heading = name
        self._glyphs = glyphs
        self._shown = False

    def compose(self) -> ComposeResult:
        line = Input(placeholder="*.mkv or a part of the path", id="file-filter", compact=True)
        line.display = False
        frame = Vertical(Tree(self._glyphs, progress=False), line, id="list")
        frame.border_title = Content(words.clean(self.heading[:200]))
        yield frame
        yield KeyBar()

    def get_line_filters(self) -> Sequence[LineFilter]:
        known = super().get_line_filters()
        return known if self._glyphs is not ASCII else [*known, AsciiOnly()]

    def on_load(self) -> None:
        if not self.is_headless:
            # else the terminal would be left as it is while we draw on it
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self.exit, None, 128 + number)

    def on_mount(self) -> None:
        self.listed.put(self.files, len(self.files))
        self.screen.set_focus(self.listed)
        self._shown = True
        self._tell()
        self.refresh_bindings()

    @property
    def listed(self) -> Tree:
        return self.query_one(Tree)

    @property
    def filter_line(self) -> Input:
        return self.query_one("#file-filter", Input)

    @property
    def picked(self) -> list[File]:
        return [file for file in self.listed.files.values() if file.selected]

    def _tell(self) -> None:
        """How much was picked, and how much there is."""
        known, picked = self.listed, self.picked
        total = words.size(sum(file.size or 0 for file in self.files))
        told = f"{len(picked)} of {len(self.files)} files ─ {words.size(sum(f.size or 0 for f in picked))} of {total}"
        found = f"/{known.filter} ─ " if known.filter else ""
        self.query_one("#list").border_subtitle = Content(words.clean(found + told))

    def on_tree_changed(self) -> None:
        self._tell()

    # The filter

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self._shown:
            return action in ("leave", "interrupt")  # somebody typed ahead
        return action != "filter" or not self.filter_line.has_focus

    def action_filter(self) -> None:
        self.filter_line.display = True
        self.screen.set_focus(self.filter_line)

    def _close_filter(self) -> None:
        self.screen.set_focus(self.listed)
        self.filter_line.display = False

    def on_input_changed(self, event: Input.Changed) -> None:
        self.listed.look_for(event.value)
        self._tell()

    def on_input_submitted(self) -> None:
        self._close_filter()

    def action_one_back(self) -> None:
        """One step out: of the filter, then of everything."""
        if not self.filter_line.display and not self.listed.filter:
            self.action_leave()
            return
        self.filter_line.value = ""
        self._close_filter()

    # The end

    def action_accept(self) -> None:
        picked = self.picked
        if picked:
            self.exit(frozenset(file.index for file in picked))
        else:
            self.notify("pick at least one file; q leaves and adds nothing", severity="warning", markup=False)

    def action_leave(self) -> None:
        self.exit(None)

    def action_interrupt(self) -> None:
        self.exit(None, return_code=INTERRUPTED)


def pick(files: Sequence[File], name: str) -> tuple[frozenset[int] | None, int]:
    """On this terminal. What was picked, None when nothing is to be done; and the exit code if it was ended from
    outside, as by Ctrl-C."""
    app = Picker(files, name, of_terminal())
    with _sized_by_stderr():
        picked = app.run()
    return picked, app.return_code or 0


@contextmanager
def _sized_by_stderr() -> Iterator[None]:
    """Textual draws on stderr, and asks stdout how large it is, which need not be a terminal."""
    before = sys.__stdout__
    if before is None or not before.isatty():
        sys.__stdout__ = sys.__stderr__  # type: ignore[misc]
    try:
        yield
    finally:
        sys.__stdout__ = before  # type: ignore[misc]
