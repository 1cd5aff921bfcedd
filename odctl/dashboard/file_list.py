"""The files of a source, drawn line by line; they come page by page."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from odctl import text as words
from odctl.client.models import File
from odctl.dashboard.fitted import fitted
from odctl.dashboard.glyphs import Glyphs
from odctl.dashboard.line_list import LineList
from odctl.selecting import ALL, compact, matches

INDENT = 2


@dataclass(frozen=True, slots=True)
class Row:
    """A file, or a folder that begins here."""

    file: File | None
    text: str
    depth: int


def tree(files: Sequence[File]) -> list[Row]:
    """By folders, as they come."""
    rows: list[Row] = []
    folder: list[str] = []
    for file in files:
        *parents, name = file.path.split("/")
        same = 0
        while same < min(len(parents), len(folder)) and parents[same] == folder[same]:
            same += 1
        rows += [Row(None, parents[depth] + "/", depth) for depth in range(same, len(parents))]
        folder = parents
        rows.append(Row(file, name, len(parents)))
    return rows


class FileList(LineList):
    """What is toggled is told, not done: the answer of whoever does it is shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "toggle_file", "Select", id="files.toggle"),
        Binding("asterisk", "every", "All", id="files.all"),
    ]

    @dataclass
    class Chosen(Message):
        """Select these, or not."""

        indices: tuple[int, ...]
        wanted: bool

    def __init__(self, glyphs: Glyphs, id: str = "files", *, progress: bool = True) -> None:
        """`progress`: each file shows how far it is."""
        super().__init__(glyphs, id)
        self.progress = progress
        self.files: dict[int, File] = {}
        self.lines: list[Row] = []
        self.filter = ""
        self.cursor = 0
        self.total = 0
        self.name_of = ""
        """What they are the files of, for whoever shows different ones."""
        self._sums: dict[int, tuple[str, int]] = {}
        """Of folders that were drawn, by their line: the box, and how many bytes are below."""

    @property
    def count(self) -> int:
        return len(self.lines)

    @property
    def row(self) -> int:
        return self.cursor

    @property
    def file(self) -> File | None:
        """That under the cursor."""
        return self._now(self.lines[self.cursor]) if self.cursor < len(self.lines) else None

    def clear_files(self) -> None:
        self.files, self.lines, self.cursor, self.total, self._sums = {}, [], 0, 0, {}
        self.measure()
        self.refresh()

    def put(self, files: Sequence[File], total: int) -> None:
        """Takes in a page of them."""
        fresh = any(file.index not in self.files for file in files)
        changed = [file for file in files if self.files.get(file.index) != file]
        self.total = total
        if not changed:
            return
        self.files.update((file.index, file) for file in changed)
        self._sums = {}
        if fresh:
            shown = [file for file in changed if self._fits(file)]
            added = tree(shown) if not self.lines else self._after(shown)
            self.lines += added
            self.measure()
        self.refresh()

    def _now(self, line: Row) -> File | None:
        """The file of a line as it was told last."""
        return None if line.file is None else self.files.get(line.file.index, line.file)

    def _after(self, files: Sequence[File]) -> list[Row]:
        """The lines of these files below those that are there."""
        last = next((line.file for line in reversed(self.lines) if line.file is not None), None)
        if last is None:
            return tree(files)
        rows = tree([last, *files])
        begin = next(at for at, row in enumerate(rows) if row.file is not None) + 1
        return rows[begin:]

    def look_for(self, text: str) -> None:
        """Only files that fit are shown: a glob, or a part of the path."""
        self.filter = text.strip()
        self.lines = tree([file for file in self.files.values() if self._fits(file)])
        self.cursor = 0
        self._sums = {}
        self.measure()
        self.scroll_to(y=0, animate=False, immediate=True)
        self.refresh()

    def _fits(self, file: File) -> bool:
        if not self.filter:
            return True
        return self.filter.lower() in file.path.lower() or matches(file.path, self.filter)

    def measure(self) -> None:
        width = self.scrollable_content_region.width or self.size.width
        self.virtual_size = Size(width, len(self.lines))

    def move_to(self, row: int) -> None:
        old, self.cursor = self.cursor, max(0, min(row, len(self.lines) - 1))
        for line in (old, self.cursor):
            self.refresh_lines(line, 1)
        self.reveal(self.cursor)

    def render_line(self, y: int) -> Strip:
        row, width = round(self.scroll_y) + y, self.scrollable_content_region.width
        base: Style = self.plain
        if row >= len(self.lines):
            return Strip([Segment(" " * width, base)])
        if row == self.cursor:
            base = base + self._style("cursor" if self.has_focus else "cursor-blurred")
        line = self.lines[row]
        indent = " " * min(INDENT * line.depth, max(0, width - 30))
        file = self._now(line)
        box, size = self._folder(row) if file is None else ("[x]" if file.selected else "[ ]", file.size)
        done = "" if not self.progress else f" {words.percent(file.progress) if file is not None else '':>6}"
        tail = f"{words.size(size):>10}{done}"
        note = f"  {file.error}" if file is not None and file.error else ""
        name = fitted(f" {box} {indent}{line.text}{note}", max(1, width - len(tail) - 1), self.glyphs.more)
        known = "name" if file is None else "failed" if file.error else "completed" if file.ready else "name"
        style = self._style(known)
        return Strip([Segment(name, base + style), Segment(f" {tail}", base + self._style("dim"))]).adjust_cell_length(
            width, base
        )

    # Keys

    # it moves its cursor itself and at once: the next key may be there already

    def action_move(self, by: int) -> None:
        self.move_to(self.row + by)

    def action_ends(self, last: bool) -> None:
        self.move_to(self.count - 1 if last else 0)

    # nobody else hears of these: what the list stands in may have a list of its own

    def on_line_list_moved(self, event: LineList.Moved) -> None:
        event.stop()
        self.move_to(event.row)

    def on_line_list_opened(self, event: LineList.Opened) -> None:
        event.stop()
        self.move_to(event.row)
        self.action_toggle_file()

    def on_line_list_scrolled(self, event: LineList.Scrolled) -> None:
        event.stop()

    def on_line_list_laid_out(self, event: LineList.LaidOut) -> None:
        event.stop()

    def action_toggle_file(self) -> None:
        line = self.lines[self.cursor] if self.cursor < len(self.lines) else None
        if line is None:
            return
        here = self._now(line)
        below = [here] if here is not None else self._below(self.cursor)
        if below:
            self.choose(below)
            if here is not None:
                self.move_to(self.cursor + 1)

    def _folder(self, row: int) -> tuple[str, int]:
        """Its box, and how many bytes are below it, as far as they are shown."""
        found = self._sums.get(row)
        if found is None:
            below = self._below(row)
            chosen = sum(file.selected for file in below)
            box = "[ ]" if not chosen else "[x]" if chosen == len(below) else "[-]"
            found = self._sums[row] = box, sum(file.size or 0 for file in below)
        return found

    def _below(self, row: int) -> list[File]:
        """The files of a folder."""
        found: list[File] = []
        for line in self.lines[row + 1 :]:
            if line.depth <= self.lines[row].depth:
                break
            file = self._now(line)
            if file is not None:
                found.append(file)
        return found

    def action_every(self) -> None:
        """All that are shown; when they all are selected already, none but those that are not shown."""
        shown = [file for line in self.lines if (file := self._now(line)) is not None]
        if shown:
            self.choose(shown)

    def choose(self, files: Sequence[File]) -> None:
        """Asks for all of these; for none of them where they all are selected."""
        wanted = not all(file.selected for file in files)
        self.post_message(self.Chosen(tuple(file.index for file in files), wanted))


def edit(indices: Collection[int], files: Sequence[File], *, wanted: bool) -> str:
    """As SelectFiles takes it: `+1-3` adds, `-1-3` drops, `all`."""
    named = compact(frozenset(indices), files)
    return named if wanted and named == ALL else f"{'+' if wanted else '-'}{named}"
