"""The dashboard in this process, over a control API: `odctl top` without a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from textual.app import App
from textual.pilot import Pilot

from odctl.client.daemon import DaemonClient
from odctl.client.endpoints import Choice
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.glyphs import UNICODE
from odctl.dashboard.options import Options
from odctl.dashboard.state import State
from tests.support.wait import until


def connecting(path: Path) -> Callable[[], DaemonClient]:
    return lambda: DaemonClient(Choice(paths=(path,), source="flag"))


@contextlib.asynccontextmanager
async def dashboard(
    path: Path, *, size: tuple[int, int] = (130, 40), **options: Any
) -> AsyncIterator[tuple[DashboardApp, Pilot[int]]]:
    """The dashboard of the daemon at this socket, on a screen of so many columns and lines."""
    app = DashboardApp(connecting(path), Options(glyphs=UNICODE, **options))
    async with app.run_test(size=size) as pilot:
        yield app, pilot


async def until_state(app: DashboardApp, pilot: Pilot[int], wanted: Callable[[State], bool], what: str = "") -> None:
    """Waits until the state is so, and drawn."""
    await until(lambda: wanted(app.state), what=what or "the state")
    await pilot.pause()


def shown(app: App[Any]) -> list[str]:
    """The lines of the screen as text."""
    _, height = app.size
    lines = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in line).rstrip() for line in lines[:height]]


def text(app: App[Any]) -> str:
    return "\n".join(shown(app))


async def until_shown(app: DashboardApp, *wanted: str) -> None:
    """Waits until all of these stand on the screen."""

    def absent() -> list[str]:
        now = text(app)
        return [one for one in wanted if one not in now]

    try:
        await until(lambda: not absent(), what=f"{wanted} on the screen")
    except AssertionError as error:
        raise AssertionError(f"{error}; absent: {absent()}\n{text(app)}") from None


async def until_said(app: DashboardApp, said: str) -> None:
    """Waits for a toast."""
    await until(lambda: any(said in note.message for note in app._notifications), what=f"a toast with {said!r}")
