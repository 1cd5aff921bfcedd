"""Opens the dashboard on this terminal."""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from odctl.client import contexts
from odctl.client.bridge import Bridge, BridgedClient
from odctl.client.endpoints import Choice, choose
from odctl.config import Environment
from odctl.dashboard import preferences
from odctl.dashboard.first import first_wanted
from odctl.dashboard.glyphs import Glyphs, of_terminal
from odctl.dashboard.options import Options

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient
    from odctl.dashboard.app import DashboardApp


def open_dashboard(
    bridge: Bridge, choice: Choice, *, timeout: float | None, pane: str, filter: str, read_only: bool, mouse: bool,
    glyphs: Glyphs | None = None,
) -> int:  # fmt: skip
    """Until the person leaves it. The exit code. `bridge` goes to the daemon, and is ended."""
    remote, file = "SSH_CONNECTION" in os.environ, preferences.path()
    first = first_wanted(preferences.load(file)[0], filter, shutil.get_terminal_size(), remote=remote)
    bridge.open_ahead(choice, timeout, first.asked())
    # Textual, while the daemon finds out
    from odctl.dashboard.app import DashboardApp

    def connect() -> DaemonClient:
        return cast("DaemonClient", BridgedClient(bridge, choice, timeout=timeout))

    def reach(address: str) -> Callable[[], DaemonClient]:
        other = choose(address)
        return lambda: cast("DaemonClient", BridgedClient(bridge, other, timeout=timeout))

    options = Options(
        context=choice.context, color=contexts.load().color(choice.context) if choice.context else "",
        pane=pane, filter=filter, read_only=read_only, preferences=file, remote=remote, reach=reach,
        glyphs=glyphs or of_terminal(), starter=starter(choice),
    )  # fmt: skip
    app = DashboardApp(connect, options)
    fault: Exception | None = None
    try:
        code = app.run(mouse=mouse)
    except Exception as error:  # noqa: BLE001 - of Textual's own, or of the terminal
        fault, code = error, None
    finally:
        bridge.end()
    fault = app.fault or fault
    if fault is not None:
        return _broken(app, fault)
    _farewell(app)
    sys.stdout.flush()
    return int(code or 0) if app.return_code in (None, 0) else int(app.return_code or 1)


def _broken(app: DashboardApp, fault: Exception) -> int:
    """One line: what ended it, and where to read on."""
    if Environment.read().debug:
        traceback.print_exception(fault)
    error = app.mishaps.error(fault)
    with suppress(OSError):
        sys.stderr.write(f"odctl: the dashboard ended: {error.message}; {error.hint}\n")
        sys.stderr.flush()
    return 1


def starter(choice: Choice) -> tuple[str, ...]:
    """The command that starts a daemon where this one would be."""
    host = ("--host", f"unix://{choice.paths[0]}") if choice.configured else ()
    return (sys.executable, "-P", "-m", "odctl", *host, "--no-input", "daemon", "start")


def _farewell(app: DashboardApp) -> None:
    """Says, to whoever leaves for the first time, what does not end with it."""
    if app.return_code or not app.state.connection.heard_at or app.preferences.hints_seen or not sys.stderr.isatty():
        return
    sys.stderr.write("Downloads keep running without the dashboard. Bare odctl comes back to it.\n")
    with suppress(OSError):
        preferences.update(preferences.path(), {"hints_seen": True})
