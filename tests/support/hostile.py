"""Names as nobody should give them, and some do."""

from __future__ import annotations

HOSTILE = (
    "[/]", "[bold", "[red]x[/red]", "[@click=app.quit]x[/]", "a\u202egnp.exe", "\x1b[31mred\x1b[0m\x1b]0;t\x07",
    "a\nb\tc\r",
    "\u6f22\u5b57" * 150, "\U0001f469\u200d\U0001f680" * 150, "", "\ud800", "%s {} $(x) `y`",
)  # fmt: skip
