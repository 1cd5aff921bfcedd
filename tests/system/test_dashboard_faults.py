"""The dashboard when something within it breaks: the terminal is given back, and what is said is one line."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.daemons import Daemon
from tests.support.processes import command, family
from tests.support.terminal import Terminal
from tests.support.wait import until

TERMINAL = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
SECRET = "odk_0123456789abcdef0123456789abcdef_verysecret"
BROKEN = f"""
from odctl.dashboard.panes.jobs import JobsPane

def freeze(self):
    token = "local-{SECRET}"
    raise RuntimeError("at https://maya:pw@origin.test/f?key={SECRET}")

JobsPane.action_freeze = freeze
"""
"""Read by every Python that is started with its folder in PYTHONPATH."""


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "od") as running:
        yield running


async def test_a_crash_leaves_the_terminal_as_it_was_one_line_and_a_file_without_secrets(
    daemon: Daemon, tmp_path: Path
) -> None:
    customized = tmp_path / "python"
    customized.mkdir()
    (customized / "sitecustomize.py").write_text(BROKEN)
    async with Terminal() as terminal:
        environment = {**daemon.environment, **TERMINAL, "PYTHONPATH": str(customized)}
        await terminal.run("top", environment=environment, cwd=daemon.folder)
        await terminal.shows("Nothing downloading")
        terminal.type("F", "z")
        assert await terminal.ended() == 1
        assert terminal.restored
        said = " ".join(line.strip() for line in terminal.lines if line.strip())
        assert "the dashboard ended: unexpected RuntimeError" in said
        assert b"Traceback" not in terminal.raw
        assert SECRET.encode() not in terminal.raw
        (file,) = (daemon.folder / ".local/state/opendebrid").glob("odctl-crash-*")
        assert file.name in said.replace(" ", "")
    written = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert "in freeze" in written
    assert re.search(r"key: follow\n.* FollowToggled\n(.*\n)*.*key: freeze", written)
    assert SECRET not in written
    assert "maya:pw" not in written


async def test_a_closed_window_ends_it_and_its_processes(daemon: Daemon) -> None:
    async with Terminal() as terminal:
        await terminal.run("top", environment={**daemon.environment, **TERMINAL}, cwd=daemon.folder)
        await terminal.shows("Nothing downloading")
        below = list(family(terminal.pid))
        assert below
        await terminal.hang_up()
        await until(lambda: not any(map(command, below)), what="its connection to end")
    assert not list((daemon.folder / ".local/state").glob("**/odctl-crash-*"))


async def test_the_process_that_speaks_to_the_daemon_is_started_again(daemon: Daemon) -> None:
    async with Terminal() as terminal:
        await terminal.run("top", environment={**daemon.environment, **TERMINAL}, cwd=daemon.folder)
        await terminal.shows("Nothing downloading")
        (other,) = family(terminal.pid)
        os.kill(other, signal.SIGKILL)
        await daemon.add("http://127.0.0.1:9/nothing.bin", "--paused")
        await terminal.shows("nothing.bin", "paused")
        assert other not in family(terminal.pid)
        terminal.type("q")
        assert await terminal.ended() == 0
        assert terminal.restored
