"""`odctl set`: `key=value`, `key+=value`, `key-=value` applied to a job, all or none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from oddaemon.domain.errors import InvalidArgument, WrongState
from oddaemon.domain.files import display_name
from oddaemon.domain.filter_text import parse_filter
from oddaemon.domain.job import Job, JobState
from oddaemon.domain.query import SortKey
from oddaemon.domain.types import BytesPerSecond
from oddaemon.ports.store import Query, Transaction
from oddaemon.services.orders import MAX_PRIORITY, OrderReader, tags_of
from oddaemon.services.seed_wishes import SEED_RATIO, seeders

PRIORITIES = {"low": -10, "normal": 0, "high": 10}
_CHANGE = re.compile(r"([a-z_]+)(\+=|-=|=)(.*)", re.DOTALL)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?(?:/s)?", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_priority(text: str) -> int:
    """`low`, `normal`, `high`, or a number."""
    found = PRIORITIES.get(text.strip().lower())
    if found is not None:
        return found
    try:
        value = int(text)
    except ValueError:
        value = MAX_PRIORITY + 1
    if not -MAX_PRIORITY <= value <= MAX_PRIORITY:
        raise InvalidArgument(
            f"{text[:40]!r} is not a priority", field="priority", hint=f"low, normal, high or ±{MAX_PRIORITY} at most"
        )
    return value


def parse_rate(text: str) -> BytesPerSecond | None:
    """`500k`, `2M`; `0` and `none` lift the limit. Bytes a second, 1024-based."""
    if text.strip().lower() in ("", "0", "none", "unlimited"):
        return None
    match = _RATE.fullmatch(text.strip())
    if match is None:
        raise InvalidArgument(f"{text[:40]!r} is not a speed", field="rate", hint="write 500k, 2M, or none")
    return BytesPerSecond(int(float(match[1]) * _FACTORS[match[2].lower()])) or None


def _only_set(key: str, operator: str) -> None:
    if operator != "=":
        raise InvalidArgument(f"{key} takes {key}=VALUE only", field=key)


def _name(job: Job, operator: str, value: str) -> Job:
    _only_set("name", operator)
    if not value.strip():
        return replace(job, renamed=False)
    return replace(job, name=display_name(value), renamed=True)


def _tags(job: Job, operator: str, value: str) -> Job:
    given = tags_of([tag for tag in (part.strip() for part in value.split(",")) if tag])
    if operator == "+=":
        return replace(job, tags=tags_of([*job.tags, *given]))
    if operator == "-=":
        return replace(job, tags=tuple(tag for tag in job.tags if tag not in given))
    return replace(job, tags=given)


def _priority(job: Job, operator: str, value: str) -> Job:
    _only_set("priority", operator)
    return replace(job, priority=parse_priority(value))


def _rate_down(job: Job, operator: str, value: str) -> Job:
    _only_set("rate_down", operator)
    return replace(job, max_rate_down=parse_rate(value))


def _rate_up(job: Job, operator: str, value: str) -> Job:
    _only_set("rate_up", operator)
    return replace(job, max_rate_up=parse_rate(value))


def _to_the_top(tx: Transaction, job: Job, operator: str, value: str) -> Job:
    """Before every other job of its user that waits: by a priority above theirs."""
    _only_set("position", operator)
    if value.strip().lower() != "top":
        raise InvalidArgument(f"{value[:40]!r} is no position", field="position", hint="position=top, or a priority")
    highest = SortKey(field="priority", descending=True)
    query = Query(where=parse_filter("state=queued"), sort=(highest,), limit=2, user_id=job.user_id)
    priority = max((other.priority + 1 for other in tx.jobs.page(query).rows if other.id != job.id), default=0)
    if priority > MAX_PRIORITY:
        raise InvalidArgument(
            f"another of these jobs has the highest priority, {MAX_PRIORITY}", field="position",
            hint="lower that one's: odctl set JOB priority=normal",
        )  # fmt: skip
    return replace(job, priority=max(job.priority, priority))


def _seed_ratio(reader: OrderReader, job: Job, operator: str, value: str) -> Job:
    _only_set("seed_ratio", operator)
    if job.state is JobState.ACTIVE:
        raise WrongState(
            f"job {job.number} is active: what it seeds is settled when it starts",
            hint=f"odctl pause {job.number}, set it, and odctl resume {job.number}",
        )
    others = {key: kept for key, kept in job.options.items() if key != SEED_RATIO}
    if value.strip().lower() in ("", "0", "none"):
        return replace(job, options=others)
    job, _ = reader.reread(job, {SEED_RATIO: value}, "", None)
    return job


Change = Callable[[Job, str, str], Job]
"""The job, the operator and the value → the changed job. Raises InvalidArgument."""
_CHANGES: Mapping[str, Change] = {
    "name": _name,
    "tags": _tags,
    "priority": _priority,
    "rate_down": _rate_down,
    "rate_up": _rate_up,
}
_RUNNING_ONLY = frozenset({"priority", "rate_down", "rate_up", "position", "seed_ratio"})
_OF_SEEDING = frozenset({"rate_up", "seed_ratio"})


def changed_job(tx: Transaction, reader: OrderReader, job: Job, changes: Sequence[str]) -> Job:
    """The job with every change applied. Raises InvalidArgument for the first that cannot be."""
    more: Mapping[str, Change] = {"position": partial(_to_the_top, tx), "seed_ratio": partial(_seed_ratio, reader)}
    known = {**_CHANGES, **more}
    if not changes:
        raise InvalidArgument("nothing to change", field="changes", hint=f"keys: {', '.join(known)}")
    for text in changes:
        match = _CHANGE.fullmatch(text)
        if match is None:
            raise InvalidArgument(f"{text[:80]!r} is not key=value", field="changes")
        key, operator, value = match.groups()
        change = known.get(key)
        if change is None:
            raise InvalidArgument(
                f"a job has no {key!r} that can be set", field=key, hint=f"keys: {', '.join(known)}"
            )
        if key in _RUNNING_ONLY and job.finished and not (key in _OF_SEEDING and seeders([job])):
            raise WrongState(f"job {job.number} is {job.state}: its {key} means nothing any more")
        job = change(job, operator, value)
    return job
