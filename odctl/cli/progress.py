"""Progress on stderr: bars on a terminal, else a line per tenth or half minute."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from odctl.cli.output import Output, dumps
from odctl.cli.show import why
from odctl.client.errors import UsageError
from odctl.client.models import Job, rfc3339
from odctl.text import clean, duration, percent, rate, size

if TYPE_CHECKING:
    from odctl.cli.bars import Bars
    from odctl.client.fetch import Task

MODES = ("auto", "bar", "plain", "jsonl", "none")
ProgressOpt = Annotated[str, typer.Option("--progress", metavar="HOW", help="auto, bar, plain, jsonl or none.")]
PLAIN_SECONDS = 30.0
JSONL_SECONDS = 1.0
"""Between two lines about the same file."""
FIELDS = ("ts", "job", "state", "progress", "rate_down", "eta_s")


class Progress:
    """Shows jobs as they change. `to_stdout`: JSON lines are this command's data, not its chatter."""

    def __init__(self, output: Output, mode: str, *, to_stdout: bool = False) -> None:
        self.mode = "jsonl" if mode == "auto" and to_stdout else chosen_mode(output, mode)
        self._output = output
        self._to_stdout = to_stdout
        self._bars: Bars | None = None
        self._told: dict[int, tuple[str, int, float]] = {}

    def show(self, jobs: Iterable[Job], changed: Iterable[Job]) -> None:
        if self.mode == "bar":
            self._draw(list(jobs))
        elif self.mode == "plain":
            for job in changed:
                self._plain(job)
        elif self.mode == "jsonl":
            for job in changed:
                self._json(job)

    def say(self, text: str) -> None:
        """A line between the bars."""
        if self._bars is None:
            self._output.note(text)
        else:
            self._bars.say(text)

    def clear(self) -> None:
        """Takes the bars away."""
        if self._bars is not None:
            self._bars.clear()
            self._bars = None

    def _json(self, job: Job) -> None:
        record = {
            "ts": rfc3339(datetime.now(UTC)), "job": job.id, "state": job.state, "progress": job.progress,
            "rate_down": job.rate_down, "eta_s": job.eta_s,
        }  # fmt: skip
        if self._to_stdout:
            self._output.stream(record, FIELDS)
            return
        self._output.err.write(dumps(record) + "\n")
        self._output.err.flush()

    def _plain(self, job: Job) -> None:
        now, tenth = time.monotonic(), int(job.progress * 10)
        state, told, when = self._told.get(job.id, ("", -1, 0.0))
        what = job.engine_state or job.shown_state
        if (what, tenth) == (state, told) and now - when < PLAIN_SECONDS:
            return
        self._told[job.id] = (what, tenth, now)
        self._output.err.write(self._words(job) + "\n")
        self._output.err.flush()

    def _words(self, job: Job) -> str:
        state = job.engine_state if job.state == "active" and job.engine_state else job.shown_state
        figures = f"{percent(job.progress):>6}  {clean(state)}"
        if job.rate_down:
            figures += f"  {rate(job.rate_down)}"
        if job.eta_s is not None and not job.over:
            figures += f"  {duration(job.eta_s)} left"
        if job.state == "queued" and why(job):
            figures += f"  {clean(why(job))}"
        return f"{job.id}  {figures}  {clean(job.name)}"

    def _draw(self, jobs: list[Job]) -> None:
        from odctl.cli.bars import Bar, Bars

        self._bars = self._bars or Bars(self._output)
        running_first = sorted(jobs, key=lambda job: job.over)
        self._bars.draw({job.id: Bar(text=self._words(job), done=job.progress, total=1.0) for job in running_first})


class FetchProgress:
    """Shows files as they arrive: a bar for each that is under way, below that of all of them; else a line in half a
    minute, or JSON lines."""

    def __init__(self, output: Output, mode: str, tasks: Sequence[Task]) -> None:
        self._mode, self._output, self._tasks = chosen_mode(output, mode), output, tasks
        sizes = [task.link.size for task in tasks]
        self._total = None if None in sizes else sum(size for size in sizes if size is not None)
        self._bars: Bars | None = None
        self._began = self._told = time.monotonic()
        self._first = -1
        self._lines: dict[int, tuple[int, float]] = {}

    def show(self) -> None:
        done = sum(task.done for task in self._tasks)
        self._first = done if self._first < 0 else self._first
        if self._mode == "bar":
            self._draw(done)
        elif self._mode == "jsonl":
            self._json()
        elif self._mode == "plain" and time.monotonic() - self._told >= PLAIN_SECONDS:
            self._plain(done)

    def clear(self) -> None:
        """Takes the bars away; tells the last of each file where lines are read by programs."""
        if self._mode == "jsonl":
            self._json(last=True)
        if self._bars is not None:
            self._bars.clear()
            self._bars = None

    def _draw(self, done: int) -> None:
        from odctl.cli.bars import Bar, Bars

        self._bars = self._bars or Bars(self._output, transfers=True)
        bars = {
            at: Bar(text=clean(task.relative), done=task.done, total=task.link.size)
            for at, task in enumerate(self._tasks)
            if task.done and task.done != task.link.size
        }
        if len(self._tasks) != 1:
            over = sum(task.done == task.link.size for task in self._tasks)
            bars = {-1: Bar(text=f"{over} of {len(self._tasks)} files", done=done, total=self._total), **bars}
        self._bars.draw(bars)

    def _plain(self, done: int) -> None:
        now = self._told = time.monotonic()
        speed = (done - self._first) / max(now - self._began, 0.001)
        left = "" if self._total is None or not speed else f"  {duration((self._total - done) / speed)} left"
        part = "" if not self._total else f"{percent(done / self._total)}  "
        self._output.err.write(f"{part}{size(done)} of {size(self._total)}  {rate(speed)}{left}\n")
        self._output.err.flush()

    def _json(self, *, last: bool = False) -> None:
        now = time.monotonic()
        for at, task in enumerate(self._tasks):
            done, when = self._lines.get(at, (0, self._began))
            if task.done == done or (now - when < JSONL_SECONDS and not last):
                continue
            self._lines[at] = (task.done, now)
            record = {
                "ts": rfc3339(datetime.now(UTC)), "job": task.link.job, "index": task.link.index,
                "path": task.relative, "done": task.done, "size": task.link.size,
                "rate_down": int(max(0, task.done - done) / max(now - when, 0.001)),
            }  # fmt: skip
            self._output.err.write(dumps(record) + "\n")
        self._output.err.flush()


def chosen_mode(output: Output, mode: str) -> str:
    """What `auto` means here; bars need a terminal that can go back a line. Raises UsageError."""
    check_mode(mode)
    if mode != "auto":
        return mode
    if output.quiet or output.is_json:
        return "none"
    return "bar" if output.err.isatty() and os.environ.get("TERM", "dumb") != "dumb" else "plain"


def check_mode(mode: str) -> None:
    """Raises UsageError for a --progress that there is not."""
    if mode not in MODES:
        raise UsageError(f"--progress: '{clean(mode)}' is none of " + ", ".join(MODES))
