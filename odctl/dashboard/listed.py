"""Lists beside that of jobs: of nodes, of the cache, of events. Pure: no Textual, no clock, no I/O.

As with the jobs, of a list of any length a window may be known, and the cursor is on an item, not on a row: when its
item moves it goes with it, and when its item leaves, nothing is under the cursor until it is moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from odctl.client.errors import OdctlError
from odctl.client.models import User
from odctl.dashboard.messages import Query

RATES_KEPT = 120
"""Of each node: one of each status."""
LINES_KEPT = 2000
"""Of what grows at its end."""
UNKNOWN = ""
"""The key of what stands in a row that the cursor was moved to before anything was told of it."""
GROWING = frozenset({"events", "log", "failures"})


class NodeItem(Struct, frozen=True, kw_only=True):
    """A node as the daemon told of it, and how fast it was."""

    node: Mapping[str, Any]
    down: tuple[int, ...] = ()
    up: tuple[int, ...] = ()


class Line(Struct, frozen=True, kw_only=True):
    """Of a list that grows at its end: an event, a gap among them, a line of the log, something that failed."""

    number: int
    said: Any


class Listed(Struct, frozen=True, kw_only=True):
    """The items from row `offset` on, in the daemon's order."""

    key_of: Callable[[Any], str]
    query: Query = field(default_factory=Query)
    refused: OdctlError | None = None
    """Why the daemon does not tell; what is shown is of an earlier question."""
    items: tuple[Any, ...] = ()
    offset: int = 0
    total: int | None = None
    """None: nothing was told yet."""
    row: int = 0
    key: str | None = None
    """Of the item under the cursor; None: it left, and nothing is there until the cursor is moved."""
    fresh: bool = True
    """The next answer is the first one to its question: the cursor goes to its first row."""
    tail: bool = False
    """The cursor stays on the last row, whatever comes."""

    def at(self, row: int) -> Any:
        """None where nothing is known."""
        index = row - self.offset
        return self.items[index] if 0 <= index < len(self.items) else None

    @property
    def current(self) -> Any:
        """The item under the cursor, or None."""
        found = self.at(self.row)
        return found if found is not None and self.key_of(found) == self.key else None


def told(listed: Listed, items: Sequence[Any], offset: int, total: int) -> Listed:
    """After an answer of the daemon."""
    places = {listed.key_of(item): offset + at for at, item in enumerate(items)}
    row, key = (0, None) if listed.fresh else (listed.row, listed.key)
    if key not in (None, UNKNOWN):
        if key in places:
            row = places[key]
        elif offset <= row < offset + max(len(items), 1) or row >= total:
            key = None  # it left: what stands in its row now was not aimed at
    row = max(0, min(row, total - 1))
    after = replace(
        listed, items=tuple(items), offset=offset, total=total, row=row, key=key, refused=None, fresh=False
    )
    return moved(after, row) if listed.fresh or not listed.items or key == UNKNOWN else after


def moved(listed: Listed, row: int) -> Listed:
    """The person moved the cursor to this row."""
    last = (listed.total or 1) - 1
    row = max(0, min(row, last))
    found = listed.at(row)
    return replace(listed, row=row, key=UNKNOWN if found is None else listed.key_of(found))


def grown(listed: Listed, said: Sequence[Any], *, anew: bool) -> Listed:
    """More lines at the end, of which the oldest go. `anew`: in the place of all others."""
    before: tuple[Any, ...] = () if anew else listed.items
    number = before[-1].number + 1 if before else 0
    lines = (*before, *(Line(number=number + at, said=one) for at, one in enumerate(said)))[-LINES_KEPT:]
    after = told(replace(listed, fresh=listed.fresh or anew), lines, 0, len(lines))
    return moved(after, len(lines) - 1) if listed.tail else after


def asked(listed: Listed, query: Query) -> Listed:
    return listed if query == listed.query else replace(listed, query=query, refused=None, fresh=True)


def nodes(listed: Listed, found: Sequence[Mapping[str, Any]]) -> Listed:
    """The nodes as a status tells of them; their rates are remembered."""
    known: Mapping[str, NodeItem] = {item.node["id"]: item for item in listed.items}

    def item(node: Mapping[str, Any]) -> NodeItem:
        before = known.get(node["id"])
        down, up = (before.down, before.up) if before is not None else ((), ())
        if node.get("state") == "offline":
            return NodeItem(node=node, down=down, up=up)  # nobody knows how fast it is
        return NodeItem(
            node=node, down=(*down, int(node.get("rate_down") or 0))[-RATES_KEPT:],
            up=(*up, int(node.get("rate_up") or 0))[-RATES_KEPT:],
        )  # fmt: skip

    return told(listed, [item(node) for node in found], 0, len(found))


def _line_key(line: Line) -> str:
    return str(line.number)


def _node_key(item: NodeItem) -> str:
    return str(item.node["id"])


def _entry_key(entry: Mapping[str, Any]) -> str:
    return f"{entry['key']} {entry['generation']}"


def _user_key(user: User) -> str:
    return user.id or user.name


def _setting_key(setting: Mapping[str, Any]) -> str:
    return str(setting["key"])


def every_list() -> Mapping[str, Listed]:
    """As they are before anything was told."""
    return {
        "nodes": Listed(key_of=_node_key),
        "cache": Listed(key_of=_entry_key),
        "users": Listed(key_of=_user_key),
        "settings": Listed(key_of=_setting_key),
        "events": Listed(key_of=_line_key, tail=True),
        "log": Listed(key_of=_line_key, tail=True),
        "failures": Listed(key_of=_line_key, tail=True, total=0),
    }
