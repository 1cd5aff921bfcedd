"""What `link` and `play` do with links beside printing them. Signed links are never on a command line."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import shutil
import signal
import wave
from pathlib import Path
from typing import Any

import pytest
from odproto.gen.opendebrid.control import v1 as pb

from odctl.cli.browser import forget_later
from tests.support.fake_control import FakeControl
from tests.support.odctl_shell import Shell
from tests.support.origin_server import Origin
from tests.support.terminal import Terminal
from tests.support.wait import until

SECRET = "http://h/d/secret?a=1&b=2"


@pytest.fixture
def links(control: FakeControl) -> list[pb.Link]:
    control.links = [
        pb.Link(job=2, index=1, path="a/b.mkv", url=SECRET, size=5, content_type="video/x-matroska"),
        pb.Link(job=2, index=2, path="a/\x1b[2J.mkv", url=SECRET + "2", size=7, content_type="video/x-matroska"),
    ]
    return control.links


def program(folder: Path, name: str, script: str) -> str:
    """A folder for PATH that has it."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


async def test_a_playlist_is_text_that_players_read(odctl: Shell, links: list[pb.Link]) -> None:
    expected = f"#EXTM3U\n#EXTINF:-1,b.mkv\n{SECRET}\n#EXTINF:-1,\\x1b[2J.mkv\n{SECRET}2\n"
    assert (await odctl("link", "2", "--m3u")).out == expected
    assert [one["url"] for one in (await odctl("link", "2", "--m3u", "--json")).json] == [SECRET, SECRET + "2"]
    assert (await odctl("link", "2", "--m3u", "--zip")).code == 2


async def test_the_wide_form_is_a_table(odctl: Shell, links: list[pb.Link]) -> None:
    heading, first, _ = (await odctl("link", "2", "-o", "wide")).out.splitlines()
    assert heading.split() == ["JOB", "SIZE", "EXPIRES", "NODE", "PATH", "URL"]
    assert first.split()[-2:] == ["a/b.mkv", SECRET]


async def test_the_terminal_is_told_what_to_copy_and_stdout_is_not(
    odctl: Shell, links: list[pb.Link], tmp_path: Path
) -> None:
    async with Terminal() as terminal:
        terminal.fork("link", "2", "--copy", environment=odctl.environment(TERM="xterm"), cwd=tmp_path)
        assert await terminal.ended() == 0
        told = base64.b64encode(f"{SECRET}\n{SECRET}2".encode())
        assert b"\x1b]52;c;" + told in terminal.raw
        assert SECRET in terminal.text
    nowhere = await odctl("link", "2", "--copy")
    assert (nowhere.code, nowhere.out, nowhere.err) == (
        0, f"{SECRET}\n{SECRET}2\n", "odctl: there is no terminal to copy to\n"
    )  # fmt: skip


async def test_links_are_opened_through_pages_that_are_there_when_the_browser_comes(
    odctl: Shell, links: list[pb.Link], tmp_path: Path
) -> None:
    path = program(tmp_path / "bin", "xdg-open", f'echo "$@" >> {tmp_path}/asked')
    answer = await odctl("link", "2", "--open", PATH=path)
    assert (answer.code, answer.out, answer.err) == (0, f"{SECRET}\n{SECRET}2\n", "")
    pages = [Path(line) for line in (tmp_path / "asked").read_text().splitlines()]
    # odctl has ended; the browser that was told of them may only begin
    assert ["secret?a=1&amp;b=2" in page.read_text() for page in pages] == [True, True]
    assert [page.stat().st_mode & 0o777 for page in pages] == [0o600, 0o600]
    assert pages[0].parent.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(pages[0].parent)


async def test_what_could_not_be_opened_is_told_below_the_links(
    odctl: Shell, links: list[pb.Link], tmp_path: Path
) -> None:
    failed = await odctl("link", "2", "--open", PATH=program(tmp_path / "bin", "xdg-open", "exit 3"))
    assert (failed.code, failed.out) == (1, f"{SECRET}\n{SECRET}2\n")
    assert "xdg-open could not open the link (exit 3)" in failed.err
    none = await odctl("link", "2", "--open", PATH="/nonexistent")
    assert (none.code, none.err) == (9, "odctl: there is no program to open links with\n")


async def test_the_folder_of_the_pages_goes(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    forget_later(str(tmp_path / "pages"), 0.01)
    await until(lambda: not (tmp_path / "pages").exists(), what="the folder to go")


async def test_a_player_that_fails_is_told(odctl: Shell, links: list[pb.Link], tmp_path: Path) -> None:
    answer = await odctl("play", "2", PATH=program(tmp_path / "bin", "mpv", "echo noise; exit 4"), TMPDIR=str(tmp_path))
    assert (answer.code, answer.out, answer.err) == (1, "", "noise\nodctl: mpv ended with exit 4\n")
    assert not list(tmp_path.glob("odctl-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_what_ends_odctl_ends_the_player_and_leaves_no_list_behind(
    odctl: Shell, links: list[pb.Link], tmp_path: Path, number: int
) -> None:
    path = program(tmp_path / "bin", "mpv", "echo plays; exec sleep 600")
    async with Terminal() as terminal:
        environment = odctl.environment(TERM="xterm", PATH=path, TMPDIR=str(tmp_path))
        terminal.fork("play", "2", environment=environment, cwd=tmp_path)
        await terminal.shows("plays")
        assert len(list(tmp_path.glob("odctl-*.m3u"))) == 1
        if number == signal.SIGINT:
            terminal.type("\x03")
        else:
            os.kill(terminal.pid, number)
        assert await terminal.ended() == 130
    assert not list(tmp_path.glob("odctl-*.m3u"))


async def test_a_list_that_kill_9_left_goes_when_the_next_one_is_made(
    odctl: Shell, links: list[pb.Link], tmp_path: Path
) -> None:
    """It is in the session's folder; one that a player still has is left alone."""
    own = tmp_path / "run"
    own.mkdir(mode=0o700)
    path = program(tmp_path / "bin", "mpv", 'echo $$ > "$HOME/player"; exec sleep 600 <&- >&- 2>&-')
    child = await odctl.start("play", "2", PATH=path, XDG_RUNTIME_DIR=str(own))
    try:
        await until(lambda: (tmp_path / "player").exists() and (tmp_path / "player").read_text().strip())
        player = int((tmp_path / "player").read_text())
        (left,) = own.glob("odctl-*.m3u")
        assert left.stat().st_mode & 0o777 == 0o600
    finally:
        child.kill()
        await child.wait()
    os.utime(left, (1, 1))
    quick: dict[str, Any] = {"PATH": program(tmp_path / "other", "mpv", "exit 0"), "XDG_RUNTIME_DIR": str(own)}
    assert (await odctl("play", "2", **quick)).code == 0
    assert left.exists(), "a player reads it"
    os.kill(player, signal.SIGKILL)
    await until(lambda: not _of_process(Path(f"/proc/{player}/cmdline")), what="the player to end")
    assert (await odctl("play", "2", **quick)).code == 0
    assert not list(own.glob("odctl-*"))


@pytest.mark.skipif(shutil.which("mpv") is None, reason="mpv is not installed")
async def test_mpv_plays_what_it_is_given_in_private(odctl: Shell, control: FakeControl, tmp_path: Path) -> None:
    sound = io.BytesIO()
    with wave.open(sound, "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(b"\0\0" * 4000)
    async with Origin() as origin:
        origin.page("/d/secret", sound.getvalue(), content_type="audio/x-wav")
        url = origin.url("/d/secret")
        control.links = [pb.Link(job=2, index=1, path="a.wav", url=url, content_type="audio/x-wav")]
        playing = asyncio.create_task(
            odctl("play", "2", "--player", "mpv", "--", "--vo=null", "--ao=null", "--no-config", TMPDIR=str(tmp_path))
        )
        await until(lambda: origin.seen("/d/secret"), what="mpv to ask for it")
        lines = [_of_process(line) for line in Path("/proc").glob("[0-9]*/cmdline")]
        assert not [line for line in lines if b"/d/secret" in line]
        answer = await playing
    assert (answer.code, answer.out) == (0, "")
    assert "End of file" in answer.err
    assert not list(tmp_path.glob("odctl-*.m3u"))


def _of_process(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended
