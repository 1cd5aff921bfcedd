"""The dashboard as it is opened most: without any option. No Textual here, so that it costs nothing when it cannot be.

The command line's parser alone takes a fifth of the time to the first picture, and has nothing to do for it.
"""

from __future__ import annotations

import os
import shutil
import sys

from odctl.client.child import Child

SMALLEST = (40, 10)
"""Columns and lines."""


def too_small() -> str:
    """Why nothing can be drawn here; empty: it can."""
    size = shutil.get_terminal_size()
    if size.columns < SMALLEST[0] or size.lines < SMALLEST[1]:
        least = f"{SMALLEST[0]}×{SMALLEST[1]}"
        return f"this terminal has {size.columns}×{size.lines} characters; the dashboard needs {least}"
    if os.environ.get("TERM", "dumb") == "dumb":
        return "this terminal cannot move its cursor (TERM=dumb)"
    return ""


def open_quickly() -> int | None:
    """The exit code; None: the command line has to look at this itself."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or too_small():
        return None
    # it imports the protocol while this process imports Textual
    child = Child()
    from odctl.client.endpoints import choose
    from odctl.client.errors import OdctlError

    try:
        choice = choose(None)
    except OdctlError:
        child.close()
        return None
    from odctl.client.bridge import Bridge

    bridge = Bridge(child)
    bridge.open_ahead(choice, None)
    from odctl.dashboard.launch import open_dashboard

    return open_dashboard(bridge, choice, timeout=None, pane="jobs", filter="", read_only=False, mouse=True)
