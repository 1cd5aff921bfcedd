"""How jobs and files look to people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from odctl.cli.output import Column, Output, check_fields, names_of, raw_column
from odctl.client.models import Detail, File, Job
from odctl.reasons import clock, in_local_time
from odctl.text import clean, duration, moment, percent, rate, size

JOB_COLUMNS = (
    Column(title="ID", field="id", show=lambda j: j.id, right=True),
    Column(title="STATE", field="state", show=lambda j: j.shown_state),
    Column(title="DONE", field="progress", show=lambda j: percent(j.progress), right=True),
    Column(title="SIZE", field="size", show=lambda j: size(j.size), right=True),
    Column(title="DOWN", field="rate_down", show=lambda j: rate(j.rate_down), right=True),
    Column(title="ETA", field="eta_s", show=lambda j: duration(j.eta_s), right=True),
    Column(title="UP", field="rate_up", show=lambda j: rate(j.rate_up), right=True, wide=True),
    Column(title="SEEDS", field="seeders", show=lambda j: _count(j.seeders), right=True, wide=True),
    Column(title="ENGINE", field="engine", show=lambda j: j.engine or "-", wide=True),
    Column(title="NODE", field="node", show=lambda j: j.node or "-", wide=True),
    Column(title="USER", field="user", show=lambda j: j.user, wide=True),
    Column(title="TAGS", field="tags", show=lambda j: ",".join(j.tags), wide=True),
    Column(title="NAME", field="name", show=lambda j: j.name or j.source, flexible=True),
    Column(title="WHY", field="reason", show=lambda j: why(j, in_time), flexible=True),
)
JOB_FIELDS = tuple(Job.__struct_fields__)
FILE_FIELDS = tuple(File.__struct_fields__)

FILE_COLUMNS = (
    Column(title="#", show=lambda f: f.index, right=True),
    Column(title="", show=lambda f: mark(f)),
    Column(title="SIZE", show=lambda f: size(f.size), right=True),
    Column(title="DONE", show=lambda f: percent(f.progress), right=True),
    Column(title="TYPE", show=lambda f: f.content_type or "-", wide=True),
    Column(title="PATH", show=lambda f: f.path + (f"  ({f.error})" if f.error else ""), flexible=True),
)


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def job_columns(names: Sequence[str]) -> list[Column]:
    """A table's columns for these fields, each as the list shows it."""
    check_fields(names, JOB_FIELDS, "--columns")
    known = {column.field: column for column in JOB_COLUMNS}
    chosen = [replace(known[name], wide=False) if name in known else _column(name) for name in names]
    return [replace(column, asked=True) for column in chosen]


def redrawn(columns: Sequence[Column]) -> Sequence[Column]:
    """For a list that is drawn again only when a job changes: in it, time to come would stand still."""
    return [replace(column, show=why) if column.field == "reason" else column for column in columns]


def with_owners(columns: Sequence[Column], jobs: Iterable[Job], me: str = "") -> Sequence[Column]:
    """The columns, that of the user among them where the jobs are not all of one person, or not of `me`."""
    owners = {job.user for job in jobs} | ({me} if me else set())
    if len(owners) < 2:
        return columns
    return [replace(column, wide=False) if column.field == "user" else column for column in columns]


def _column(name: str) -> Column:
    if name.endswith("_at"):
        return Column(title=name.upper(), show=lambda job: moment(getattr(job, name)))
    if name == "done":
        return Column(title="BYTES", show=lambda job: size(job.done), right=True)
    return raw_column(name)


def in_time(at: datetime) -> str:
    """How long that is from now: for what is shown once."""
    seconds = (at - datetime.now(UTC)).total_seconds()
    return f"in {duration(seconds)}" if seconds >= 1 else "now"


def why(job: Job, when: Callable[[datetime], str] = clock) -> str:
    """What an impatient reader wants to know, in a few words. `when` says when the next try is."""
    if job.error is not None:
        return job.error.message
    if job.state in ("completed", "cancelled"):
        return ""
    if job.reason is not None:
        told = in_local_time(job.reason, clock if when is in_time else when, when)
        return "" if told == job.shown_state else told
    return job.engine_state or ""


def speed_of(jobs: Iterable[Job]) -> tuple[int, int]:
    """Bytes per second down and up. Jobs on the same content share one download, and count once."""
    distinct = {job.cache_key or job.uuid: job for job in jobs}.values()
    return sum(job.rate_down for job in distinct), sum(job.rate_up for job in distinct)


def totals(jobs: Sequence[Job], total: int) -> str:
    """The line below a list."""
    down = speed_of(jobs)[0]
    shown = f"{len(jobs)} of {total} jobs" if len(jobs) != total else f"{total} job{'s' if total != 1 else ''}"
    etas = [job.eta_s for job in jobs if job.eta_s is not None]
    speed = f", {rate(down)} down" if down else ""
    left = f", {duration(max(etas))} left" if etas else ""
    return shown + speed + left


def mark(file: File) -> str:
    return "✗" if file.error else "✓" if file.ready else "·" if file.selected else " "


def label(job: Job) -> str:
    """Number and name, for messages."""
    return f"{job.id}  {clean(job.name or job.source)}"


def added(job: Job) -> str:
    where = " → ".join(part for part in (job.engine, job.node) if part)
    if job.cache_hit and job.state == "completed":
        note = "(cached: ready now)"
    elif job.hold == "user":
        note = "(paused)"
    else:
        note = ""
    return "  ".join(part for part in (f"+ {label(job)}", clean(where), note) if part)


def planned(job: Job) -> str:
    """What `add --dry-run` would do."""
    where = " → ".join(part for part in (job.engine, job.node) if part)
    return "  ".join(part for part in (f"would add  {clean(job.name or job.source)}", clean(where)) if part)


def last_line(job: Job) -> str:
    """How it ended, for `wait`."""
    what = why(job)
    return f"{job.id}  {job.shown_state}  {clean(job.name or job.source)}" + (f"  ({clean(what)})" if what else "")


def details(output: Output, found: Detail, *, files: bool, peers: bool, raw: bool) -> None:
    """One job in sections."""
    job = found.job
    if job is None:
        return
    output.line(label(job))
    for name, value in _facts(found):
        if value:
            output.line(f"  {name:<10} {clean(value)}")
    if files and found.files:
        output.line("  files")
        for file in found.files:
            figures = f"{size(file.size):>10} {percent(file.progress):>6}"
            output.line(f"    {file.index:>4} {mark(file)} {figures}  {clean(file.path)}")
    if peers and found.peers:
        output.line("  peers")
        for peer in found.peers:
            output.line(
                f"    {clean(peer['address']):<24} {percent(peer['progress']):>6} "
                f"{rate(peer['rate_down']):>12}  {clean(peer['client'])}"
            )
    if raw:
        output.line("  engine" + ("" if found.engine_raw else "     says nothing of it now"))
        for name, value in found.engine_raw.items():
            output.line(f"    {clean(name):<22} {clean(value)}")


def _facts(found: Detail) -> Sequence[tuple[str, Any]]:
    job, extra = found.job, found.extra
    assert job is not None
    assert extra is not None
    state = job.shown_state + (f" ({job.engine_state})" if job.engine_state else "")
    done = f"{percent(job.progress)} of {size(job.size)}" + (f", {rate(job.rate_down)}" if job.rate_down else "")
    error, reason = job.error, why(job, moment)
    return (
        ("state", state),
        ("why", "" if reason == job.engine_state else reason),
        ("fix", error.hint if error else ""),
        ("retry at", moment(job.reason.retry_at) if job.reason and job.reason.retry_at else ""),
        ("done", done),
        ("eta", duration(job.eta_s) if job.eta_s is not None else ""),
        ("swarm", f"{job.seeders} seeds, {job.peers or 0} peers" if job.seeders is not None else ""),
        ("files", f"{job.files_selected} of {job.files_total}" if job.files_total else ""),
        ("failed", f"{extra.files_failed} file{'s' if extra.files_failed != 1 else ''}" if extra.files_failed else ""),
        ("selection", extra.selection if extra.selection not in ("", "all") else ""),
        ("source", job.source),
        ("engine", job.engine),
        ("node", job.node),
        ("labels", ", ".join(f"{key}={value}" for key, value in extra.node_labels.items())),
        ("placement", extra.placement),
        ("cache", (job.cache_key or "") + (" (hit)" if job.cache_hit else "")),
        ("user", job.user),
        ("priority", job.priority or ""),
        ("tags", ", ".join(job.tags)),
        ("options", ", ".join(f"{key}={value}" for key, value in extra.options.items())),
        ("checksum", extra.checksum),
        ("limits", _limits(found)),
        ("attempts", extra.attempts if extra.attempts > 1 else ""),
        ("pause", "yt-dlp has none: its process ends, and resume goes on from what it had" if _no_pause(job) else ""),
        ("created", moment(job.created_at)),
        ("started", moment(job.started_at) if job.started_at else ""),
        ("completed" if job.state == "completed" else "ended", moment(job.completed_at) if job.completed_at else ""),
        ("uuid", job.uuid),
    )


def _limits(found: Detail) -> str:
    extra = found.extra
    assert extra is not None
    limits = (("down", extra.max_rate_down), ("up", extra.max_rate_up))
    return ", ".join(f"{name} {rate(value)}" for name, value in limits if value)


def _no_pause(job: Job) -> bool:
    return job.engine == "ytdlp" and job.shown_state == "paused"


def full_record(found: Detail, *, files: bool, peers: bool, raw: bool) -> dict[str, Any]:
    """`show` as JSON: the fields of Job, then what only `show` tells."""
    record = {name: getattr(found.job, name) for name in JOB_FIELDS}
    if found.extra is not None:
        record |= {name: getattr(found.extra, name) for name in names_of(found.extra)}
    if files:
        record["files"] = found.files
    if peers:
        record["peers"] = found.peers
    if raw:
        record["engine_raw"] = dict(found.engine_raw) or None
    return record
