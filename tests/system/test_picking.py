"""Files picked in the tree, at a real terminal: a real torrent, a real daemon, a swarm on the loopback."""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.daemons import Daemon
from tests.support.hostile import HOSTILE
from tests.support.swarm import Seeder, Tracker
from tests.support.terminal import ODCTL, Terminal
from tests.support.torrents import Content, multi
from tests.support.wait import until

TERMINAL = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "od") as running:
        yield running


async def test_a_magnet_is_looked_at_and_only_what_was_picked_is_downloaded(daemon: Daemon, tmp_path: Path) -> None:
    content = [
        Content(("S01", "E01.mkv"), b"1" * 400_000), Content(("S01", "E02.mkv"), b"2" * 500_000),
        Content(("readme.txt",), b"r" * 10),
    ]  # fmt: skip
    environment = {**daemon.environment, **TERMINAL}
    async with Tracker() as tracker, Terminal(80, 24) as terminal:
        torrent = multi("Show", content, tracker=tracker.url)
        async with Seeder(torrent, tmp_path / "seed"):
            magnet = torrent.magnet_with(tracker.url)
            await terminal.run("add", magnet, "--pick", environment=environment, cwd=daemon.folder)
            await terminal.shows("S01/", "E02.mkv", "3 of 3 files", "enter OK")
            terminal.type("space", "down", "down", "space")
            await terminal.shows("2 of 3 files", "[-]")
            terminal.type("enter")
            assert await terminal.ended() == 0
            assert terminal.restored
            await terminal.shows("2 of 3 files, ", "+ 1 ")
            assert (await daemon.until_state(1, "completed", "failed"))["state"] == "completed"
            assert await selected(daemon) == {"S01/E02.mkv", "readme.txt"}

            # the choice is changed in the same tree
            terminal.wipe()
            await terminal.run("select", "1", "--pick", environment=environment, cwd=daemon.folder)
            await terminal.shows("2 of 3 files", "[-]")
            terminal.type("q")
            assert await terminal.ended() == 1
            await terminal.shows("the selection is as it was")
            terminal.wipe()
            await terminal.run("select", "1", "--pick", environment=environment, cwd=daemon.folder)
            await terminal.shows("2 of 3 files", "[-]")
            terminal.type("*", "enter")
            assert await terminal.ended() == 0
            assert len(await selected(daemon)) == 3
            assert (await daemon.until_state(1, "completed", "failed"))["state"] == "completed"


async def selected(daemon: Daemon) -> set[str]:
    files = (await daemon.odctl("files", "1", "--json")).ok().json
    return {file["path"] for file in files if file["selected"]}


@pytest.fixture
def torrent(tmp_path: Path) -> Path:
    """One with 10,000 files, some of them named by nobody's friend."""
    names = [*HOSTILE_NAMES, *(f"part {at:05}.bin" for at in range(10_000 - len(HOSTILE_NAMES)))]
    many = multi("Many [bold]", [Content((name,), b"x") for name in names])
    path = tmp_path / "many.torrent"
    path.write_bytes(many.data)
    return path


HOSTILE_NAMES = [name[:60] for name in HOSTILE if name and not re.search("[\x00-\x1f/\ud800]", name)]
"""Those that the engine takes."""


@pytest.mark.parametrize(
    ("size", "variables", "end"),
    [((120, 40), {"NO_COLOR": "1"}, "q"), ((60, 20), {"LANG": "C"}, "escape"), ((40, 10), {}, "ctrl+c")],
    ids=["no-color", "ascii", "small"],
)
async def test_who_leaves_adds_nothing_whatever_the_terminal(
    daemon: Daemon, torrent: Path, size: tuple[int, int], variables: dict[str, str], end: str
) -> None:
    environment = {**daemon.environment, **TERMINAL, **variables}
    async with Terminal(*size) as terminal:
        await terminal.run("add", str(torrent), "--pick", environment=environment, cwd=daemon.folder)
        await terminal.shows("10000 of 10000 files", "enter OK")
        if "LANG" in variables:
            assert terminal.text.isascii(), terminal.text
        if "NO_COLOR" in variables:
            colours = re.findall(rb"[34]8;2;(\d+);(\d+);(\d+)", terminal.raw)
            assert not [colour for colour in colours if len(set(colour)) > 1], "only greys"
        terminal.type("G")
        await terminal.shows("part 09")
        terminal.type("*")
        await terminal.shows("0 of 10000 files")
        terminal.resize(80, 24)
        await until(lambda: "enter OK" in terminal.lines[23], what="the keys on the last line")
        terminal.type(end)
        assert await terminal.ended() == (130 if end == "ctrl+c" else 1)
        assert terminal.restored
        assert end == "ctrl+c" or "nothing was added" in terminal.text
        assert b"\x1b[31mred" not in terminal.raw
    assert (await daemon.odctl("ls", "--json")).ok().json == []


async def test_a_look_tells_how_many_files_there_are_and_lists_as_many_as_were_asked_for(
    daemon: Daemon, torrent: Path
) -> None:
    async with daemon.client() as client:
        for asked, told in ((0, 1000), (3, 3), (20_000, 10_000)):
            found = await client.probe(
                source="", torrent=torrent.read_bytes(), engine="", options={}, timeout_s=30, max_files=asked
            )
            assert (len(found["files"]), found["files_total"]) == (told, 10_000)


async def test_the_number_goes_into_a_pipe_while_the_tree_is_on_the_terminal(
    daemon: Daemon, torrent: Path, tmp_path: Path
) -> None:
    line = shlex.join([*ODCTL, "add", "--pick", "-q", "--paused", str(torrent)]) + f" >{tmp_path / 'out'}"
    async with Terminal(100, 30) as terminal:
        await terminal.run(
            "-c", line, program=("sh",), environment={**daemon.environment, **TERMINAL}, cwd=daemon.folder
        )
        await terminal.shows("10000 of 10000 files")
        await until(lambda: "enter OK" in terminal.lines[29], what="the tree to fill the terminal")
        terminal.type("/", "part 00007", "enter")
        await terminal.hides("part 00008")
        terminal.type("*")
        await terminal.shows("9999 of 10000 files")
        terminal.type("enter")
        assert await terminal.ended() == 0
        assert terminal.restored
    assert (tmp_path / "out").read_text() == "1\n"
    job = await daemon.job(1)
    assert (job["files_total"], job["files_selected"]) == (10_000, 9999)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_terminal_is_left_as_it_was_by_who_is_ended_in_the_tree(
    daemon: Daemon, torrent: Path, number: int
) -> None:
    environment = {**daemon.environment, **TERMINAL}
    async with Terminal(80, 24) as terminal:
        await terminal.run("add", str(torrent), "--pick", environment=environment, cwd=daemon.folder)
        await terminal.shows("10000 of 10000 files")
        os.kill(terminal.pid, number)
        assert await terminal.ended() == 128 + number
        assert terminal.restored
    assert (await daemon.odctl("ls", "--json")).ok().json == []


@pytest.mark.parametrize("typed", ["/*q\x1b\x1b\x1b", "\x03"])
async def test_keys_typed_before_the_tree_is_drawn_do_no_harm(daemon: Daemon, torrent: Path, typed: str) -> None:
    environment = {**daemon.environment, **TERMINAL}
    async with Terminal(80, 24) as terminal:
        await terminal.run("add", str(torrent), "--pick", environment=environment, cwd=daemon.folder)
        await terminal.shows("looking at")
        terminal.type(typed)
        await until(lambda: not terminal.running or "10000 files" in terminal.text, what="the tree, or the end")
        terminal.type("\x03")
        assert await terminal.ended() == 130 or "nothing was added" in terminal.text
        assert terminal.restored
    assert (await daemon.odctl("ls", "--json")).ok().json == []
