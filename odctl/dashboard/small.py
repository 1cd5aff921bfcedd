"""What stands on a terminal that is too small for anything else, until it is made larger again."""

from __future__ import annotations

from textual.geometry import Size
from textual.screen import Screen
from textual.widgets import Static

from odctl.dashboard.terminal import SMALLEST, too_small

COMES_BY_ITSELF = frozenset({"banner", "textual-tooltip"})
"""Parts that are there when they have something to say. Textual's tooltip would stand, empty, on the first lines."""


def fits(size: Size) -> bool:
    return size.width >= SMALLEST[0] and size.height >= SMALLEST[1]


async def show_size(screen: Screen[object], size: Size) -> bool:
    """Puts the message in the place of all else, or takes it away; whether there is room for the dashboard."""
    room = fits(size)
    note = screen.query("#small")
    if not room and not note:
        await screen.mount(Static("", id="small", markup=False))
    for found in screen.query("#small").results(Static):
        found.update(too_small(size.width, size.height))
    for part in screen.children:
        shown = (part.id == "small") != room
        if part.id not in COMES_BY_ITSELF or not shown:
            part.display = shown
    return room
