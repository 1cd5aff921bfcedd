"""Every screen and dialog on poor terminals: without colours, without Unicode, without room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from textual import events
from textual.color import Color
from textual.pilot import Pilot

from odctl.dashboard.app import DashboardApp
from odctl.dashboard.glyphs import of_terminal
from odctl.dashboard.options import Options
from odctl.dashboard.pace import BLURRED_MS
from tests.support.control import Desk, desk
from tests.support.dashboard import connecting, dashboard, shown, text, until_shown, until_state
from tests.support.hostile import HOSTILE
from tests.support.wait import until

BLACK = Color(0, 0, 0)
URL = "http://sim.invalid/file.bin?"
SIZES = ((130, 40), (40, 10))
POOR = {
    "no-color": {"NO_COLOR": "1"}, "linux": {"TERM": "linux"}, "dumb": {"TERM": "dumb"},
    "ascii": {"LANG": "C", "LC_ALL": "C"}, "ansi": {"TEXTUAL_THEME": "ansi-dark"},
}  # fmt: skip


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        await built.home.user("maya")
        for number, name in enumerate((*HOSTILE[:6], "film", "book")):
            if name != "\ud800":
                await built.home.add(f"{URL}{number}", paused=bool(number % 2), name=name)
        yield built


async def looked_through(app: DashboardApp, pilot: Pilot[int], check: Callable[[], None]) -> None:
    """Every screen, and every dialog of Downloads."""
    for key in "234561":
        await pilot.press(key)
        await pilot.pause()
        check()
    for key in ("enter", "question_mark", "a", "colon", "s", "c", "C", "Y", "x", "slash"):
        await pilot.press(key)
        await pilot.pause()
        check()
        await pilot.press("escape")
        await until(lambda: len(app.screen_stack) == 1, what=f"the end of what {key} opened")


@pytest.mark.parametrize("poor", POOR)
async def test_every_screen_and_dialog_is_drawn(served: Desk, poor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "COLORTERM", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in POOR[poor].items():
        monkeypatch.setenv(name, value)

    app = DashboardApp(connecting(served.path), Options(glyphs=of_terminal()))

    def check() -> None:
        for strip in app.screen._compositor.render_strips()[: app.size.height]:
            assert all(segment.style is not None for segment in strip), strip
            assert strip.cell_length == app.size.width
            for line_filter in app.get_line_filters():
                strip = strip.apply_filter(line_filter, BLACK)
            assert poor != "ascii" or strip.text.isascii(), strip.text

    async with app.run_test(size=SIZES[0]) as pilot:
        await until_state(app, pilot, lambda state: state.total is not None and state.total >= 6 and state.admin)
        for size in SIZES:
            await pilot.resize_terminal(*size)
            await pilot.pause()
            await looked_through(app, pilot, check)


async def test_a_terminal_that_shrinks_says_so_and_meets_no_key(served: Desk) -> None:
    async with dashboard(served.path, size=(80, 24)) as (app, pilot):
        await until_state(app, pilot, lambda state: (state.total or 0) >= 6 and state.number is not None)
        for size in ((39, 24), (80, 9), (1, 1), (20, 5)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
        await until(lambda: "this terminal has" in text(app).replace("\n", " "), what="a plain message")
        assert "Downloads" not in text(app)
        await pilot.press(*"dxp2:a/")
        await pilot.pause()
        assert len(app.screen_stack) == 1
        assert app.pane.id == "pane-jobs"
        await pilot.resize_terminal(100, 30)
        await until_shown(app, "Downloads", "film")
        assert "this terminal has" not in text(app)
        number = app.state.number
        await pilot.press("down")
        await until_state(app, pilot, lambda state: state.number != number)
        await pilot.resize_terminal(30, 8)
        await until(lambda: "30" in text(app), what="the other size")
        await pilot.press("q")
        await until(lambda: app.return_code == 0 or not app.is_running, what="the end")


async def test_a_terminal_without_the_focus_is_drawn_seldom(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: (state.total or 0) >= 6)
        fast = app.wanted.interval_ms
        app.post_message(events.AppBlur())
        await until(lambda: app.wanted.interval_ms == BLURRED_MS, what="the slow pace")
        assert app.feed._wanted == app.wanted
        app.post_message(events.AppFocus())
        await until(lambda: app.wanted.interval_ms == fast, what="the pace of before")
        await pilot.press("left_square_bracket")
        await until(lambda: app.wanted.interval_ms == 2 * fast)
        assert shown(app)
