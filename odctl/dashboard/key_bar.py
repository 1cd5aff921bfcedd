"""The bottom line: the keys that are useful here. One widget: Textual's Footer makes one for each key, again with every
change of focus, which costs a fifth of the start."""

from __future__ import annotations

from rich.text import Text
from textual import events
from textual.dom import DOMNode
from textual.widget import Widget


class KeyBar(Widget):
    """Drawn from the bindings that are active, in their order. A click is as the key."""

    def __init__(self) -> None:
        super().__init__(id="keys")
        self._places: list[tuple[range, str, DOMNode]] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.refresh())

    def render(self) -> Text:
        line = Text(no_wrap=True)
        places: list[tuple[range, str, DOMNode]] = []
        seen: set[str] = set()
        for node, binding, enabled, _ in self.screen.active_bindings.values():
            if not binding.show or not enabled or binding.action in seen:
                continue
            seen.add(binding.action)
            key = self.app.get_key_display(binding)
            if line.cell_len + len(key) + len(binding.description) + 4 > self.size.width:
                break
            start = line.cell_len
            line.append(" ")
            line.append(key, "bold")
            line.append(f" {binding.description} ")
            places.append((range(start, line.cell_len), binding.action, node))
        self._places = places
        return line

    async def on_click(self, event: events.Click) -> None:
        for place, action, node in self._places:
            if event.x in place:
                await self.app.run_action(action, node)
                return
