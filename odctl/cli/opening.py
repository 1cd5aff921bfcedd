"""Opens the dashboard. Textual is imported when it is opened, never before."""

from __future__ import annotations

from odctl.cli.context import Invocation
from odctl.client.child import Child


def show_dashboard(
    own: Invocation, *, pane: str = "jobs", filter: str = "", read_only: bool = False, mouse: bool = True
) -> int:
    """On this terminal, until the person leaves it. The exit code."""
    choice = own.choice
    # it imports the protocol while this process imports Textual
    child = Child()
    from odctl.client.bridge import Bridge
    from odctl.dashboard.launch import open_dashboard

    return open_dashboard(
        Bridge(child), choice, timeout=own.timeout, pane=pane, filter=filter, read_only=read_only, mouse=mouse
    )
