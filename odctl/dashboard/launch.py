"""Opens the dashboard on this terminal."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, cast

from odctl.client.bridge import Bridge, BridgedClient, Child
from odctl.client.endpoints import Choice
from odctl.dashboard import preferences
from odctl.dashboard.app import DashboardApp, Options

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

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


def open_dashboard(
    child: Child, choice: Choice, *, timeout: float | None, pane: str, filter: str, read_only: bool, mouse: bool
) -> int:
    """Until the person leaves it. The exit code. `child` speaks to the daemon, and is ended."""
    bridge = Bridge(child)

    def connect() -> DaemonClient:
        return cast("DaemonClient", BridgedClient(bridge, choice, timeout=timeout))

    options = Options(
        pane=pane, filter=filter, read_only=read_only, preferences=preferences.path(),
        remote="SSH_CONNECTION" in os.environ,
    )  # fmt: skip
    app = DashboardApp(connect, options)
    try:
        code = app.run(mouse=mouse)
    finally:
        child.close()
    sys.stdout.flush()
    return int(code or 0) if app.return_code in (None, 0) else int(app.return_code or 1)
