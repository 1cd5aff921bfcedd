"""What the list of jobs shows of a job, column by column. Pure: text and the names of styles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from odctl import text
from odctl.client.models import Job
from odctl.dashboard.glyphs import Glyphs
from odctl.reasons import in_local_time

T = TypeVar("T")
Cell = tuple[str, str]
"""Text, and the name of its style."""

DIM, NAME = "dim", "name"
STATES = ("active", "queued", "paused", "completed", "failed", "cancelled")


class Column(Struct, Generic[T], frozen=True, kw_only=True):
    id: str
    title: str
    width: int
    """0: what the others leave."""
    cell: Callable[[T, Glyphs, int], Cell]
    """Of an item, in so many columns."""
    right: bool = False
    sort: str = ""
    """The field of the list's order; empty: it cannot be sorted by."""
    fields: tuple[str, ...] = ()
    """Of a job: what it needs to know."""
    live: bool = False
    """It tells how a download goes: of one that does not, what it waits for, or what is wrong, stands in its place."""


def state_of(job: Job, glyphs: Glyphs) -> Cell:
    """The sign, the word and the style of a job's state."""
    shown = job.shown_state
    if shown == "active":
        word = job.engine_state or "active"
        sign = glyphs.metadata if word == "metadata" else glyphs.active
        return f"{sign} {'active' if word == 'downloading' else word}", "active"
    if shown == "queued":
        place = f" #{job.position}" if job.position is not None else ""
        return f"{glyphs.queued} queued{place}", "queued"
    return f"{getattr(glyphs, shown, '?')} {shown}", shown if shown in STATES else DIM


def note_of(job: Job) -> str:
    """What it waits for, or why it failed; empty when there is nothing to say."""
    if job.error is not None and job.state == "failed":
        return job.error.message
    if job.reason is not None and job.shown_state in ("queued", "active"):  # a paused one says so itself
        return in_local_time(job.reason)
    return ""


def bar(fraction: float | None, width: int, glyphs: Glyphs) -> tuple[str, str]:
    """What is done and what is left of a bar."""
    if fraction is None:
        return "", glyphs.bar_unknown * width
    halves = int(max(0.0, min(1.0, fraction)) * width * 2)
    done = glyphs.bar * (halves // 2) + (glyphs.bar_half if halves % 2 else "")
    return done, glyphs.bar_rest * (width - len(done))


def _progress(job: Job, glyphs: Glyphs, width: int) -> Cell:
    known = job.size is not None or job.state == "completed"
    done, rest = bar(job.progress if known else None, max(1, width - 5), glyphs)
    percent = f"{min(99, int(job.progress * 100)) if job.progress < 1 else 100:>3}%" if known else "   " + glyphs.dash
    return f"{done}{rest} {percent}", "bar"


def _percent(job: Job, glyphs: Glyphs, width: int) -> Cell:
    known = job.size is not None or job.state == "completed"
    return (text.percent(job.progress) if known else glyphs.dash), "bar"


def _rate(value: int, glyphs: Glyphs) -> Cell:
    return (text.size(value) if value else glyphs.dash), DIM if not value else "active"


def _short(value: int | None, glyphs: Glyphs) -> Cell:
    return (glyphs.dash if value is None else str(value)), DIM


def _error_or_note(job: Job, glyphs: Glyphs, width: int) -> Cell:
    return note_of(job), "failed" if job.state == "failed" else "note"


COLUMNS: tuple[Column[Job], ...] = (
    Column(id="id", title="ID", width=6, right=True, sort="id", fields=(), cell=lambda job, g, w: (str(job.id), DIM)),
    Column(
        id="name", title="NAME", width=0, sort="name", fields=("name", "source"),
        cell=lambda job, g, w: (job.name or job.source or "(no name yet)", NAME),
    ),
    Column(
        id="state", title="STATE", width=14, sort="state", fields=("engine_state", "position", "error", "reason"),
        cell=lambda job, g, w: state_of(job, g),
    ),
    Column(
        id="progress", title="PROGRESS", width=15, sort="progress", live=True, cell=_progress,
        fields=("progress", "size"),
    ),
    Column(
        id="percent", title="%", width=6, right=True, sort="progress", live=True, cell=_percent,
        fields=("progress", "size"),
    ),
    Column(
        id="down", title="DOWN/s", width=9, right=True, sort="rate_down", live=True, fields=("rate_down",),
        cell=lambda job, g, w: _rate(job.rate_down, g),
    ),
    Column(
        id="up", title="UP/s", width=9, right=True, sort="rate_up", live=True, fields=("rate_up",),
        cell=lambda job, g, w: _rate(job.rate_up, g),
    ),
    Column(
        id="eta", title="ETA", width=7, right=True, sort="eta", live=True, fields=("eta_s",),
        cell=lambda job, g, w: ((text.duration(job.eta_s) if job.eta_s is not None else g.dash), DIM),
    ),
    Column(
        id="seeders", title="SEEDS", width=5, right=True, sort="seeders", live=True, fields=("seeders",),
        cell=lambda job, g, w: _short(job.seeders, g),
    ),
    Column(
        id="peers", title="PEERS", width=5, right=True, sort="peers", live=True, fields=("peers",),
        cell=lambda job, g, w: _short(job.peers, g),
    ),
    Column(
        id="size", title="SIZE", width=9, right=True, sort="size", fields=("size",),
        cell=lambda job, g, w: (text.size(job.size), DIM),
    ),
    Column(
        id="done", title="DONE", width=9, right=True, sort="done", fields=("done",),
        cell=lambda job, g, w: (text.size(job.done), DIM),
    ),
    Column(
        id="files", title="FILES", width=7, right=True, fields=("files_total", "files_selected"),
        cell=lambda job, g, w: (f"{job.files_selected}/{job.files_total}", DIM),
    ),
    Column(
        id="engine", title="ENGINE", width=7, sort="engine", fields=("engine",),
        cell=lambda job, g, w: (job.engine or g.dash, DIM),
    ),
    Column(id="node", title="NODE", width=8, fields=("node",), cell=lambda job, g, w: (job.node or g.dash, DIM)),
    Column(id="user", title="USER", width=10, sort="user", fields=("user",), cell=lambda job, g, w: (job.user, DIM)),
    Column(
        id="priority", title="PRIO", width=4, right=True, sort="priority", fields=("priority",),
        cell=lambda job, g, w: (str(job.priority), DIM),
    ),
    Column(id="tags", title="TAGS", width=14, fields=("tags",), cell=lambda job, g, w: (",".join(job.tags), DIM)),
    Column(
        id="added", title="ADDED", width=19, sort="created", fields=("created_at",),
        cell=lambda job, g, w: (text.moment(job.created_at), DIM),
    ),
)
BY_ID = {column.id: column for column in COLUMNS}
WIDE = ("id", "name", "state", "progress", "down", "eta", "node")
MEDIUM = ("id", "name", "state", "percent", "down", "eta")
GUTTER = 2
"""Columns before the first one: the cursor and the mark."""
MIN_NAME = 12


class Placed(Struct, Generic[T], frozen=True, kw_only=True):
    column: Column[T]
    width: int


def layout(ids: Iterable[str], width: int) -> tuple[Placed[Job], ...]:
    """The columns of these names that have room in `width`."""
    return fit([BY_ID[name] for name in dict.fromkeys(ids) if name in BY_ID], width)


def fit(columns: Iterable[Column[T]], width: int) -> tuple[Placed[T], ...]:
    """The columns that have room in `width`, with their widths: later ones give way first, and the name takes what the
    others leave."""
    chosen = list(columns)
    while True:
        fixed = sum(column.width + 1 for column in chosen if column.width)
        left = width - GUTTER - fixed - 1
        flexible = [column for column in chosen if not column.width]
        if not flexible or left >= MIN_NAME or len(chosen) <= 2:
            break
        chosen.remove(next(column for column in reversed(chosen) if column.width and column.id != "state"))
    return tuple(Placed(column=column, width=column.width or max(MIN_NAME, left)) for column in chosen)


def fields_of(placed: Sequence[Placed[Job]]) -> tuple[str, ...]:
    """What a list has to be told of jobs to show these columns."""
    needed = {name for place in placed for name in place.column.fields}
    return tuple(sorted(needed | {"name", "source", "size", "progress", "reason", "error", "engine_state", "position"}))
