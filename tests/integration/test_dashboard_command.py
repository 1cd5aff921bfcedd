"""The command line of the dashboard: odctl's own grammar, in a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from textual.pilot import Pilot

from odctl.dashboard import children
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.dialogs.command import CommandLine, refusal, split_open, without_sets
from odctl.dashboard.dialogs.confirm import Confirm
from odctl.dashboard.history import History
from tests.support.control import Desk, desk
from tests.support.dashboard import dashboard, text, until_state
from tests.support.hostile import HOSTILE
from tests.support.wait import until


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    async with desk(tmp_path) as built:
        yield built


async def line(app: DashboardApp, pilot: Pilot[int], typed: str) -> None:
    if not isinstance(app.screen, CommandLine):
        await pilot.press("colon")
        await until(lambda: isinstance(app.screen, CommandLine))
        await pilot.pause()
    await pilot.press(*typed, "enter")


async def test_what_odctl_prints_is_shown(served: Desk) -> None:
    await served.home.add("http://sim.invalid/x?1", paused=True, name="[b] film")
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 1)
        await line(app, pilot, "ls")
        await until(lambda: "[b] film" in text(app) and "NAME" in text(app), what="the list")
        await line(app, pilot, "nonsense")
        await until(lambda: "exit 2" in text(app))


async def test_what_needs_a_confirmation_asks_here(served: Desk) -> None:
    for number in range(2):
        await served.home.add(f"http://sim.invalid/x?{number}", paused=True)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 2)
        await line(app, pilot, "rm --all")
        await until(lambda: isinstance(app.screen, Confirm), what="the question")
        await pilot.pause()
        await pilot.press("enter")
        await until(lambda: "nothing was changed" in text(app))
        assert app.state.total == 2
        await line(app, pilot, "rm --all")
        await until(lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until_state(app, pilot, lambda state: state.total == 0)


async def test_a_yes_is_for_the_jobs_that_were_asked_about(served: Desk) -> None:
    for number in range(2):
        await served.home.add(f"http://sim.invalid/x?{number}", paused=True, name="asked about")
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 2)
        await line(app, pilot, "rm -f name~asked")
        await until(lambda: isinstance(app.screen, Confirm), what="the question")
        late = await served.home.add("http://sim.invalid/late", paused=True, name="asked about it too late")
        await pilot.pause()
        await pilot.press("y")
        await until_state(app, pilot, lambda state: state.total == 1)
        home = served.home
        left = await home.core.jobs.page(home.admin, filter="", sort="id", offset=0, limit=9, include_old=True)
        assert [view.job.number for view in left.rows] == [late.job.number]


async def test_a_yes_to_a_cleanup_is_for_the_entries_that_it_named(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    async def run(argv: list[str], on_line: object = None) -> children.Ended:
        ran.append(argv)
        if "--json" in argv:
            return children.Ended(code=0, out='{"plan": [{"key": "aria2:url:1", "generation": 2}]}', err="")
        if not any(word.startswith("--only") for word in argv):
            return children.Ended(code=2, out="", err="odctl: remove 1 entry: this needs a confirmation\n")
        return children.Ended(code=0, out="", err="")

    monkeypatch.setattr(children, "run", run)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.live)
        await line(app, pilot, "cache cleanup --older 1d")
        await until(lambda: isinstance(app.screen, Confirm), what="the question")
        await pilot.press("y")
        await until(lambda: len(ran) == 3)
    assert "--only=aria2:url:1#2" in ran[-1]


@pytest.mark.parametrize(("typed", "left", "chosen"), [
    ("rm -f name~x --keep-data", ["rm", "--keep-data"], True),
    ("rm --filter=a,b 3", ["rm", "3"], True),
    ("pause --all --for 2h", ["pause", "--for", "2h"], True),
    ("retry --failed", ["retry"], True),
    ("rm 1 2", ["rm", "1", "2"], False),
    ("ls -f x", ["ls", "-f", "x"], False),
])  # fmt: skip
def test_what_names_a_set_of_jobs(typed: str, left: list[str], chosen: bool) -> None:
    assert without_sets(typed.split()) == (left, chosen)


async def test_the_line_completes_and_remembers(
    served: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with dashboard(served.path, preferences=tmp_path / "config" / "tui.toml") as (app, pilot):
        await until_state(app, pilot, lambda state: state.live)
        await line(app, pilot, "top")
        await until(lambda: "already" in text(app))
        screen = app.screen
        assert isinstance(screen, CommandLine)
        await pilot.press("ctrl+u", *"prob", "tab")
        await until(lambda: screen._line.value == "probe ", what="the rest of the word")
        await pilot.press("up")
        assert screen._line.value == "top"
        await pilot.press("down")
        assert screen._line.value == "probe "
    assert (tmp_path / "config" / "history").read_text() == "top\n"


async def test_escape_ends_what_runs_and_then_leaves(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    ended: list[bool] = []

    async def run(argv: list[str], on_line: object = None) -> children.Ended:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        raise AssertionError

    monkeypatch.setattr(children, "run", run)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.live)
        await line(app, pilot, "ls")
        await pilot.pause()
        await pilot.press("escape")
        await until(lambda: ended)
        assert isinstance(app.screen, CommandLine)
        await pilot.press("escape")
        await until(lambda: not isinstance(app.screen, CommandLine))


async def test_hostile_lines_and_output_are_only_text(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(argv: list[str], on_line: object = None) -> children.Ended:
        return children.Ended(code=0, out="\n".join(HOSTILE), err="")

    monkeypatch.setattr(children, "run", run)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.live)
        await line(app, pilot, "ls '[/]'")
        await until(lambda: "[bold" in text(app))
        assert "\x1b" not in text(app)


@pytest.mark.parametrize("words", [
    ["top"], ["-q", "top"], ["watch"], ["daemon", "run"], ["ls", "-w"], ["logs", "--follow"], ["play", "3"], ["events"],
])  # fmt: skip
def test_what_would_take_the_terminal_is_refused_with_a_sentence(words: list[str]) -> None:
    assert refusal(words)


@pytest.mark.parametrize("words", [["ls"], ["rm", "3"], ["play", "3", "--detach"], ["events", "--no-follow"], ["logs"]])
def test_what_ends_by_itself_is_not(words: list[str]) -> None:
    assert not refusal(words)


def test_the_word_that_is_being_written_is_the_last() -> None:
    assert split_open("ls ") == ["ls", ""]
    assert split_open("") == [""]
    assert split_open("ls 'a b") == ["ls", "'a", "b"]


def test_the_history_survives_a_file_that_cannot_be_had(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.add("ls")
    assert history.older("typed") == "ls"
    assert history.newer() == "typed"


async def test_q_quits_as_in_editors(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.live)
        await line(app, pilot, "q")
        await until(lambda: app.return_code == 0 or not app.is_running, what="the end")
