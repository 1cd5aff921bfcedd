"""The details of the job under the cursor, over the real control API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from odctl.client.models import File
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.details import TABS, Details
from odctl.dashboard.file_list import FileList, edit, tree
from odctl.dashboard.glyphs import UNICODE
from odctl.dashboard.overview import formats, log_line
from oddaemon.domain.job import JobState
from tests.support.control import Desk, desk
from tests.support.dashboard import dashboard, text, until_state
from tests.support.hostile import HOSTILE
from tests.support.wait import until

URL = "http://sim.invalid/file.bin?"
SLOW = {"files": "12", "size": "9MiB", "rate": "1K"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        yield built


def a_file(index: int, path: str = "", *, selected: bool = True) -> File:
    return File(
        job=1, index=index, path=path or f"folder {index // 100}/{index}.bin", size=1, done=0, progress=0.0,
        selected=selected, priority=0, content_type=None, sha256=None, ready=False, error=None,
    )  # fmt: skip


def details(app: DashboardApp) -> Details:
    return app.query_one(Details)


async def test_a_wide_screen_shows_everything_of_the_job(served: Desk) -> None:
    job = await served.home.add(f"{URL}1", options=SLOW, name="film", tags=("tv",))
    await served.home.until_state(job, JobState.ACTIVE)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None)
        # the screen has the new text a moment before it has the new height
        for wanted in ("why node", "film", "simulated → here", "tv", "by admin", "12 (12 selected)", "rate=1024"):
            await until(lambda wanted=wanted: wanted in text(app), what=wanted)


async def test_a_failure_says_why_and_what_to_do(served: Desk) -> None:
    job = await served.home.add(f"{URL}1", options={"fail-code": "ORIGIN_GONE"})
    await served.home.until_state(job, JobState.FAILED)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None)
        await until(lambda: "the script says so" in text(app) and "r tries it again" in text(app))


async def test_files_are_selected_by_the_space_bar_and_all_by_the_star(served: Desk) -> None:
    job = await served.home.add(f"{URL}1", options=SLOW)
    await served.home.until_state(job, JobState.ACTIVE)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None)
        await until(lambda: app.query(Details))
        await pilot.press("f")
        await until(lambda: len(details(app).files.files) == 12 and app.focused is details(app).files)
        await pilot.press("down", "space")
        await until(lambda: not details(app).files.files[1].selected, what="the daemon's word that it is dropped")
        assert "[ ]" in text(app)
        await pilot.press("asterisk")
        await until(lambda: details(app).files.files[1].selected)
        await pilot.press("f", *"0003")
        await until(lambda: details(app).files.count == 2, what="the folder and the file that fits")
        await pilot.press("escape", "escape")
        await until(lambda: app.focused is not details(app).files)


async def test_log_and_peers_have_their_tabs(served: Desk) -> None:
    job = await served.home.add(f"{URL}1", options=SLOW)
    await served.home.until_state(job, JobState.ACTIVE)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None)
        await until(lambda: app.query(Details))
        await pilot.press("L")
        await until(lambda: "job started" in text(app), what="the job's log")
        await pilot.press("left")
        await until(lambda: "no peer is connected" in text(app))
        await pilot.press("right", "right")
        assert details(app).tab == TABS[0]
        await pilot.click("#tabs", offset=(12, 0))
        assert details(app).tab == "Files"


async def test_plus_and_underscore_stop_at_the_ends_and_a_start_shows_the_list(served: Desk, tmp_path: Path) -> None:
    await served.home.add(f"{URL}1", paused=True)
    kept = tmp_path / "tui.toml"
    async with dashboard(served.path, preferences=kept) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None)
        await until(lambda: app.query(Details))
        shown = []
        for key in ("plus", "plus", "underscore", "underscore", "underscore", "plus", "plus", "escape", "plus"):
            await pilot.press(key)
            await pilot.pause()
            shown.append((app.query_one("#list").display, details(app).display))
        both, alone, hidden = (True, True), (False, True), (True, False)
        assert shown == [alone, alone, both, hidden, hidden, both, alone, both, alone]
    assert "pane = 1" in kept.read_text()
    kept.write_text("pane = 2\n")  # as older ones kept it
    async with dashboard(served.path, preferences=kept) as (app, pilot):
        await until(lambda: app.query(Details))
        assert app.query_one("#list").display


async def test_the_columns_that_come_with_more_room_have_their_values(served: Desk) -> None:
    job = await served.home.add(f"{URL}1", options=SLOW, name="film")
    await served.home.until_state(job, JobState.ACTIVE)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None and state.job.state == "active")
        assert "NODE" not in text(app)
        await pilot.press("underscore")
        await until(lambda: "NODE" in text(app), what="a column more")
        await until_state(app, pilot, lambda state: state.job is not None and bool(state.job.node), "its value")


async def test_a_narrow_screen_opens_them_alone(served: Desk) -> None:
    await served.home.add(f"{URL}1", paused=True, name="film")
    async with dashboard(served.path, size=(80, 24)) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None)
        assert not app.query(Details)
        await pilot.press("enter")
        await until(lambda: app.query(Details) and details(app).has_focus_within)
        assert not app.query_one("#list").display
        await pilot.press("escape")
        await until(lambda: app.query_one("#list").display)
        assert app.focused is app.query_one("#jobs")


async def test_hostile_names_are_only_text_in_the_details(served: Desk) -> None:
    for number, name in enumerate(HOSTILE):
        if name != "\ud800":
            await served.home.add(f"{URL}{number}", paused=True, name=name)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == len(HOSTILE) - 1)
        await until(lambda: app.query(Details))
        for _ in HOSTILE:
            await pilot.press("down")
            assert "\x1b" not in text(app)
        files = details(app).files
        files.put([a_file(index, name) for index, name in enumerate(HOSTILE, 1)], len(HOSTILE))
        await pilot.press("f")
        await pilot.pause()
        assert "\x1b" not in text(app)
        files.look_for("[/]")
        await pilot.pause()
    bad = dict.fromkeys(("id", "extension", "description"), HOSTILE[5]) | {"size": None, "width": None}
    assert "\x1b" not in formats([bad]).plain
    assert "\x1b" not in log_line({"msg": HOSTILE[5], "level": HOSTILE[5], "ts": None})


async def test_ten_thousand_files_come_in_pages_that_each_cost_little(served: Desk) -> None:
    await served.home.add(f"{URL}1", paused=True)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None)
        await until(lambda: app.query(Details))
        files = details(app).files
        costs = []
        for first in range(1, 10_001, 200):
            page = [a_file(index) for index in range(first, first + 200)]
            began = time.process_time()
            files.put(page, 10_000)
            costs.append(time.process_time() - began)
            await asyncio.sleep(0)
        assert len(files.files) == 10_000
        assert files.count == 10_000 + 101
        # a page costs the same however many there are already: no pause that grows
        early, late = sorted(costs[:10])[5], sorted(costs[-10:])[5]
        assert late < 8 * early + 0.005


def test_files_stand_below_their_folders() -> None:
    rows = tree([a_file(1, "a/b/1"), a_file(2, "a/b/2"), a_file(3, "a/3"), a_file(4, "4")])
    assert [(row.text, row.depth) for row in rows] == [
        ("a/", 0), ("b/", 1), ("1", 2), ("2", 2), ("3", 1), ("4", 0),
    ]  # fmt: skip


def test_an_edit_names_only_what_changes() -> None:
    files = [a_file(index) for index in range(1, 6)]
    assert edit((1, 2, 4), files, wanted=True) == "+1-2,4"
    assert edit((3,), files, wanted=False) == "-3"
    assert edit((1, 2, 3, 4, 5), files, wanted=True) == "all"


def test_what_is_told_again_is_shown_as_told_last_wherever_it_stands() -> None:
    listed = FileList(UNICODE)
    listed.refresh = lambda *a, **k: listed  # type: ignore[method-assign]
    listed.measure = lambda: None  # type: ignore[method-assign]
    listed.put([a_file(index, f"{index}") for index in range(1, 4)], 3)
    listed.put([a_file(3, "3", selected=False)], 3)
    listed.cursor = 2
    assert listed.file is not None
    assert not listed.file.selected
