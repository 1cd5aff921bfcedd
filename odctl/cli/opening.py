"""Opens the dashboard, or the picker of files. Textual is imported when it is opened, never before."""

from __future__ import annotations

from collections.abc import Sequence

from odctl.cli.context import Invocation
from odctl.client.child import Child
from odctl.client.models import File


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


def show_picker(files: Sequence[File], name: str) -> tuple[frozenset[int] | None, int]:
    """See odctl.dashboard.picker.pick."""
    from odctl.dashboard.picker import pick

    return pick(files, name)
