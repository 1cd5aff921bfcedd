"""The dashboard as a person has it: `odctl` typed at a terminal, a real daemon, a real download."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.daemons import Daemon
from tests.support.origin_server import Origin
from tests.support.processes import command, family
from tests.support.terminal import Terminal
from tests.support.wait import until

TERMINAL = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "od") as running:
        yield running


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8", **TERMINAL}


async def test_a_download_is_watched_filtered_and_marked_through_a_crash_of_the_daemon(daemon: Daemon) -> None:
    async with Origin() as origin, Terminal() as terminal:
        origin.page("/film.mkv", b"f" * 3_000_000, rate=30_000)
        origin.page("/book.txt", b"b" * 1000)
        await terminal.run(environment={**daemon.environment, **TERMINAL}, cwd=daemon.folder)
        await terminal.shows("Nothing downloading")
        await daemon.add(origin.url("/film.mkv"))
        book = await daemon.add(origin.url("/book.txt"))
        await terminal.shows("film.mkv", "active", "book.txt")
        await daemon.until_state(book, "completed")
        await terminal.shows("✓ completed")

        terminal.type("/")
        await terminal.shows("rate_down>1M")
        terminal.type("name~film", "enter")
        await terminal.hides("book.txt")
        await terminal.shows("/name~film", "1 of 2")
        terminal.type("escape")
        await terminal.shows("book.txt")
        terminal.type("*")
        await terminal.shows("2 marked")
        terminal.type("\\")
        await terminal.hides("marked")

        await daemon.kill()
        await terminal.shows("unreachable", "film.mkv", "retry in")
        assert "shown as of" in terminal.text, "what is stale says how old it is"
        await daemon.start()
        await terminal.hides("unreachable")
        await terminal.shows("film.mkv", "active")

        for columns, lines in ((80, 24), (60, 20), (120, 40)):
            terminal.resize(columns, lines)
            await terminal.shows("film", "Downloads")
            await until(lambda: "Pause" in terminal.lines[-1], what="the keys on the last line")

        terminal.type("q")
        assert await terminal.ended() == 0
        assert terminal.restored
        assert "Downloads keep running" in terminal.text
        assert (await daemon.job(1))["state"] == "active"

        terminal.wipe()
        await terminal.run(environment={**daemon.environment, **TERMINAL}, cwd=daemon.folder)
        await terminal.shows("film.mkv")
        before = terminal.raw.count(b"keep running")
        terminal.type("q")
        assert await terminal.ended() == 0
        assert terminal.raw.count(b"keep running") == before, "it is said once"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
async def test_no_process_is_left_by_a_dashboard_that_is_killed(daemon: Daemon, how: int) -> None:
    async with Terminal() as terminal:
        await terminal.run("top", environment={**daemon.environment, **TERMINAL}, cwd=daemon.folder)
        await terminal.shows("Nothing downloading")
        below = list(family(terminal.pid))
        assert below
        os.kill(terminal.pid, how)
        await terminal.ended()
        await until(lambda: not any(map(command, below)), what="its connection to end")
        assert terminal.restored or how == signal.SIGKILL


async def test_an_offline_start_shows_what_was_tried_and_starts_a_daemon(tmp_path: Path) -> None:
    """The daemon that it starts is this user's own."""
    daemon = Daemon(tmp_path / "od")
    daemon.folder.mkdir()
    async with Terminal() as terminal:
        try:
            await terminal.run(environment={**daemon.environment, **TERMINAL}, cwd=daemon.folder)
            await terminal.shows("not running", str(daemon.socket), "start it")
            terminal.type("s")
            await terminal.shows("Nothing downloading", timeout=90)
            terminal.type("q")
            assert await terminal.ended() == 0
        finally:
            (await daemon.odctl("daemon", "stop")).ok()


async def test_a_terminal_that_was_too_small_is_drawn_anew(environment: dict[str, str], tmp_path: Path) -> None:
    async with Terminal(100, 30) as terminal:
        await terminal.run(environment=environment, cwd=tmp_path)
        await terminal.shows("not running")
        # not the banner's line whole, which counts seconds
        places = [(1, 40), (2, 40), (3, 100), (4, 100)]
        before = [terminal.lines[line][:width] for line, width in places]
        for size in ((30, 8), (100, 30)) * 2:
            terminal.resize(*size)
            await terminal.shows("needs 40" if size[0] < 40 else "not running")
        await until(
            lambda: [terminal.lines[line][:width] for line, width in places] == before, what="what stood there before"
        )
        terminal.type("q")
        assert await terminal.ended() == 0


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [({"NO_COLOR": "1"}, "●"), ({"TERM": "linux"}, "●"), ({"LANG": "C"}, "*")],
    ids=["no-color", "linux", "ascii"],
)
async def test_poorer_terminals(daemon: Daemon, variables: dict[str, str], wanted: str) -> None:
    async with Origin() as origin, Terminal(100, 30) as terminal:
        origin.page("/film.mkv", b"f" * 3_000_000, rate=30_000)
        await daemon.add(origin.url("/film.mkv"))
        await terminal.run(environment={**daemon.environment, **TERMINAL, **variables}, cwd=daemon.folder)
        await terminal.shows("film.mkv", f"{wanted} active")
        if "LANG" in variables:
            assert terminal.text.isascii(), terminal.text
        if "NO_COLOR" in variables:
            colours = re.findall(rb"[34]8;2;(\d+);(\d+);(\d+)", terminal.raw)
            assert not [colour for colour in colours if len(set(colour)) > 1], "only greys"
        terminal.type("q")
        assert await terminal.ended() == 0
        assert terminal.restored


async def test_where_it_cannot_be_drawn_it_says_so(environment: dict[str, str], tmp_path: Path) -> None:
    for variables, size, said in (
        ({"TERM": "dumb"}, (80, 24), "TERM=dumb"), ({}, (30, 24), "30×24"),
    ):  # fmt: skip
        async with Terminal(*size) as terminal:
            await terminal.run(environment={**environment, **variables}, cwd=tmp_path)
            assert await terminal.ended() == 2
            assert said in terminal.text.replace("\n", "") or said.encode() in terminal.raw
            assert b"Usage: odctl" in terminal.raw
            assert terminal.restored


@pytest.mark.parametrize("typed", ["q", "qqq"])
async def test_left_before_it_was_drawn(environment: dict[str, str], tmp_path: Path, typed: str) -> None:
    async with Terminal() as terminal:
        await terminal.run(environment={**environment, "ODCTL_HOST": "unix:///nonexistent/c.sock"}, cwd=tmp_path)
        terminal.type(typed)
        assert await terminal.ended() == 0, terminal.text
        assert terminal.restored
