"""Everything about a job, as lines for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from odctl import text as words
from odctl.client.models import Detail, Job, JobExtra
from odctl.dashboard.columns import state_of
from odctl.dashboard.glyphs import Glyphs, spark
from odctl.reasons import in_local_time

SPARK = 24
LABEL = 9


def overview(job: Job, extra: JobExtra | None, rates: tuple[int, ...], glyphs: Glyphs) -> Text:
    """`extra` None: it was not told yet, or the daemon does not tell it."""
    text = Text(overflow="fold")
    for name, value, style in _facts(job, extra, rates, glyphs):
        if value:
            text.append(f"{name:<{LABEL}} ", "dim")
            text.append(words.clean(value) + "\n", style)
    return text


def _facts(
    job: Job, extra: JobExtra | None, rates: tuple[int, ...], glyphs: Glyphs
) -> Iterator[tuple[str, Any, str]]:  # fmt: skip
    sign, _ = state_of(job, glyphs)
    state = f" ({job.engine_state})" if job.engine_state and job.engine_state not in sign else ""
    yield "name", job.name, "bold"
    yield "state", sign + state, "bold"
    yield from _why(job, extra)
    where = " → ".join(part for part in (job.engine, job.node) if part)
    yield "engine", where, ""
    size = words.size(job.size)
    yield "size", f"{words.size(job.done)} of {size}  {words.percent(job.progress)}", ""
    if job.state == "active" or job.rate_down:
        yield "rate", f"{words.rate(job.rate_down):<11} {spark(rates, SPARK, glyphs).strip()}", ""
    yield "up", words.rate(job.rate_up) if job.rate_up else "", ""
    yield "left", words.duration(job.eta_s) if job.eta_s is not None else "", ""
    if job.peers is not None or job.seeders is not None:
        yield "peers", f"{job.peers or 0} ({job.seeders or 0} seeds)", ""
    yield "files", f"{job.files_total} ({job.files_selected} selected) – f" if job.files_total else "", ""
    yield "cached", "yes" if job.cache_hit else "no", ""
    yield "added", f"{words.moment(job.created_at)} by {job.user}" if job.created_at else "", ""
    yield "started", words.moment(job.started_at) if job.started_at else "", ""
    yield "ended", words.moment(job.completed_at) if job.completed_at else "", ""
    yield "priority", str(job.priority) if job.priority else "", ""
    yield "tags", ", ".join(job.tags), ""
    yield from _more(extra)
    yield "source", job.source, "dim"
    yield "key", job.cache_key or "", "dim"
    yield "uuid", job.uuid, "dim"


def _why(job: Job, extra: JobExtra | None) -> Iterator[tuple[str, Any, str]]:
    error, reason = job.error, job.reason
    if error is not None:
        yield "error", error.message, "bold red"
        yield "do", error.hint, ""
        yield "retry", "r tries it again" if job.state == "failed" else "", ""
    if reason is not None and reason.message != job.shown_state:
        yield "waits for", in_local_time(reason), "yellow"
        yield "next try", words.moment(reason.retry_at) if reason.retry_at else "", ""
    if extra is not None:
        yield "why node", extra.placement or "", ""
        yield "resumes", words.moment(extra.hold_until) if extra.hold_until else "", ""


def _more(extra: JobExtra | None) -> Iterator[tuple[str, Any, str]]:
    if extra is None:
        return
    yield "attempts", str(extra.attempts) if extra.attempts > 1 else "", ""
    yield "failed", f"{extra.files_failed} files" if extra.files_failed else "", "red"
    yield "selection", extra.selection if extra.selection not in ("", "all") else "", ""
    yield "options", ", ".join(f"{key}={value}" for key, value in extra.options.items()), ""
    yield "checksum", extra.checksum or "", ""
    limits = (("down", extra.max_rate_down), ("up", extra.max_rate_up))
    yield "limits", ", ".join(f"{name} {words.rate(value)}" for name, value in limits if value), ""


def peers(found: Detail | None) -> Text:
    if found is None or not found.peers:
        return Text("no peer is connected now", "dim")
    text = Text(no_wrap=True)
    for peer in found.peers[:500]:
        address, client = words.clean(peer.get("address", "?")), words.clean(peer.get("client", ""))
        done = words.percent(float(peer.get("progress") or 0))
        down, up = words.rate(peer.get("rate_down")), words.rate(peer.get("rate_up"))
        text.append(f"{address:<24} {done:>6} {down:>11} {up:>11}  {client}\n")
    return text


def formats(told: Sequence[Mapping[str, Any]]) -> Text:
    """What a look at the source said."""
    if not told:
        return Text("no formats were told", "dim")
    text = Text(no_wrap=True)
    for item in told[:500]:
        size = words.size(item.get("size"))
        picture = f"{item['width']}x{item['height']}" if item.get("width") else "-"
        codecs = " ".join(words.clean(item[name]) for name in ("video_codec", "audio_codec") if item.get(name))
        note = words.clean(item.get("description") or "")
        text.append(f"{words.clean(item['id']):<10} {words.clean(item['extension']):<5} {size:>10} {picture:>10}  ")
        text.append(f"{codecs}  {note}\n")
    return text


def log_line(told: Mapping[str, Any]) -> str:
    said = words.clean(told.get("msg") or told.get("event") or "")
    return f"{words.moment(told.get('ts'))[11:]} {words.clean(told.get('level') or ''):<7} {said}"
