"""Files that are fetched, and played, from the dashboard: real bytes, a player that has the terminal meanwhile."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.daemons import Daemon
from tests.support.origin_server import Origin
from tests.support.processes import family
from tests.support.terminal import Terminal
from tests.support.wait import until

TERMINAL = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
FILM = b"film" * 5000
PLAYER = """#!/bin/sh
for last; do :; done
grep -v '^#' "$last" > "$HOME/played"
echo "$@" > "$HOME/arguments"
echo "PLAYING NOW"
read answer
echo "bad codec in this film" >&2
exit ${answer:-0}
"""


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "od") as running:
        yield running


@pytest.fixture
async def origin(daemon: Daemon) -> AsyncIterator[Origin]:
    async with Origin() as serving:
        serving.page("/film.mkv", FILM)
        await daemon.until_state(await daemon.add(serving.url("/film.mkv")), "completed")
        yield serving


def with_player(daemon: Daemon, name: str = "mpv") -> dict[str, str]:
    """The environment in which this is the only player there is."""
    programs = daemon.folder / "programs"
    programs.mkdir()
    if name:
        (programs / name).write_text(PLAYER)
        (programs / name).chmod(0o755)
    for needed in ("sh", "grep"):
        (programs / needed).symlink_to(f"/bin/{needed}")
    return {**daemon.environment, **TERMINAL, "PATH": str(programs)}


def arguments_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
    except OSError:
        return ""


async def test_o_gives_the_terminal_to_a_player_and_takes_it_back(daemon: Daemon, origin: Origin) -> None:
    async with Terminal() as terminal:
        await terminal.run("top", environment=with_player(daemon), cwd=daemon.folder)
        await terminal.shows("film.mkv", "✓ completed")
        terminal.type("o")
        await terminal.shows("PLAYING NOW")
        assert terminal.restored, "it is the player's"
        told = daemon.folder / "played"
        await until(lambda: (daemon.folder / "arguments").exists())
        url = told.read_text().strip()
        assert "/d/" in url
        everyone = " ".join(arguments_of(pid) for pid in (terminal.pid, *family(terminal.pid)))
        assert "mpv" in everyone
        assert url not in everyone
        assert url.rpartition("/d/")[2] not in everyone
        playlist = (daemon.folder / "arguments").read_text().split()[-1]
        assert os.stat(playlist).st_mode & 0o777 == 0o600

        terminal.wipe()
        terminal.type("enter")
        await terminal.shows("film.mkv", "Downloads")
        assert not os.path.exists(playlist)

        # one that fails: its words can be read before the dashboard is drawn over them
        terminal.type("o")
        await terminal.shows("PLAYING NOW")
        terminal.type("3", "enter")
        await terminal.shows("bad codec in this film", "mpv ended with exit 3", "enter goes back")
        terminal.wipe()
        terminal.type("enter")
        await terminal.shows("film.mkv", "Downloads", "play ended with exit 1")
        terminal.type("q")
        assert await terminal.ended() == 0
        assert terminal.restored


async def test_without_a_player_it_says_which_are_looked_for(daemon: Daemon, origin: Origin) -> None:
    async with Terminal() as terminal:
        await terminal.run("top", environment=with_player(daemon, ""), cwd=daemon.folder)
        await terminal.shows("film.mkv", "✓ completed")
        terminal.type("o")
        await terminal.shows("no player was found: mpv, vlc, ffplay", "--player", "enter goes back")
        terminal.wipe()
        terminal.type("enter")
        await terminal.shows("film.mkv", "Downloads")
        terminal.type("q")
        assert await terminal.ended() == 0
        assert terminal.restored


async def test_w_fetches_the_file_and_says_where_to_or_why_not(daemon: Daemon, origin: Origin) -> None:
    async with Terminal() as terminal:
        folder = daemon.folder / "films"
        await terminal.run("top", environment={**daemon.environment, **TERMINAL}, cwd=daemon.folder)
        await terminal.shows("film.mkv", "✓ completed")
        terminal.type("w")
        await terminal.shows("Get to this computer")
        terminal.type("\x15", "films", "enter")
        await terminal.shows("got 1 file of 1")
        assert [file.read_bytes() for file in folder.rglob("film.mkv")] == [FILM]
        for file in folder.rglob("film.mkv"):
            file.unlink()
        for place in sorted(folder.rglob("*")):
            place.rmdir()
        folder.rmdir()
        folder.write_text("in the way")
        terminal.type("w")
        await terminal.shows("get 1:", "films")
        assert folder.read_text() == "in the way"
        terminal.type("q")
        assert await terminal.ended() == 0
        assert terminal.restored
