"""Showing and hiding parts of a screen."""

from __future__ import annotations

from textual.widget import Widget


def show(widget: Widget, shown: bool) -> None:
    """Shows or hides it. What is set to what it is already costs a layout of the whole screen."""
    if widget.display != shown:
        widget.display = shown
