"""Nodes: where downloads run, how each one is, and what it lacks. All of it is in the status that is polled anyway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from odctl import text as words
from odctl.dashboard.columns import Cell, Column
from odctl.dashboard.glyphs import Glyphs, spark
from odctl.dashboard.listed import Listed, NodeItem
from odctl.dashboard.panes.listing import Fact, ListPane, facts
from odctl.dashboard.state import State

SPARK, LONG_SPARK, DISK_BAR = 8, 30, 8
STATES = {"online": ("active", "active"), "draining": ("paused", "paused"), "offline": ("failed", "failed")}
"""Sign and style of each state."""


def state_of(item: NodeItem, glyphs: Glyphs, width: int) -> Cell:
    state = str(item.node.get("state") or "?")
    sign, style = STATES.get(state, ("", "dim"))
    age = item.node.get("heartbeat_age_s")
    since = f" {words.duration(age)}" if state == "offline" and age is not None else ""
    return f"{getattr(glyphs, sign, '?')} {state}{since}", style


def engines_of(item: NodeItem, glyphs: Glyphs, width: int) -> Cell:
    """Each one that is sick with its sign; how many of how many run."""
    engines = item.node.get("engines") or ()
    told = ", ".join(f"{_health(engine, glyphs)} {engine['name']} {_running(engine)}" for engine in engines)
    return told or glyphs.dash, "active" if all(engine["ok"] for engine in engines) else "failed"


def _health(engine: Mapping[str, Any], glyphs: Glyphs) -> str:
    return glyphs.completed if engine["ok"] else glyphs.failed


def _running(engine: Mapping[str, Any]) -> str:
    return f"{engine['active']}/{engine['limit']}" if engine.get("limit") else str(engine["active"])


def disk_of(item: NodeItem, glyphs: Glyphs, width: int) -> Cell:
    """What is used, what is free, and of that what is reserved."""
    node = item.node
    if node.get("storage_missing"):
        return "disk missing", "failed"
    total, free, reserve = (int(node.get(name) or 0) for name in ("disk_total", "disk_free", "reserve"))
    if not total:
        return glyphs.dash, "dim"
    low = free < reserve
    return f"{disk_bar(total, free, reserve, DISK_BAR, glyphs)} {words.size(free)} free", "note" if low else "bar"


def disk_bar(total: int, free: int, reserve: int, width: int, glyphs: Glyphs) -> str:
    """Used, free, and at the end what must stay free."""
    used = min(width, max(0, round((1 - free / total) * width)))
    kept = min(width - used, max(1 if reserve else 0, round(min(reserve, total) / total * width)))
    return glyphs.full * used + glyphs.light * (width - used - kept) + glyphs.bar_unknown * kept


def rates_of(item: NodeItem, glyphs: Glyphs, width: int) -> Cell:
    if item.node.get("state") == "offline":
        return glyphs.dash, "dim"
    rate = int(item.node.get("rate_down") or 0)
    return f"{words.size(rate)}/s {spark(item.down, SPARK, glyphs)}", "active" if rate else "dim"


def missing(node: Mapping[str, Any]) -> Iterator[str]:
    """What keeps it from taking work, as far as the daemon says."""
    if node.get("state") == "offline":
        age = node.get("heartbeat_age_s")
        yield f"nothing was heard of it for {words.duration(age)}" if age is not None else "it is not there"
    if node.get("state") == "draining":
        yield "it takes no new downloads: it is being drained"
    if node.get("storage_missing"):
        yield "its download disk is not mounted: nothing is written, evicted or forgotten until it is"
    elif node.get("disk_total") and int(node.get("disk_free") or 0) < int(node.get("reserve") or 0):
        yield "its free space is below the reserve: odctl cache cleanup --until-free SIZE, or remove downloads"
    for engine in node.get("engines") or ():
        if not engine["ok"]:
            why = f": {engine['message']}" if engine.get("message") else ""
            yield f"{engine['name']} is down{why} – see odctl doctor"
    if not node.get("engines") and node.get("state") != "offline":
        yield "it has no engine – see odctl doctor"


def _lacks(item: NodeItem, glyphs: Glyphs, width: int) -> Cell:
    found = list(missing(item.node))
    return (f"{glyphs.warning} {'; '.join(found)}", "note") if found else ("", "dim")


class NodesPane(ListPane):
    TITLE = "Nodes"
    LIST = "nodes"
    COLUMNS = (
        Column(id="node", title="NODE", width=0, cell=lambda item, g, w: (str(item.node["id"]), "name")),
        Column(id="state", title="STATE", width=15, cell=state_of),
        Column(id="disk", title="DISK", width=22, cell=disk_of),
        Column(id="rate", title="DOWN/s", width=18, right=True, cell=rates_of),
        Column(id="lacks", title="MISSING", width=16, cell=_lacks),
        Column(id="engines", title="ENGINES", width=20, cell=engines_of),
    )

    def title(self, state: State, listed: Listed) -> str:
        return f"Nodes ─ {listed.total}" if listed.total is not None else "Nodes"

    def nothing(self, state: State, listed: Listed) -> str:
        return "The daemon names no node.\nodctl doctor looks for the cause."

    def facts(self, state: State, item: NodeItem) -> Text:
        return facts(_facts(item, self.dashboard.glyphs))


def _facts(item: NodeItem, glyphs: Glyphs) -> Iterator[Fact]:
    node = item.node
    offline = node.get("state") == "offline"
    yield "node", node["id"], "bold"
    sign, style = state_of(item, glyphs, 0)
    yield "state", sign, {"failed": "bold red", "paused": "yellow"}.get(style, "bold")
    for lack in missing(node):
        yield "missing", lack, "yellow"
    yield "role", node.get("role"), ""
    yield "version", node.get("version"), ""
    yield "address", node.get("address"), ""
    age = node.get("heartbeat_age_s")
    yield "heard", "" if age is None or node.get("role") == "controller" else f"{words.duration(age)} ago", ""
    active = node.get("jobs_active") or 0
    yield "running", f"{active} download{'s' if active != 1 else ''}", ""
    for engine in node.get("engines") or ():
        version = f" {engine['version']}" if engine.get("version") else ""
        style = "" if engine["ok"] else "red"
        yield "engine", f"{_health(engine, glyphs)} {engine['name']}{version}, {_running(engine)} running", style
        yield "", engine.get("message"), style
    yield from _disk(node, glyphs)
    if not offline:
        for name, word, history in (("rate_down", "down", item.down), ("rate_up", "up", item.up)):
            drawn = spark(history, LONG_SPARK, glyphs).strip()
            yield word, f"{words.size(int(node.get(name) or 0))}/s {drawn}", ""
    labels = ", ".join(f"{key}={value}" for key, value in (node.get("labels") or {}).items())
    yield "labels", labels, ""


def _disk(node: Mapping[str, Any], glyphs: Glyphs) -> Iterator[Fact]:
    if node.get("storage_missing"):
        yield "disk", "missing", "bold red"
        return
    total, free, reserve = (int(node.get(name) or 0) for name in ("disk_total", "disk_free", "reserve"))
    if total:
        yield "disk", disk_bar(total, free, reserve, LONG_SPARK, glyphs), ""
        yield "free", f"{words.size(free)} of {words.size(total)}", ""
        yield "reserve", words.size(reserve), ""
