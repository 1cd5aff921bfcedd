"""By what the list is sorted."""

from __future__ import annotations

from odctl.dashboard.columns import COLUMNS
from odctl.dashboard.dialogs.menu import Menu

DEFAULT = "default"

KEYS = {
    "id": "i", "name": "n", "state": "s", "progress": "p", "rate_down": "d", "rate_up": "u", "eta": "e",
    "seeders": "f", "peers": "c", "size": "z", "done": "o", "engine": "g", "user": "m", "priority": "y",
    "created": "a",
}  # fmt: skip


def sort_menu(order: str) -> Menu:
    """Its answer is a field, `reverse` or DEFAULT."""
    first = order.split(",")[0]
    now = "" if first else "  now"
    choices = [("r", "the other way round", "reverse"), ("t", f"what runs, then what needs you{now}", DEFAULT)]
    seen: set[str] = set()
    for column in COLUMNS:
        key = KEYS.get(column.sort)
        if key is None or column.sort in seen:
            continue
        seen.add(column.sort)
        here = {column.sort: "  now, upwards", f"!{column.sort}": "  now, downwards"}
        mark = here.get(first, "")
        choices.append((key, f"{column.title.lower()}{mark}", column.sort))
    return Menu("Sort by", choices)
