"""Filters that were kept, as tabs above the list: a key or a click away. There only when there are some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.text import Text
from textual import events
from textual.message import Message
from textual.widget import Widget

from odctl.text import clean

EVERYTHING = "all"


def after(filters: Mapping[str, str], now: str, by: int) -> str:
    """The filter so many tabs on from this one, round and round; from one that is no tab, the first or the last."""
    texts = ["", *filters.values()]
    at = texts.index(now) if now in texts else (0 if by > 0 else len(texts))
    return texts[(at + by) % len(texts)]


class FilterTabs(Widget):
    """`filters` by their names; the first tab is the whole list."""

    @dataclass
    class Chosen(Message):
        filter: str

    def __init__(self, filters: Mapping[str, str]) -> None:
        super().__init__(id="filter-tabs")
        self.filters = filters
        self.now = ""
        self._places: list[tuple[range, str]] = []

    def show(self, filters: Mapping[str, str], now: str) -> None:
        """Draws them where they differ from what is shown."""
        if (filters, now) != (self.filters, self.now):
            self.filters, self.now = filters, now
            self.refresh()

    def render(self) -> Text:
        line, self._places = Text(" ", no_wrap=True, overflow="ellipsis"), []
        for name, text in {EVERYTHING: "", **self.filters}.items():
            start = line.cell_len
            line.append(f" {clean(name)} ", "bold reverse" if text == self.now else "")
            self._places.append((range(start, line.cell_len), text))
            line.append(" ")
        return line

    def on_click(self, event: events.Click) -> None:
        for place, text in self._places:
            if event.x in place:
                self.post_message(self.Chosen(text))
                return
