"""Events, lines of the log and what failed, as columns and in full. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from rich.text import Text

from odctl import text as words
from odctl.client.models import Event, jsonable
from odctl.dashboard import messages as m
from odctl.dashboard.columns import Cell, Column
from odctl.dashboard.glyphs import Glyphs
from odctl.dashboard.listed import Line

LEVELS = {"debug": "dim", "info": "name", "warn": "note", "warning": "note", "error": "failed", "critical": "failed"}
TYPES = {
    "failed": "failed", "offline": "failed", "completed": "completed", "hit": "completed", "online": "active",
    "started": "active", "disk_low": "note", "disabled": "note", "removed": "dim", "cancelled": "dim",
    "progress": "dim", "waiting": "dim", "evicted": "dim",
}  # fmt: skip
"""Style by what an event's type ends with."""
LONGEST = 60
"""Of one value in the list."""
PAIR = re.compile(r'(\s*"(?:[^"\\]|\\.)*": )(.*)')


def _time(line: Line, glyphs: Glyphs, width: int) -> Cell:
    said = line.said
    at = said.get("ts") if isinstance(said, Mapping) else getattr(said, "ts", None) or getattr(said, "at", None)
    return words.moment(at)[11:] if at is not None else "", "dim"


def _of_event(cell: Callable[[Event], str], style: str = "dim") -> Callable[[Line, Glyphs, int], Cell]:
    return lambda line, glyphs, width: (cell(line.said), style) if isinstance(line.said, Event) else ("", style)


def _type(line: Line, glyphs: Glyphs, width: int) -> Cell:
    if not isinstance(line.said, Event):
        return glyphs.warning, "note"
    return line.said.type, TYPES.get(line.said.type.rpartition(".")[2], "name")


def _what(line: Line, glyphs: Glyphs, width: int) -> Cell:
    if isinstance(line.said, m.Gap):
        return f"events before {line.said.oldest} are not kept any more", "note"
    data = line.said.data if isinstance(line.said.data, Mapping) else {}
    where = [line.said.node] if line.said.node else []
    return "  ".join([*where, *(f"{key}={_short(value)}" for key, value in data.items())]), "dim"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(jsonable(value), ensure_ascii=False)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _message(line: Line, glyphs: Glyphs, width: int) -> Cell:
    return str(line.said.get("msg") or line.said.get("event") or ""), _level_style(line)


def _level_style(line: Line) -> str:
    return LEVELS.get(str(line.said.get("level") or "").lower(), "name")


EVENTS: tuple[Column[Line], ...] = (
    Column(id="time", title="TIME", width=8, cell=_time),
    Column(id="type", title="TYPE", width=16, cell=_type),
    Column(
        id="job", title="JOB", width=6, right=True,
        cell=_of_event(lambda event: "" if event.job is None else str(event.job), "name"),
    ),
    Column(id="what", title="WHAT", width=0, cell=_what),
    Column(id="user", title="USER", width=10, cell=_of_event(lambda event: event.user or "")),
)  # fmt: skip
LOG: tuple[Column[Line], ...] = (
    Column(id="time", title="TIME", width=8, cell=_time),
    Column(
        id="level", title="LEVEL", width=7,
        cell=lambda line, g, w: (str(line.said.get("level") or ""), _level_style(line)),
    ),
    Column(
        id="job", title="JOB", width=6, right=True,
        cell=lambda line, g, w: ("" if line.said.get("job") is None else str(line.said["job"]), "dim"),
    ),
    Column(id="what", title="WHAT", width=0, cell=_message),
)  # fmt: skip
FAILURES: tuple[Column[Line], ...] = (
    Column(id="time", title="TIME", width=8, cell=_time),
    Column(id="asked", title="ASKED FOR", width=20, cell=lambda line, g, w: (line.said.what, "name")),
    Column(id="what", title="WHY NOT", width=0, cell=lambda line, g, w: (line.said.error.message, "failed")),
)
COLUMNS: Mapping[str, tuple[Column[Line], ...]] = {"events": EVENTS, "log": LOG, "failures": FAILURES}


def in_full(line: Line) -> Text:
    """All of it: JSON as the daemon told it, or what failed and what to do."""
    said = line.said
    if isinstance(said, m.Failed):
        lines = (said.what, said.error.message, said.error.why, said.error.hint, f"code {said.error.code}")
        text = Text(overflow="fold")
        for number, part in enumerate(part for part in lines if part):
            text.append(words.clean(part) + "\n", "bold" if number == 0 else "")
        return text
    if isinstance(said, m.Gap):
        shown = f"Events were lost here: those before {said.oldest} are not kept any more.\n"
        return Text(f"{shown}odctl settings get events.keep says for how long they are.", overflow="fold")
    return pretty(said)


def pretty(value: Any) -> Text:
    """JSON over many lines. Nothing in it can steer the terminal."""
    text = Text(overflow="fold")
    for line in json.dumps(jsonable(value), indent=2, ensure_ascii=False).split("\n"):
        shown = words.clean(line)
        pair = PAIR.fullmatch(shown)
        if pair is None:
            text.append(shown)
        else:
            text.append(pair[1], "dim")
            text.append(pair[2])
        text.append("\n")
    return text
