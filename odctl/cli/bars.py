"""Bars on stderr, drawn by rich. Imported when the first one is shown: a quarter of a second that nobody else pays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from odctl.cli.output import Output
from odctl.text import rate

BAR_WIDTH = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """`total` None: nobody knows how much it is going to be."""

    text: str
    done: float
    total: float | None


class _Speed(ProgressColumn):
    """In the units of everything else; rich's own column counts in thousands."""

    def render(self, task: Task) -> Text:
        return Text(rate(task.finished_speed or task.speed), style="progress.data.speed")


class Bars:
    """A bar for each key, in the order of the last `draw`. Nothing is drawn by itself, and `clear` leaves nothing."""

    def __init__(self, output: Output, *, transfers: bool = False) -> None:
        """`transfers`: `done` and `total` are bytes, of which rich tells amount, speed and time left."""
        text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
        figures: Sequence[ProgressColumn] = ()
        if transfers:
            figures = (DownloadColumn(binary_units=True), _Speed(), TimeRemainingColumn(compact=True))
        self._console = Console(
            file=output.err, force_terminal=True, no_color=not output.color, markup=False, highlight=False, emoji=False
        )
        self._progress = Progress(
            BarColumn(BAR_WIDTH), *figures, text, console=self._console, auto_refresh=False, transient=True,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._tasks: dict[int, TaskID] = {}
        self._drawn = False

    def draw(self, bars: Mapping[int, Bar]) -> None:
        """At most as many as there are lines: the first ones."""
        shown = list(bars)[: max(1, self._console.height - 2)]
        for key in [known for known in self._tasks if known not in shown]:
            self._progress.remove_task(self._tasks.pop(key))
        for key in shown:
            bar = bars[key]
            if key not in self._tasks:
                self._tasks[key] = self._progress.add_task(bar.text, total=bar.total, completed=int(bar.done))
            self._progress.update(self._tasks[key], description=bar.text, total=bar.total, completed=bar.done)
        if not self._drawn:
            self._progress.start()
            self._drawn = True
        self._progress.refresh()

    def say(self, text: str) -> None:
        """A line above the bars."""
        self._console.print(Text(text), soft_wrap=True)

    def clear(self) -> None:
        if self._drawn:
            self._progress.stop()
            self._drawn = False
