"""`top`: the dashboard. Textual is imported when it is opened, never before."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from odctl.cli.app import invocation
from odctl.cli.opening import show_dashboard
from odctl.client.errors import UsageError
from odctl.dashboard.terminal import unfit

PANES = ("jobs", "nodes", "cache", "activity", "users", "settings")
"""Those of odctl.dashboard.screens, which is not imported for a help text."""


def top(
    ctx: typer.Context,
    screen: Annotated[str, typer.Option("--screen", metavar="NAME", help=", ".join(PANES) + ".")] = "jobs",
    filter_: Annotated[str, typer.Option("--filter", "-f", metavar="FILTER", help="See odctl help filters.")] = "",
    read_only: Annotated[bool, typer.Option("--read-only", help="Look, and change nothing.")] = False,
    no_mouse: Annotated[bool, typer.Option("--no-mouse", help="Leave the mouse to the terminal.")] = False,
    fps: Annotated[int | None, typer.Option("--fps", metavar="N", help="Draw at most so often a second.")] = None,
    theme: Annotated[str, typer.Option("--theme", metavar="NAME", help="One of Textual's themes.")] = "",
) -> None:
    """The dashboard: what is downloaded, live."""
    if screen not in PANES:
        raise UsageError(f"--screen: {screen!r} is none of {', '.join(PANES)}")
    if fps is not None:
        os.environ["TEXTUAL_FPS"] = str(min(max(fps, 1), 120))
    if theme:
        os.environ["TEXTUAL_THEME"] = theme
    own = invocation(ctx)
    problem = unfit()
    if problem:
        raise UsageError(problem, hint="a list that keeps itself current: odctl ls -w")
    raise typer.Exit(show_dashboard(own, pane=screen, filter=filter_, read_only=read_only, mouse=not no_mouse))
