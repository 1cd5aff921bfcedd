"""Opens the dashboard on this terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from odctl.client.bridge import Bridge, BridgedClient
from odctl.client.endpoints import Choice, choose
from odctl.dashboard import preferences
from odctl.dashboard.app import DashboardApp, Options
from odctl.dashboard.glyphs import Glyphs, of_terminal

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

def open_dashboard(
    bridge: Bridge, choice: Choice, *, timeout: float | None, pane: str, filter: str, read_only: bool, mouse: bool,
    glyphs: Glyphs | None = None,
) -> int:  # fmt: skip
    """Until the person leaves it. The exit code. `bridge` goes to the daemon, and is ended."""

    def connect() -> DaemonClient:
        return cast("DaemonClient", BridgedClient(bridge, choice, timeout=timeout))

    def reach(address: str) -> Callable[[], DaemonClient]:
        other = choose(address)
        return lambda: cast("DaemonClient", BridgedClient(bridge, other, timeout=timeout))

    options = Options(
        pane=pane, filter=filter, read_only=read_only, preferences=preferences.path(),
        remote="SSH_CONNECTION" in os.environ, reach=reach, glyphs=glyphs or of_terminal(),
    )  # fmt: skip
    app = DashboardApp(connect, options)
    try:
        code = app.run(mouse=mouse)
    finally:
        bridge.end()
    sys.stdout.flush()
    return int(code or 0) if app.return_code in (None, 0) else int(app.return_code or 1)
