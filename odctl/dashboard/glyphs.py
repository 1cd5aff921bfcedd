"""The signs of the dashboard, and their stand-ins where the terminal shows nothing but ASCII."""

from __future__ import annotations

import codecs
import locale
import os

from msgspec import Struct


class Glyphs(Struct, frozen=True, kw_only=True):
    active: str = "●"
    metadata: str = "◆"
    paused: str = "‖"
    failed: str = "✗"
    queued: str = "◷"
    completed: str = "✓"
    cancelled: str = "⊘"
    cursor: str = "▸"
    mark: str = "●"
    bar: str = "━"
    bar_half: str = "╸"
    bar_rest: str = "─"
    bar_unknown: str = "┄"
    down: str = "↓"
    up: str = "↑"
    steps: str = "▁▂▃▄▅▆▇█"
    full: str = "█"
    light: str = "░"
    more: str = "…"
    dash: str = "–"
    warning: str = "⚠"
    sort_up: str = "▲"
    sort_down: str = "▼"


UNICODE = Glyphs()
ASCII = Glyphs(
    active="*", metadata="?", paused="=", failed="x", queued="o", completed="+", cancelled="/", cursor=">", mark="#",
    bar="=", bar_half="-", bar_rest=".", bar_unknown=":", down="v", up="^", steps="_.-:=+*#", full="#", light=".",
    more="~", dash="-", warning="!", sort_up="^", sort_down="v",
)  # fmt: skip


def of_terminal() -> Glyphs:
    """Those that the terminal's character set has, by the locale."""
    if _was_c():
        return ASCII
    try:
        name = codecs.lookup(locale.getencoding()).name
    except LookupError:
        name = "ascii"
    return UNICODE if name.startswith("utf") else ASCII


def _was_c() -> bool:
    """The person said C. Python makes C.UTF-8 of that before anybody can look (PEP 538)."""
    said = os.environ.get("LC_ALL") or os.environ.get("LANG", "")
    return said in ("C", "POSIX") and os.environ.get("LC_CTYPE", "C.UTF-8") == "C.UTF-8"


def spark(values: tuple[int, ...], width: int, glyphs: Glyphs) -> str:
    """The last `width` values as steps, scaled to their highest; blanks where there are fewer."""
    shown = values[-width:] if width > 0 else ()
    top = max(shown, default=0)
    steps = glyphs.steps
    drawn = "".join(steps[min(len(steps) - 1, value * len(steps) // (top + 1))] for value in shown)
    return drawn.rjust(width)
