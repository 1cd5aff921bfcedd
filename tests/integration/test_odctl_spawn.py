"""Starting a daemon in the background: waits until it answers, and says why when it does not."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from odctl.cli import spawn
from odctl.client.endpoints import Choice, find_socket, probe
from odctl.client.errors import OdctlError, Unreachable

LISTENS = """
import os, socket, sys, time
print("hello from", os.getsid(0) == os.getpid(), sys.argv[1:], flush=True)
while not os.path.exists(os.environ["FAKE_LOOKED"]):
    time.sleep(0.01)
with socket.socket(socket.AF_UNIX) as sock:
    sock.bind(os.environ["FAKE_SOCKET"])
    sock.listen()
    time.sleep(30)
"""
FAILS = "import sys; print('the settings cannot be used'); sys.exit(78)"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    short = Path(tempfile.mkdtemp(prefix="od"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    monkeypatch.setenv("FAKE_SOCKET", str(short / "c.sock"))
    monkeypatch.setenv("FAKE_LOOKED", str(short / "looked"))
    (tmp_path / "fake/oddaemon").mkdir(parents=True)
    (tmp_path / "fake/oddaemon/__init__.py").touch()
    yield short
    shutil.rmtree(short)


def program(tmp_path: Path, text: str) -> None:
    (tmp_path / "fake/oddaemon/__main__.py").write_text(text)


def test_it_returns_when_the_daemon_answers(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This one listens only after it was looked for in vain."""

    def look(choice: Choice) -> Path:
        try:
            return find_socket(choice)
        except Unreachable:
            (folder / "looked").touch()
            raise

    monkeypatch.setattr(spawn, "find_socket", look)
    program(tmp_path, LISTENS)
    path = folder / "c.sock"
    pid, log = spawn.spawn(Choice(paths=(path,), source="auto"), ["--flag"])
    try:
        probe(path)
        assert log.read_text() == "hello from True ['--flag']\n"
        assert log.stat().st_mode & 0o777 == 0o600
        assert log.is_relative_to(tmp_path / "state")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_daemon_that_ends_at_once_is_quoted(folder: Path, tmp_path: Path) -> None:
    program(tmp_path, FAILS)
    with pytest.raises(OdctlError, match="exit 78") as caught:
        spawn.spawn(Choice(paths=(folder / "c.sock",), source="auto"))
    assert caught.value.exit_code == 5
    assert caught.value.why == "the settings cannot be used"


def test_a_daemon_that_never_answers_is_not_waited_for_for_ever(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(30)")
    monkeypatch.setattr(spawn, "READY_SECONDS", 1.0)
    with pytest.raises(OdctlError, match="did not answer") as caught:
        spawn.spawn(Choice(paths=(folder / "c.sock",), source="auto"))
    pid = int(caught.value.why)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
