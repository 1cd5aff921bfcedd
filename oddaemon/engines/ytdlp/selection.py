"""Which entries a selection of file numbers means. Sans I/O; used on both sides of the child's pipe."""

from __future__ import annotations

from collections.abc import Set


def selected_entries(selection: Set[int] | None, entries: int, languages: int) -> Set[int] | None:
    """None: all. Of `entries` entries, the subtitles of entry i have the numbers i + entries, i + 2 * entries, … in the
    order of the languages that were asked for; whoever wants one of them wants the entry."""
    if selection is None:
        return None
    last = entries * (languages + 1)
    return {(index - 1) % entries + 1 for index in selection if 1 <= index <= last}
