"""The dialog that adds downloads, over the real control API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Checkbox, Input

from odctl.client.daemon import DaemonClient
from odctl.client.errors import OdctlError
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.dialogs.add import Add, Sources
from odctl.dashboard.file_list import FileList
from odctl.dashboard.probing import AT_ONCE, Line, Probes, lines_of
from oddaemon.domain.job import Hold, JobState
from tests.support.control import Desk, desk
from tests.support.dashboard import dashboard, text, until_said, until_state
from tests.support.fake_control import FakeDaemon
from tests.support.hostile import HOSTILE
from tests.support.wait import until

URL = "http://sim.invalid/file.bin?"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        yield built


async def opened(app: DashboardApp, pilot: Pilot[int], key: str = "a") -> Add:
    await until_state(app, pilot, lambda state: state.live)
    await pilot.press(key)
    await until(lambda: isinstance(app.screen, Add))
    await pilot.pause()
    screen = app.screen
    assert isinstance(screen, Add)
    return screen


def written(screen: Add, lines: str) -> None:
    screen.query_one(Sources).text = lines


async def test_sources_are_looked_at_while_they_are_written(served: Desk) -> None:
    done = await served.home.add(f"{URL}1", engine="simulated")
    await served.home.until_state(done, JobState.COMPLETED)
    async with dashboard(served.path) as (app, pilot):
        screen = await opened(app, pilot)
        await pilot.press(*f"{URL}1")
        await until(lambda: "already cached on here → instant" in text(app), what="the hit")
        written(screen, f"# a comment\n\n{URL}2\nnonsense\n/nowhere/x.torrent")
        await until(lambda: "→ here" in text(app) and "cannot read" in text(app) and "no scheme" in text(app))


async def test_f2_adds_and_what_failed_stays_with_its_reason(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        screen = await opened(app, pilot)
        written(screen, f"{URL}1\nnonsense\n{URL}2")
        screen.query_one("#tags", Input).value = "tv, new"
        screen.query_one("#priority", Input).value = "high"
        screen.query_one("#paused", Checkbox).value = True
        await pilot.press("f2")
        await until_state(app, pilot, lambda state: state.total == 2)
        await until(lambda: screen.query_one(Sources).text == "nonsense\n")
        await until(lambda: "no scheme" in text(app))
        written(screen, f"{URL}3")
        await pilot.press("f2")
        await until(lambda: not isinstance(app.screen, Add))
        await until(lambda: any("added 3 downloads" in note.message for note in app._notifications))
    found = await served.home.core.jobs.pick(served.home.admin, (), filter="", all_jobs=True)
    for one in found:
        assert one.job is not None
        assert (set(one.job.tags), one.job.priority, one.job.hold) == ({"tv", "new"}, 10, Hold.USER)


async def test_what_fails_after_the_dialog_was_left_is_told(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    answered, add = asyncio.Event(), DaemonClient.add

    async def late(client: DaemonClient, *arguments: Any, **options: Any) -> Any:
        await answered.wait()
        return await add(client, *arguments, **options)

    monkeypatch.setattr(DaemonClient, "add", late)
    monkeypatch.setattr("odctl.dashboard.doing.PATIENCE_SECONDS", 0.1)
    async with dashboard(served.path) as (app, pilot):
        screen = await opened(app, pilot)
        wrong = [f"nonsense-{number}" for number in range(7)]
        written(screen, "\n".join([f"{URL}1", *wrong]))
        await pilot.press("f2")
        await until_said(app, "add: still waiting for the daemon")
        await pilot.press("escape")
        await until(lambda: not isinstance(app.screen, Add))
        answered.set()
        await until_said(app, "added 1 of 8")
        await until_said(app, "add nonsense-0: ")
        await until_said(app, "and 2 more were not added")
        assert len(app.state.lists["failures"].items) == 7
        await until_state(app, pilot, lambda state: state.total == 1)


async def test_a_wrong_priority_adds_nothing(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        screen = await opened(app, pilot)
        written(screen, f"{URL}1")
        screen.query_one("#priority", Input).value = "soon"
        await pilot.press("f2")
        await until(lambda: any("is not a priority" in note.message for note in app._notifications))
        assert isinstance(app.screen, Add)


async def test_files_of_the_line_under_the_cursor_are_chosen(served: Desk) -> None:
    many = {
        "name": "show", "engine": "simulated", "size": 3, "files": [], "formats": [], "cache_key": None, "cache": None,
        "would_run_on": "here", "placement": None, "files_total": 3,
    }  # fmt: skip
    async with dashboard(served.path) as (app, pilot):
        screen = await opened(app, pilot)
        from tests.integration.test_dashboard_details import a_file

        many["files"] = [a_file(index, f"{index}.mkv") for index in (1, 2, 3)]
        screen.probes.told[Line(text=f"{URL}1")] = many
        written(screen, f"{URL}1")
        await until(lambda: len(screen.query_one(FileList).files) == 3)
        await pilot.press("f3", "space")
        await until(lambda: screen.chosen == {f"{URL}1": frozenset({2, 3})})
        assert "2 of 3 files" in text(app)
        assert screen._files_of(f"{URL}1") == "2-3"
        await pilot.press("asterisk")
        await until(lambda: screen.chosen == {})
        await pilot.press("asterisk")
        await pilot.pause()
        assert screen.chosen == {}  # at least one stays


async def test_i_looks_and_adds_nothing(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        screen = await opened(app, pilot, "i")
        written(screen, f"{URL}1")
        await until(lambda: "→ here" in text(app))
        await pilot.press("f2")
        await pilot.pause()
        assert isinstance(app.screen, Add)
        await pilot.press("escape")
        await pilot.pause()
        assert app.state.total == 0


async def test_who_only_looks_cannot_add(served: Desk) -> None:
    async with dashboard(served.path, read_only=True) as (app, pilot):
        await until_state(app, pilot, lambda state: state.live)
        await pilot.press("a")
        await pilot.pause()
        assert not isinstance(app.screen, Add)


async def test_hostile_lines_are_only_text(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        screen = await opened(app, pilot)
        area = screen.query_one(Sources)
        area.post_message(events.Paste("\n".join(HOSTILE)))
        await until(lambda: "[bold" in area.text)
        for line in lines_of(area.text):
            screen.errors[line] = OdctlError(line, hint=line)
        screen._draw()
        await pilot.pause()
        assert "\x1b" not in area.text
        assert "\x1b" not in text(app)


class Slow(DaemonClient):
    """Takes until it is told."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.cancelled = 0
        self.asked: list[str] = []
        self.go = asyncio.Event()

    async def probe(self, **what: Any) -> dict[str, Any]:
        self.asked.append(what["source"])
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return {}


async def test_few_are_looked_at_at_once_each_once_and_none_whose_line_has_gone() -> None:
    client = Slow()
    probes = Probes(lambda: client, lambda: None)
    lines = [Line(text=f"http://x.invalid/{number}") for number in range(6)]
    probes.want(lines)
    await until(lambda: client.running == AT_ONCE)
    probes.want(lines[:4])
    probes.want(lines[1:4])
    await until(lambda: client.cancelled == 1)
    client.go.set()
    await until(lambda: set(probes.told) == set(lines[1:4]))
    probes.want(lines[1:4])
    await asyncio.sleep(0)
    assert client.most == AT_ONCE
    assert len(client.asked) == len(set(client.asked))
    probes.stop()


def test_lines_without_sources_are_none() -> None:
    assert lines_of("# no\n\n  a \nb\na\n") == ["a", "b"]


async def test_what_was_added_before_the_daemon_went_away_is_not_sent_again(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    async with FakeDaemon(path) as control, dashboard(path) as (app, pilot):
        control.most_adds = 1
        screen = await opened(app, pilot)
        lines = [f"http://h/{number}" for number in range(250)]
        written(screen, "\n".join(lines))
        await pilot.press("f2")
        await until(lambda: len(control.adds) == 2)
        await until(lambda: screen.query_one(Sources).text == "\n".join(lines[200:]) + "\n")
        await until(lambda: any("added 200" in note.message for note in app._notifications))
        control.most_adds = 0
        control.trailer = None
        await pilot.press("f2")
        await until(lambda: not isinstance(app.screen, Add))
    assert [item.source for item in control.adds[2].items] == lines[200:]


async def test_what_is_pasted_onto_the_list_is_to_be_added(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.live)
        app.post_message(events.Paste(f"{URL}1\n{URL}2\x1b[2J\n"))
        await until(lambda: isinstance(app.screen, Add), what="the dialog")
        await pilot.pause()
        written_ = app.screen.query_one(Sources).text
        assert lines_of(written_)[0] == f"{URL}1"
        assert "\x1b" not in written_
        await pilot.press("f2")
        await until_state(app, pilot, lambda state: state.total == 2)


async def test_a_box_that_is_off_looks_so(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        screen = await opened(app, pilot)
        assert "[ ] paused" in text(app)
        screen.query_one("#paused", Checkbox).value = True
        await until(lambda: "[x] paused" in text(app), what="the cross")


async def test_a_look_offers_nothing_that_only_a_job_has(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        screen = await opened(app, pilot, "i")
        assert {found.id for found in screen.query(Input)} == {"engine", "node"}
        assert not screen.query(Checkbox)
