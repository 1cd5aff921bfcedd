"""Text of a given width on a terminal: wide characters count twice, and nothing in it can steer the terminal."""

from __future__ import annotations

from functools import lru_cache

from rich.cells import cell_len, set_cell_size

from odctl.text import clean


@lru_cache(maxsize=4096)
def fitted(text: str, width: int, more: str = "…", *, right: bool = False) -> str:
    """`text` in exactly `width` columns: cut with `more` at its end, or filled with blanks."""
    if width <= 0:
        return ""
    shown = clean(text)
    length = cell_len(shown)
    if length > width:
        room = width - cell_len(more)
        return set_cell_size(shown, room) + more if room > 0 else set_cell_size(shown, width)
    return " " * (width - length) + shown if right else shown + " " * (width - length)
