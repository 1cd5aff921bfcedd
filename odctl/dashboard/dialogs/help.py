"""The keys of the screen, as its bindings say, and the filters in short."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.text import Text
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from odctl.dashboard.dialogs.base import Dialog

GROUPS = {"jobs": "Jobs", "list": "List", "details": "Details", "screen": "Screens", "app": "Dashboard"}
"""What stands before the dot of a binding's id; the others come below their own name."""
FILTERS = """\
state=active           also: queued, paused, completed, failed, cancelled
name~linux             a part of the name, in any case;  name~/^a.*b$/ a regular expression
size>1G rate_down>1M   sizes and speeds;  age<2d  progress<50
tag=tv user=maya       whose they are, and how they are tagged
a b   a|b   !a   ( )   and, or, not, groups         more: odctl help filters"""
WIDTH = 32
"""Of a key with its words."""
SHOWN = {"question_mark": "?", "colon": ":", "slash": "/", "asterisk": "*", "backslash": "\\", "space": "space",
         "exclamation_mark": "!", "left_square_bracket": "[", "right_square_bracket": "]", "plus": "+",
         "underscore": "_"}  # fmt: skip


def keys_of(screen: Screen[Any]) -> Iterator[tuple[str, str, str]]:
    """Group, key and words of what can be pressed there, be it only when there is a job. Each once, by the shorter of
    its keys."""
    found: dict[str, tuple[str, str, str]] = {}
    for _, binding, _, _ in screen.active_bindings.values():
        name = binding.id or ""
        if not binding.description or not name:
            continue
        key = _shown(screen, binding)
        if name not in found or len(key) < len(found[name][1]):
            found[name] = (name.partition(".")[0], key, binding.description)
    yield from found.values()


def _shown(screen: Screen[Any], binding: Binding) -> str:
    return SHOWN.get(binding.key) or screen.app.get_key_display(binding)


class Help(Dialog[None]):
    wide = True

    def __init__(self, screen: Screen[Any]) -> None:
        super().__init__("Help", "esc back")
        # asked before this is on top of it
        self.keys = list(keys_of(screen))

    def parts(self) -> list[Widget]:
        return [VerticalScroll(Static(self._drawn(), id="said", markup=False))]

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def _drawn(self) -> Text:
        groups: dict[str, list[tuple[str, str]]] = {}
        for group, key, words in self.keys:
            groups.setdefault(group, []).append((key, words))
        text = Text()
        beside = max(1, (int(self.app.size.width * 0.96) - 8) // WIDTH)
        order = [*GROUPS, *(group for group in groups if group not in GROUPS)]
        for group in order:
            if group not in groups:
                continue
            text.append(f"{GROUPS.get(group, group.capitalize())}\n", "bold")
            rows = groups[group]
            for at in range(0, len(rows), beside):
                for key, words in rows[at : at + beside]:
                    text.append(f"  {key:>10}", "bold")
                    text.append(f"  {words:<18}")
                text.append("\n")
            text.append("\n")
        text.append("Filters\n", "bold")
        text.append(FILTERS + "\n")
        return text
