"""A filter of events, for one reader of a stream: what it does not hold for is passed over."""

from __future__ import annotations

from datetime import datetime

from oddaemon.domain.filter_fields import EVENTS
from oddaemon.domain.filter_match import Known, matcher
from oddaemon.domain.filter_text import parse_filter
from oddaemon.domain.filter_tree import EVERYTHING, settled


class EventFilter:
    """Ages are reckoned from when the reader came. Raises InvalidFilter."""

    def __init__(self, text: str, *, now: datetime, me: str) -> None:
        tree = settled(parse_filter(text, EVENTS), now=now, me=me)
        self._holds = None if tree == EVERYTHING else matcher(tree)

    def holds(self, *, seq: int, type: str, at: datetime, job: int | None, node: str | None, user: str) -> bool:
        if self._holds is None:
            return True
        known: dict[str, Known] = {"seq": seq, "type": type, "age": at, "job": job, "node": node, "user": user}
        return self._holds(known.get)
