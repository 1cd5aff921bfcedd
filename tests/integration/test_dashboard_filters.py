"""Filters of the dashboard: kept ones as tabs, problems, and the way through what one finds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.widgets import Input

from odctl.dashboard import preferences
from odctl.dashboard.dialogs.ask import Ask
from odctl.dashboard.filter_tabs import after
from tests.support.control import Desk, desk
from tests.support.dashboard import dashboard, shown, text, until_said, until_shown, until_state
from tests.support.wait import until

URL = "http://sim.invalid/file.bin?"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        for number, name in enumerate(("film-one", "film-two", "book", "song")):
            await built.home.add(f"{URL}{number}", paused=True, name=name)
        yield built


async def test_a_filter_is_kept_as_a_tab_and_forgotten(served: Desk, tmp_path: Path) -> None:
    file = tmp_path / "tui.toml"
    async with dashboard(served.path, preferences=file) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 4)
        await pilot.press("M")
        await until_said(app, "there is no filter to keep")
        await pilot.press(">")
        await until_said(app, "no filter is kept")
        for text_, name in (("name~film", "films [/]"), ("book", "books")):
            await pilot.press("slash", "ctrl+u", *text_, "enter")
            await pilot.press("M")
            await until(lambda: isinstance(app.screen, Ask))
            await pilot.press(*name, "enter")
            await until(lambda: name in app.preferences.filters, what=name)  # noqa: B023
        await until_shown(app, " all   films [/]   books ")
        for wanted in ("", "name~film", "book"):
            await pilot.press(">")
            await until_state(app, pilot, lambda state: state.query.filter == wanted)  # noqa: B023
        await pilot.press("<")
        await until_state(app, pilot, lambda state: state.query.filter == "name~film" and state.total == 2)
        row = next(at for at, line in enumerate(shown(app)) if "films [/]" in line)
        await pilot.click(offset=(shown(app)[row].index("books") + 1, row))
        await until_state(app, pilot, lambda state: state.query.filter == "book" and state.total == 1)
        await pilot.press("M")
        await until_said(app, "books is not kept any more")
    kept, wrong = preferences.load(file)
    assert (kept.filters, wrong) == ({"films [/]": "name~film"}, "")
    async with dashboard(served.path, preferences=file) as (app, pilot):
        await until_shown(app, " all   films [/] ")
        assert "books" not in text(app)


async def test_n_goes_round_what_a_filter_finds(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 4 and state.number is not None)
        await pilot.press("n")
        await until_said(app, "n goes through what a filter finds")
        await pilot.press("slash", *"film", "enter")
        await until_state(app, pilot, lambda state: state.total == 2 and state.number is not None)
        first = app.state.number
        await pilot.press("n")
        await until_state(app, pilot, lambda state: state.row == 1 and state.number != first)
        await pilot.press("n")
        await until_state(app, pilot, lambda state: state.number == first)
        await pilot.press("N")
        await until_state(app, pilot, lambda state: state.row == 1)


async def test_problems_are_what_failed_and_what_waits_for_something_broken(served: Desk) -> None:
    bad = await served.home.add(f"{URL}9", options={"fail-at": "0"}, name="bad")
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: (state.total or 0) >= 5)
        await pilot.press("exclamation_mark")
        await until_state(app, pilot, lambda state: state.query.filter == "problems" and state.refused is None)
        await until_state(app, pilot, lambda state: state.total == 1 and state.number == bad.job.number)
        await pilot.press("exclamation_mark")
        await until_state(app, pilot, lambda state: state.query.filter == "" and (state.total or 0) >= 5)


def test_tabs_go_round() -> None:
    filters = {"a": "1", "b": "2"}
    assert [after(filters, now, 1) for now in ("", "1", "2", "else")] == ["1", "2", "", "1"]
    assert [after(filters, now, -1) for now in ("", "1", "2", "else")] == ["2", "", "1", "2"]


async def test_what_is_wrong_with_a_filter_is_told_to_the_end(served: Desk) -> None:
    async with dashboard(served.path, size=(80, 24)) as (app, pilot):
        await until_state(app, pilot, lambda state: state.live)
        await pilot.press("slash", *"nonsense=1", "enter")
        await until_state(app, pilot, lambda state: state.refused is not None)
        assert app.state.refused is not None
        last = (app.state.refused.hint or "").split()[-1]
        await until(lambda: last in text(app), what=f"the end of the hint, {last!r}")


@pytest.mark.parametrize("written", ["映画 colour=red", "x" * 60 + " 映画" * 30 + " colour=red"])
async def test_the_mark_stands_below_what_is_wrong_in_a_filter(served: Desk, written: str) -> None:
    async with dashboard(served.path, size=(90, 24)) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 4)
        await pilot.press("slash")
        await until(lambda: app.query("#filter"))
        app.query_one("#filter", Input).value = written
        await pilot.press("home", "end")  # which scrolls it
        await until_state(app, pilot, lambda state: state.refused is not None)
        await until_shown(app, "colour=red", "^")
        lines = shown(app)
        at = next(number for number, line in enumerate(lines) if "colour=red" in line and "─" not in line)
        mark = next(line for line in lines[at:] if "^" in line)
        assert cell_len(mark[: mark.index("^")]) == cell_len(lines[at][: lines[at].index("colour")])
