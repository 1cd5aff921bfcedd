"""Whether this terminal is one to draw on. Standard library only."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

SMALLEST = (40, 10)
"""Columns and lines."""


def too_small(columns: int, lines: int) -> str:
    least = f"{SMALLEST[0]}×{SMALLEST[1]}"
    return f"this terminal has {columns}×{lines} characters; the dashboard needs {least}"


def unfit(out: TextIO | None = None) -> str:
    """Why nothing can be drawn on `out` (stdout), with the keys of stdin; empty: it can."""
    if not (sys.stdin.isatty() and (out or sys.stdout).isatty()):
        return "the dashboard needs a terminal"
    size = shutil.get_terminal_size()
    if size.columns < SMALLEST[0] or size.lines < SMALLEST[1]:
        return too_small(size.columns, size.lines)
    if os.environ.get("TERM", "dumb") == "dumb":
        return "this terminal cannot move its cursor (TERM=dumb)"
    return ""
