"""`odctl` as a person has it: typed at a terminal, a real daemon, real downloads."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.daemons import Daemon
from tests.support.http import fetch
from tests.support.origin_server import Origin
from tests.support.swarm import Seeder, Tracker
from tests.support.terminal import Terminal
from tests.support.torrents import Content, multi
from tests.support.wait import until

TERMINAL = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
BODY = bytes(range(256)) * 8_000


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "od") as running:
        yield running


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as running:
        running.page("/quick.bin", BODY)
        yield running


async def typed(terminal: Terminal, daemon: Daemon, *words: str) -> None:
    """A command on an empty screen."""
    terminal.wipe()
    await terminal.run(*words, environment={**daemon.environment, **TERMINAL}, cwd=daemon.folder)


async def drawn_again(terminal: Terminal) -> None:
    """The bar, twice since now."""
    before = terminal.raw.count("━".encode() * 3)
    await until(lambda: "━" in terminal.text and terminal.raw.count("━".encode() * 3) > before + 1, what="the bar")


async def test_a_download_is_added_watched_to_its_end_and_fetched_through_a_break(
    daemon: Daemon, origin: Origin, tmp_path: Path
) -> None:
    slow = origin.page("/slow.bin", BODY, rate=30_000)
    async with Terminal(100, 24) as terminal:
        await typed(terminal, daemon, "add", origin.url("/slow.bin"))
        assert await terminal.ended() == 0
        assert terminal.text.startswith("+ 1  "), terminal.text

        await typed(terminal, daemon, "ls", "-w")
        await terminal.shows("slow.bin", "active", "1 job")
        terminal.type("ctrl+c")
        assert await terminal.ended() == 130

        # whoever looks away stops nothing
        await typed(terminal, daemon, "watch", "1")
        await terminal.shows("━", "% ", "slow.bin")
        terminal.type("ctrl+c")
        assert await terminal.ended() == 130
        await terminal.shows("job 1 keeps running")
        assert "━" not in terminal.text, "the bar is taken away"
        assert (await daemon.job(1))["state"] == "active"

        await typed(terminal, daemon, "watch", "1")
        await terminal.shows("━", "slow.bin")
        for columns, lines in ((60, 20), (120, 30), (80, 24)):
            terminal.resize(columns, lines)
            await drawn_again(terminal)
            assert sum("━" in line for line in terminal.lines) == 1, terminal.text
        slow.rate = None
        assert await terminal.ended() == 0
        assert "━" not in terminal.text
        assert (await daemon.job(1))["state"] == "completed"

        await typed(terminal, daemon, "wait", "1")
        assert await terminal.ended() == 0
        await terminal.shows("1  completed")

        await typed(terminal, daemon, "get", "1", "--limit-rate", "300k", "--into", str(tmp_path))
        await terminal.shows("━", "KiB/s", "slow.bin")
        part = tmp_path / "slow.bin.part"
        await until(lambda: part.exists() and part.stat().st_size > 100_000, what="a part of the file")
        terminal.type("ctrl+c")
        assert await terminal.ended() == 130
        assert terminal.restored
        begun = part.stat().st_size
        assert 100_000 < begun < len(BODY)
        await typed(terminal, daemon, "get", "1", "--into", str(tmp_path))
        assert await terminal.ended() == 0
        assert (tmp_path / "slow.bin").read_bytes() == BODY
        assert not part.exists()

        terminal.resize(100, 40)
        await typed(terminal, daemon, "link", "1", "--qr")
        assert await terminal.ended() == 0
        await terminal.shows("http://", "▀")
        assert terminal.restored


async def test_a_magnet_runs_to_its_end_behind_wait(daemon: Daemon, tmp_path: Path) -> None:
    content = [Content(("film.mkv",), b"f" * 600_000), Content(("readme.txt",), b"r" * 10)]
    async with Tracker() as tracker, Terminal(100, 24) as terminal:
        torrent = multi("A Film", content, tracker=tracker.url)
        async with Seeder(torrent, tmp_path / "seed"):
            await typed(terminal, daemon, "add", torrent.magnet_with(tracker.url), "--wait")
            assert await terminal.ended() == 0
            await terminal.shows("1  completed  A Film")


async def test_what_takes_something_away_asks_first(daemon: Daemon, origin: Origin) -> None:
    for name in ("one", "two"):
        number = await daemon.add(origin.url(f"/quick.bin?{name}"), "--tag", "old")
        await daemon.until_state(number, "completed")
    async with Terminal(100, 24) as terminal:
        await typed(terminal, daemon, "rm", "-f", "tag=old")
        await terminal.shows("2 jobs", "[y/N]")
        terminal.type("n", "enter")
        assert await terminal.ended() == 1
        await terminal.shows("nothing was changed")
        assert len((await daemon.odctl("ls", "--json")).json) == 2

        await typed(terminal, daemon, "rm", "--keep-data", "-f", "tag=old")
        await terminal.shows("2 jobs", "[y/N]")
        terminal.type("y", "enter")
        assert await terminal.ended() == 0
        assert (await daemon.odctl("ls", "--json")).json == []

        await typed(terminal, daemon, "cache", "cleanup", "--older", "0s")
        await terminal.shows("2 entries", "[y/N]")
        terminal.type("enter")
        assert await terminal.ended() == 1
        await terminal.shows("nothing was changed")
        assert len((await daemon.odctl("cache", "ls", "--json")).json) == 2
        await typed(terminal, daemon, "cache", "cleanup", "--older", "0s")
        await terminal.shows("2 entries", "[y/N]")
        terminal.type("y", "enter")
        assert await terminal.ended() == 0
        assert (await daemon.odctl("cache", "ls", "--json")).json == []


async def test_downloads_are_pasted_into_the_dashboard_and_their_link_is_copied(daemon: Daemon, origin: Origin) -> None:
    """Bracketed paste, a look at each line, F2, the job's end on the screen, OSC 52, and the bytes behind the link."""
    origin.page("/slow.bin", BODY, rate=30_000)
    async with Terminal(120, 40) as terminal:
        await typed(terminal, daemon)
        await terminal.shows("Nothing downloading")
        terminal.type("a")
        await terminal.shows("Add downloads")
        pasted = "\n".join([origin.url("/quick.bin"), "", "# a comment", origin.url("/slow.bin"), "nonsense"])
        terminal.type(f"\x1b[200~{pasted}\x1b[201~")
        await terminal.shows("quick.bin  aria2", "slow.bin  aria2", "→ here", "nonsense")
        assert (await daemon.odctl("ls", "--json")).json == [], "a look adds nothing"
        terminal.type("f2")
        # what is wrong stays, with its reason
        await terminal.shows("no scheme")
        await until(lambda: "quick.bin  aria2" not in terminal.text, what="only what failed to be left")
        terminal.type("escape")
        await terminal.shows("added 2 downloads")
        await terminal.shows("quick.bin", "✓ completed", "slow.bin", "active")

        terminal.type("/", "name~quick", "enter")
        await terminal.hides("slow.bin")
        before = len(terminal.raw)
        terminal.type("y")

        def copied() -> str:
            terminal.text  # noqa: B018 - reads what was written
            found = re.findall(rb"\x1b\]52;c;([A-Za-z0-9+/=]+)\x07", terminal.raw[before:])
            return base64.b64decode(found[-1]).decode() if found else ""

        link = await until(copied, what="the clipboard")
        assert link.startswith("http://")
        await terminal.shows(link[:40])
        assert (await fetch(link)).body == BODY
        terminal.type("q")
        assert await terminal.ended() == 0
        assert terminal.restored
