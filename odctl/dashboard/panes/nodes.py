"""Nodes: where downloads run, how each one is, and what it lacks. All of it is in the status that is polled anyway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from odctl import text as words
from odctl.dashboard.columns import Cell, Column
from odctl.dashboard.dialogs.confirm import Confirm
from odctl.dashboard.dialogs.form import Field, Form
from odctl.dashboard.dialogs.once import Once
from odctl.dashboard.glyphs import Glyphs, spark
from odctl.dashboard.listed import Listed, NodeItem
from odctl.dashboard.panes.listing import Fact, ListPane, facts
from odctl.dashboard.state import State

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

SPARK, LONG_SPARK, DISK_BAR = 8, 30, 8
STATES = {"online": ("active", "active"), "draining": ("paused", "paused"), "offline": ("failed", "failed")}
"""Sign and style of each state."""


def state_of(item: NodeItem, glyphs: Glyphs, width: int) -> Cell:
    state = str(item.node.get("state") or "?")
    sign, style = STATES.get(state, ("", "dim"))
    age = item.node.get("heartbeat_age_s")
    since = f" {words.duration(age)}" if state == "offline" and age is not None else ""
    draining = ", draining" if state == "offline" and item.node.get("draining") else ""
    return f"{getattr(glyphs, sign, '?')} {state}{since}{draining}", style


def load_of(item: NodeItem, glyphs: Glyphs, width: int) -> Cell:
    """Of its cores, in the last minute."""
    load = item.node.get("cpu_load")
    if load is None or item.node.get("state") == "offline":
        return glyphs.dash, "dim"
    return f"{round(load * 100)}%", "note" if load > 1 else "dim"


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
    if node.get("state") == "draining" or node.get("draining"):
        yield "it takes no new downloads: it is being drained"
    if node.get("storage_missing") and node.get("state") != "offline":
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
    CHANGES = frozenset({"drain", "token", "remove_node"})
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "drain", "Drain", id="nodes.drain"),
        Binding("n", "token", "New token", id="nodes.token"),
        Binding("d", "remove_node", "Remove", id="nodes.remove"),
    ]
    COLUMNS = (
        Column(id="node", title="NODE", width=0, cell=lambda item, g, w: (str(item.node["id"]), "name")),
        Column(id="state", title="STATE", width=15, cell=state_of),
        Column(id="disk", title="DISK", width=22, cell=disk_of),
        Column(id="rate", title="DOWN/s", width=18, right=True, cell=rates_of),
        Column(id="load", title="LOAD", width=5, right=True, cell=load_of),
        Column(id="lacks", title="MISSING", width=16, cell=_lacks),
        Column(id="engines", title="ENGINES", width=20, cell=engines_of),
    )

    def title(self, state: State, listed: Listed) -> str:
        return f"Nodes ─ {listed.total}" if listed.total is not None else "Nodes"

    def nothing(self, state: State, listed: Listed) -> str:
        return "The daemon names no node.\nodctl doctor looks for the cause."

    def facts(self, state: State, item: NodeItem) -> Text:
        return facts(_facts(item, self.dashboard.glyphs))

    # Keys

    def action_drain(self) -> None:
        """Or, of one that is drained, the end of that."""
        item: NodeItem | None = self.current
        if item is None:
            return
        name, begin = str(item.node["id"]), not _is_draining(item.node)

        async def change(client: DaemonClient) -> str:
            node = await client.nodes.change(name, draining=begin)
            if not begin:
                return f"{name} takes work again"
            left = node["jobs_active"]
            return f"draining {name}: {_downloads(left)} left" if left else f"draining {name}: nothing runs there"

        if not begin:
            self.dashboard.carry_out(f"let {name} take work again", change, self.dashboard.say)
            return
        running = item.node.get("jobs_active") or 0
        lines = [
            f"{_downloads(running)} there, which {'goes' if running == 1 else 'go'} on.",
            "Nothing new starts there, until you end it; its files are served.",
        ]
        self._confirmed(f"Drain {name}?", lines, "Drain", change)

    def action_remove_node(self) -> None:
        item: NodeItem | None = self.current
        if item is None:
            return
        name = str(item.node["id"])
        if item.node.get("role") == "controller":
            self.dashboard.say(f"{name} is the controller's own node and cannot be removed")
            return

        async def remove(client: DaemonClient) -> str:
            removed, requeued = await client.nodes.remove(name)
            return f"{removed} is removed; {_downloads(len(requeued))} went back to the queue"

        lines = [
            "It is shut out for good: to come back it needs a new join token.",
            f"{_downloads(item.node.get('jobs_active') or 0)} there, and what only it has, are fetched by others.",
            "Its files stay on its disk.",
        ]
        self._confirmed(f"Remove {name}?", lines, "Remove", remove)

    def action_token(self) -> None:
        async def make(client: DaemonClient, values: Mapping[str, str]) -> tuple[Any, str]:
            ttl = words.parse_duration(values["ttl"], "how long") if values["ttl"].strip() else 0.0
            token, _, command = await client.nodes.create_token(
                ttl_s=ttl, name=values["name"].strip(), reusable=False
            )  # fmt: skip
            return token, command

        def made(answer: tuple[Any, str] | None) -> None:
            if answer is None:
                return
            token, command = answer
            lines = [
                f"Good for one machine until {words.moment(token.expires_at)}. Paste this there:",
                "It is shown this once, and never again.",
            ]
            self.dashboard.push_screen(Once("Join token", lines, command))

        lines = ["Who has the token adds a machine with it, once."]
        self.dashboard.push_screen(Form("Let a machine join", lines, TOKEN, make), made)

    def _confirmed(
        self, question: str, lines: Sequence[str], yes: str, work: Callable[[DaemonClient], Awaitable[str]]
    ) -> None:
        def answered(agreed: bool | None) -> None:
            if agreed:
                self.dashboard.carry_out(question.rstrip("?"), work, self.dashboard.say)

        self.dashboard.push_screen(Confirm(question, lines, yes), answered)


TOKEN = (
    Field(name="name", label="its name", placeholder="its host name"),
    Field(name="ttl", label="good for", placeholder="24h"),
)


def _is_draining(node: Mapping[str, Any]) -> bool:
    return bool(node.get("draining")) or node.get("state") == "draining"


def _downloads(count: int) -> str:
    return f"{count} download{'s' if count != 1 else ''}"


def _facts(item: NodeItem, glyphs: Glyphs) -> Iterator[Fact]:
    node = item.node
    offline = node.get("state") == "offline"
    yield "node", node["id"], "bold"
    if node.get("name") != node["id"]:
        yield "name", node.get("name"), ""
    sign, style = state_of(item, glyphs, 0)
    yield "state", sign, {"failed": "bold red", "paused": "yellow"}.get(style, "bold")
    for lack in missing(node):
        yield "missing", lack, "yellow"
    yield "role", node.get("role"), ""
    yield "version", node.get("version"), ""
    yield "address", node.get("address"), ""
    age = node.get("heartbeat_age_s")
    yield "heard", "" if age is None or node.get("role") == "controller" else f"{words.duration(age)} ago", ""
    if offline and node.get("offline_since"):
        yield "since", words.moment(node["offline_since"]), ""
    yield "running", _downloads(node.get("jobs_active") or 0), ""
    if node.get("running_limit"):
        yield "at once", node["running_limit"], ""
    if not offline and node.get("cpu_load") is not None:
        yield "load", f"{round(node['cpu_load'] * 100)}% of its cores", ""
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
