"""What can be filtered by: the fields of jobs, cache entries and events, what each is, and how its values are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from uuid import UUID

from oddaemon.domain.failure import FailureCode, ReasonCode
from oddaemon.domain.filter_tree import ME, Ago, Op, Value
from oddaemon.domain.job import Hold, JobState
from oddaemon.domain.source import SourceKind
from oddaemon.domain.units import parse_duration, parse_size

PAUSED = "paused"
EQUAL = frozenset({Op.EQ})
TEXTUAL = frozenset({Op.EQ, Op.HAS})
ORDERED = frozenset({Op.EQ, Op.LT, Op.GT, Op.LE, Op.GE})


class Kind(Enum):
    """What a field is: its operators, and a word for what its values are."""

    TEXT = (TEXTUAL, "text")
    TEXTS = (TEXTUAL, "texts")
    """Several: a term holds when it does for one of them."""
    CHOICE = (EQUAL, "one of")
    CODE = (TEXTUAL, "one of")
    TRUTH = (EQUAL, "true or false")
    ID = (ORDERED, "a number or a UUID")
    NUMBER = (ORDERED, "a whole number")
    SIZE = (ORDERED, "a size such as 10G or 1.5MiB")
    RATE = (ORDERED, "a speed such as 500k or 2M/s")
    PERCENT = (ORDERED, "a percentage from 0 to 100%")
    DURATION = (ORDERED, "a duration such as 90s or 2h30m")
    TIME = (ORDERED, "an age such as 2h30m or 7d, or a date such as 2026-01-31")
    """Equal only to what is not known: nobody means one instant."""

    def __init__(self, ops: frozenset[Op], expected: str) -> None:
        self.ops = ops
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Field:
    kind: Kind
    choices: tuple[str, ...] = ()
    moves: bool = False
    """Changes while something runs, or as time passes, without an event of its own."""


def _choice(*choices: str) -> Field:
    return Field(Kind.CHOICE, choices)


_TEXT = Field(Kind.TEXT)
_TIME = Field(Kind.TIME, moves=True)

JOB_FIELDS: Mapping[str, Field] = {
    "id": Field(Kind.ID),
    "name": _TEXT,
    "state": _choice(*JobState, PAUSED),
    "engine": _TEXT,
    "engine_state": Field(Kind.TEXT, moves=True),
    "node": _TEXT,
    "user": _TEXT,
    "tag": Field(Kind.TEXTS),
    "hold": _choice(*Hold),
    "kind": _choice(*SourceKind),
    "priority": Field(Kind.NUMBER),
    "key": _TEXT,
    "hit": Field(Kind.TRUTH),
    "size": Field(Kind.SIZE, moves=True),
    "done": Field(Kind.SIZE, moves=True),
    "progress": Field(Kind.PERCENT, moves=True),
    "rate_down": Field(Kind.RATE, moves=True),
    "rate_up": Field(Kind.RATE, moves=True),
    "eta": Field(Kind.DURATION, moves=True),
    "quiet": Field(Kind.DURATION, moves=True),
    "seeders": Field(Kind.NUMBER, moves=True),
    "peers": Field(Kind.NUMBER, moves=True),
    "age": _TIME,
    "created": _TIME,
    "started": _TIME,
    "completed": _TIME,
    "error": Field(Kind.CODE, tuple(FailureCode)),
    "reason": Field(Kind.CODE, tuple(ReasonCode), moves=True),
    "files": Field(Kind.NUMBER),
}
CACHE_FIELDS: Mapping[str, Field] = {
    "key": _TEXT,
    "name": _TEXT,
    "engine": _TEXT,
    "pinned": Field(Kind.TRUTH),
    "node": _TEXT,
    "user": _TEXT,
    "size": Field(Kind.SIZE),
    "hits": Field(Kind.NUMBER),
    "age": _TIME,
    "created": _TIME,
    "last_used": _TIME,
}
EVENT_FIELDS: Mapping[str, Field] = {
    "type": _TEXT,
    "job": Field(Kind.NUMBER),
    "node": _TEXT,
    "user": _TEXT,
    "seq": Field(Kind.NUMBER),
    "age": _TIME,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What a filter of one kind of list is made of."""

    fields: Mapping[str, Field]
    bare: str
    """The field in which a word alone is looked for."""
    shortcuts: Mapping[str, str]
    """Words that stand for a filter: among them each that the column STATE shows."""


_MINE = f"user={ME}"
JOBS = Vocabulary(
    fields=JOB_FIELDS,
    bare="name",
    shortcuts={
        "active": "state=active",
        "queued": "state=queued",
        "paused": "state=paused",
        "completed": "state=completed",
        "done": "state=completed",
        "failed": "state=failed",
        "cancelled": "state=cancelled",
        "mine": _MINE,
        "stalled": "quiet>0 | reason=stalled,no_seeds",
        "problems": (
            "state=failed | reason=no_space,storage_missing,engine_down,node_offline,no_node,stalled,files_missing"
        ),
        "big": "size>=10G",
    },
)
CACHE = Vocabulary(fields=CACHE_FIELDS, bare="name", shortcuts={"mine": _MINE, "big": "size>=10G"})
EVENTS = Vocabulary(fields=EVENT_FIELDS, bare="type", shortcuts={"mine": _MINE})

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)%?")
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_value(field: Field, op: Op, text: str) -> Value:
    """The value that `text` names. Raises ValueError where it names none."""
    if field.choices and op is Op.EQ:
        return _chosen(field, text)
    if field.kind is Kind.ID and op is not Op.EQ:
        return _whole(text)
    return _READERS.get(field.kind, str)(text)


def _chosen(field: Field, text: str) -> str:
    for choice in field.choices:
        if choice.lower() == text.lower():
            return str(choice)
    raise ValueError(text)


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _id(text: str) -> int | UUID:
    return _whole(text) if _WHOLE.fullmatch(text) else UUID(text)


def _rate(text: str) -> int:
    return parse_size(text[:-2] if text.lower().endswith("/s") else text)


def _percent(text: str) -> float:
    found = _PERCENT.fullmatch(text)
    if found is None or float(found[1]) > 100:
        raise ValueError(text)
    return float(found[1]) / 100


def _moment(text: str) -> Ago | datetime:
    try:
        return Ago(parse_duration(text))
    except ValueError:
        found = datetime.fromisoformat(text)
    try:
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError(text) from None


def _truth(text: str) -> bool:
    try:
        return _TRUTHS[text.lower()]
    except KeyError:
        raise ValueError(text) from None


_READERS: Mapping[Kind, Callable[[str], Value]] = {
    Kind.TRUTH: _truth,
    Kind.ID: _id,
    Kind.NUMBER: _whole,
    Kind.SIZE: parse_size,
    Kind.RATE: _rate,
    Kind.PERCENT: _percent,
    Kind.DURATION: parse_duration,
    Kind.TIME: _moment,
}
