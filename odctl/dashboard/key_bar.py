"""The bottom line: the keys that are useful here. One widget: Textual's Footer makes one for each key, again with every
change of focus, which costs a fifth of the start."""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.dom import DOMNode
from textual.widget import Widget

FIRST = ("app.retry", "app.start", "jobs.add")
LAST = "app.help"
"""Always there."""


class _Key(NamedTuple):
    id: str
    shown: str
    what: str
    action: str
    node: DOMNode

    @property
    def width(self) -> int:
        return cell_len(self.shown) + len(self.what) + 3


class KeyBar(Widget):
    """Drawn from the bindings that are active, in their order. A click is as the key."""

    def __init__(self) -> None:
        super().__init__(id="keys")
        self._places: list[tuple[range, str, DOMNode]] = []
        self.pace = ""

    def show(self, pace: str) -> None:
        """How live the screen is."""
        if pace != self.pace:
            self.pace = pace
            self.refresh()

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.refresh())

    def render(self) -> Text:
        line, end = Text(no_wrap=True), f" {self.pace} " if self.pace else ""
        places: list[tuple[range, str, DOMNode]] = []
        keys = self._keys()
        last = [key for key in keys if key.id == LAST]
        room = self.size.width - len(end) - sum(key.width for key in last)
        for key in [key for key in keys if key.id != LAST] + last:
            if key.id != LAST and line.cell_len + key.width > room:
                room = 0  # the keys that come after it are of less use, even where they are shorter
                continue
            start = line.cell_len
            line.append(" ")
            line.append(key.shown, "bold")
            line.append(f" {key.what} ")
            places.append((range(start, line.cell_len), key.action, key.node))
        self._places = places
        line.append(end.rjust(self.size.width - line.cell_len), "dim")
        return line

    def _keys(self) -> list[_Key]:
        """Those that work here, the most useful first."""
        found: dict[str, _Key] = {}
        for node, binding, enabled, _ in self.screen.active_bindings.values():
            if not binding.show or not enabled:
                continue
            shown, known = self.app.get_key_display(binding), found.get(binding.action)
            if known is None or len(shown) < len(known.shown):
                found[binding.action] = _Key(binding.id or "", shown, binding.description, binding.action, node)
        first = {name: at for at, name in enumerate(FIRST)}
        return sorted(found.values(), key=lambda key: first.get(key.id, len(first)))

    async def on_click(self, event: events.Click) -> None:
        for place, action, node in self._places:
            if event.x in place:
                await self.app.run_action(action, node)
                return
