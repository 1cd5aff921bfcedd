"""Exceptions that nobody expected, in a program that draws on the whole terminal.

Textual would print a traceback with the values of all variables, tokens among them. Here one line says what happened
and where the rest is written down. What fails beside the drawing does not end the dashboard.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sized
from typing import Any

from odctl.client.errors import OdctlError
from odctl.crash import crash_file
from odctl.dashboard.messages import Message

KEPT = 200
"""Messages and actions that a crash file tells of."""
TOLD = frozenset({"list", "offset", "total", "row", "anew"})
"""Fields of messages whose values are nobody's secret; of what has a length, the length is told."""


class Trail:
    """What happened last, without names, addresses and what was typed."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, Message | str]] = deque(maxlen=KEPT)

    def add(self, at: float, step: Message | str) -> None:
        self._steps.append((at, step))

    def lines(self) -> Iterator[str]:
        yield f"the last {len(self._steps)} of what happened, oldest first:"
        for at, step in self._steps:
            yield f"{at:12.3f} {step if isinstance(step, str) else _summary(step)}"


def _summary(message: Message) -> str:
    parts = [type(message).__name__]
    for name in message.__struct_fields__:
        value: Any = getattr(message, name)
        if name in TOLD:
            parts.append(f"{name}={value}")
        elif isinstance(value, OdctlError):
            parts.append(f"{name}={value.code}")
        elif isinstance(value, Sized) and not isinstance(value, str | Mapping):
            parts.append(f"{name}: {len(value)}")
    return " ".join(parts)


class Mishaps:
    """Writes each of them down once, however often it happens."""

    def __init__(self) -> None:
        self.trail = Trail()
        self._known: dict[object, str] = {}

    def error(self, fault: BaseException) -> OdctlError:
        """What a person is told of it."""
        last = traceback.extract_tb(fault.__traceback__)[-1:]
        kind = type(fault).__name__
        which = (kind, *((frame.filename, frame.lineno) for frame in last))
        hint = self._known.get(which)
        if hint is None:
            hint = self._known[which] = crash_file(fault, self.trail.lines())
        return OdctlError(f"unexpected {kind}", code="BUG", hint=hint)
