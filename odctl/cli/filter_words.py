"""What may stand next in a filter that is not finished. The domain's parser is what it goes by: a test holds the two
together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Words = list[tuple[str, str]]

STATES = ("active", "queued", "paused", "completed", "failed", "cancelled")
TRUTHS = ("yes", "no")
WHOSE = {"node": "nodes", "engine": "engines", "user": "users"}
"""Fields whose values the daemon is asked for."""
_TERM = re.compile(r"(?s)(.*[\s(|!])?([^\s(|!]*)")
_VALUE = re.compile(r"(?s)([a-z_]+)(!?=)(.*,)?([^,]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    fields: Mapping[str, tuple[str, ...]]
    """That are compared with =, and the values that there are of them, if these are few. Those that are compared with <
    and > are left to who knows them: a shell would take the sign for its own."""
    words: Mapping[str, str]
    """That are filters by themselves."""


JOBS = Vocabulary(
    fields={
        "state": STATES, "name": (), "engine": (), "node": (), "user": ("@me",), "tag": (), "key": (), "error": (),
        "reason": (), "engine_state": (), "hold": ("none", "user", "disk"), "kind": ("magnet", "torrent", "url"),
        "hit": TRUTHS,
    },
    words={
        **{state: f"state={state}" for state in STATES}, "done": "state=completed", "mine": "user=@me",
        "stalled": "gets no byte", "problems": "failed, or waits for what is broken", "big": "size>=10G",
    },
)  # fmt: skip
CACHE = Vocabulary(
    fields={"key": (), "name": (), "engine": (), "node": (), "user": ("@me",), "pinned": TRUTHS},
    words={"mine": "user=@me", "big": "size>=10G"},
)
EVENTS = Vocabulary(
    fields={"type": (), "job": (), "node": (), "user": ("@me",)}, words={"mine": "user=@me"},
)  # fmt: skip


def next_words(known: Vocabulary, text: str, recall: Callable[[str, str], Words]) -> Words:
    """The text with each word that fits its end."""
    found = _TERM.fullmatch(text)
    if found is None or any(text.count(quote) % 2 for quote in "'\""):
        return []
    before, term = found[1] or "", found[2]
    value = _VALUE.fullmatch(term)
    if value is None:
        fields = [(f"{name}=", "") for name in known.fields]
        return [(before + word, hint) for word, hint in [*known.words.items(), *fields] if word.startswith(term)]
    field, operator, others, last = value[1], value[2], value[3] or "", value[4]
    if field not in known.fields:
        return []
    values: Words = [(word, "") for word in known.fields[field]]
    if field in WHOSE:
        values += recall(WHOSE[field], "")
    return [
        (f"{before}{field}{operator}{others}{word}", hint)
        for word, hint in values
        if word.startswith(last) and word not in others.split(",")
    ]
