"""Links and other text to take away, files to this machine, and the menus of the list."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from odctl.dashboard import children, clipboard
from odctl.dashboard.dialogs.base import Dialog
from odctl.dashboard.dialogs.link import Copied
from odctl.dashboard.dialogs.menu import Menu
from odctl.dashboard.qr import drawn, halves
from oddaemon.domain.job import JobState
from tests.support.control import Desk, desk
from tests.support.core import HERE
from tests.support.dashboard import dashboard, text, until_state
from tests.support.hostile import HOSTILE
from tests.support.wait import until

URL = "http://sim.invalid/file.bin?"


@pytest.fixture(autouse=True)
def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


class NoServer:
    """Serves nothing: links are made, and nobody follows them."""

    async def revoke(self, links: object) -> None: ...

    async def rekey(self, keys: object) -> None: ...


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        done = await built.home.add(f"{URL}1", name="film")
        await built.home.until_state(done, JobState.COMPLETED)
        built.parts.links.servers.serve_on(HERE, "http://127.0.0.1:1", NoServer())
        yield built


async def test_y_copies_the_link_and_shows_it_whole(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None)
        await pilot.press("y")
        await until(lambda: app.clipboard.startswith("http"), what="the link in the clipboard")
        await until(lambda: any(app.clipboard in note.message for note in app._notifications))


async def test_a_link_that_cannot_be_had_says_why(served: Desk) -> None:
    await served.home.add(f"{URL}2", paused=True, name="waits")
    async with dashboard(served.path, filter="name~waits") as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None)
        await pilot.press("y")
        await until(lambda: any(note.severity == "error" for note in app._notifications))
        assert app.clipboard == ""


async def test_the_menu_copies_what_the_job_has(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None)
        for key, wanted in (("i", "1"), ("m", f"{URL}1"), ("n", "film")):
            await pilot.press("Y")
            await until(lambda: isinstance(app.screen, Menu))
            await pilot.pause()
            await pilot.press(key)
            await until(lambda wanted=wanted: app.clipboard == wanted, what=f"{wanted} in the clipboard")  # type: ignore[misc]
            while isinstance(app.screen, Dialog):
                await pilot.press("escape")
        await pilot.press("Y")
        await until(lambda: isinstance(app.screen, Menu))
        await pilot.press("j")
        await until(lambda: isinstance(app.screen, Copied))
        assert json.loads(app.clipboard)["name"] == "film"


async def test_q_shows_a_code(served: Desk) -> None:
    async with dashboard(served.path, size=(130, 60)) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None)
        await pilot.press("Q")
        await until(lambda: isinstance(app.screen, Copied))
        await pilot.pause()
        assert "▀" in text(app)
        assert "http" in text(app)


def test_a_code_is_two_modules_a_line() -> None:
    assert halves([[True, False], [False, True], [True, True]]) == ["▀▄", "██"]
    lines = drawn("http://127.0.0.1/d/x/file")
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) in (2 * len(lines), 2 * len(lines) - 1)


def test_over_ssh_no_program_of_this_machine_gets_the_text(tmp_path: Path) -> None:
    tool = tmp_path / "xclip"
    tool.write_text("#!/bin/sh\ncat >$OUT\n")
    tool.chmod(0o755)
    here = {"PATH": str(tmp_path), "DISPLAY": ":0"}
    assert clipboard.program(here) == (str(tool), "-selection", "clipboard")
    assert clipboard.program({**here, "SSH_CONNECTION": "a b"}) == ()
    assert clipboard.program({"PATH": str(tmp_path)}) == ()


async def test_w_gets_the_files_with_odctl_itself(
    served: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []

    async def run(argv: list[str], on_line: object) -> children.Ended:
        ran.append(argv)
        assert callable(on_line)
        on_line('{"index": 1, "done": 1048576, "rate_down": 1024}')
        return children.Ended(code=9 if len(ran) > 1 else 0, out="film\n", err="")

    monkeypatch.setattr(children, "run", run)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None)
        await pilot.press("w")
        await until(lambda: isinstance(app.screen, Dialog))
        await pilot.pause()
        await pilot.press("ctrl+u", *str(tmp_path), "enter")
        await until(lambda: any("got 1 file" in note.message for note in app._notifications))
        await pilot.press("w")  # the folder was asked for once
        await until(lambda: len(ran) == 2)
        await until(lambda: any(note.severity == "error" for note in app._notifications))
    assert ran[0][1:6] == ["-P", "-m", "odctl", "--host", f"unix://{served.path}"]
    assert ran[0][-4:] == ["--into", str(tmp_path), "--progress", "jsonl"]


async def test_o_plays_without_the_link_among_the_arguments(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    async def run(argv: list[str], on_line: object = None) -> children.Ended:
        ran.append(argv)
        return children.Ended(code=0, out="", err="mpv plays (pid 1)\n")

    monkeypatch.setattr(children, "run", run)
    monkeypatch.setenv("DISPLAY", ":0")
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None)
        await pilot.press("o")
        await until(lambda: any("mpv plays" in note.message for note in app._notifications))
    assert ran[0][-3:] == ["play", "1", "--detach"]


async def test_a_child_runs_with_the_same_daemon_and_is_ended_with_us(tmp_path: Path) -> None:
    lines: list[str] = []
    ended = await children.run(children.command(f"unix://{tmp_path}/none", ["ls"]), lines.append)
    assert ended.code == 5
    assert lines


async def test_s_sorts_and_c_chooses_columns(served: Desk, tmp_path: Path) -> None:
    kept = tmp_path / "tui.toml"
    async with dashboard(served.path, preferences=kept) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 1)
        await pilot.press("s")
        await until(lambda: isinstance(app.screen, Menu))
        await pilot.press("z")
        await until_state(app, pilot, lambda state: state.query.sort == "size")
        for key, order in (("t", ""), ("z", "size")):
            await pilot.press("s")
            await until(lambda: isinstance(app.screen, Menu))
            await pilot.press(key)
            await until_state(app, pilot, lambda state: state.query.sort == order)  # noqa: B023
        await pilot.press("c")
        await until(lambda: isinstance(app.screen, Dialog))
        await pilot.pause()
        await pilot.press("down", "space", "enter")
        await until(lambda: "name" not in app.preferences.columns)
        await pilot.pause()
        assert "NAME" not in text(app)
    assert 'sort = "size"' in kept.read_text()


async def test_hostile_names_are_only_text_in_what_is_copied(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None)
        for name in HOSTILE:
            await app.push_screen(Copied(name, [name]))
            await app.push_screen(Menu(name, [("k", name, "k")]))
            await pilot.pause()
            assert "\x1b[31m" not in text(app)
            await pilot.press("escape", "escape")


