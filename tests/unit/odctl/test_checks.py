"""What `doctor` sees of a machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from odctl.cli import checks
from odctl.cli.commands.doctor import clocks, links
from odctl.client.endpoints import Choice


def test_a_port_that_is_taken_is_told_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        one, two = first.getsockname()[1], second.getsockname()[1]
        found = checks.ports({one: "server.port", two: "node.file_server_port"})
    assert (found.status, found.detail.count("is taken")) == ("warn", 2)
    assert (found.hint or "").endswith("by server.port, node.file_server_port")
    assert checks.ports({one: "server.port", two: "node.file_server_port"}).status == "ok"


def test_who_lets_others_in_is_told_when_they_cannot_run_odctl(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checks, "SSH_PATH", (tmp_path,))
    with TemporaryDirectory(prefix="od-") as folder, socket.socket(socket.AF_UNIX) as listening:
        path = Path(folder, "s")
        listening.bind(str(path))
        listening.listen()
        choice = Choice(paths=(path,), source="env")
        path.chmod(0o600)
        assert checks.for_others(choice).status == "skip"
        path.chmod(0o660)
        assert checks.for_others(choice).status == "warn"
        (tmp_path / "odctl").write_text("#!/bin/sh\n")
        (tmp_path / "odctl").chmod(0o755)
        tmp_path.chmod(0o700)
        found = checks.for_others(choice)
        assert (found.status, "closed to others" in found.detail) == ("warn", True)
        monkeypatch.setattr(checks, "_open_to_all", lambda path: True)
        assert checks.for_others(choice).status == "ok"
        (tmp_path / "odctl").write_text(f"#!{tmp_path}/python\n")
        assert checks.for_others(choice).status == "warn"


def test_links_are_tried_from_here() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert links(url).status == "ok"
    assert links(url).status == "warn"


@pytest.mark.parametrize(("ahead", "status"), [(None, "skip"), (-4.0, "ok"), (6.0, "warn"), (-600.0, "warn")])
def test_clocks_may_differ_by_seconds(ahead: float | None, status: str) -> None:
    assert clocks(ahead).status == status


@pytest.mark.parametrize(("lacking", "status"), [([], "ok"), (["video"], "warn"), (["audio", "opendebrid"], "fail")])
def test_a_session_older_than_a_membership(monkeypatch: pytest.MonkeyPatch, lacking: list[str], status: str) -> None:
    monkeypatch.setattr(checks, "groups_to_come", lambda: lacking)
    assert checks.groups().status == status


def test_the_program_is_linked_for_ssh_sessions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "venv" / "odctl"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(checks, "SSH_PATH", ())
    monkeypatch.setattr(sys, "argv", [str(program)])
    found = checks.ssh_path()
    assert found.status == "warn"
    assert found.mend is not None
    link = tmp_path / ".local" / "bin" / "odctl"
    # what is to be pasted works as `--fix` does
    subprocess.run(["sh", "-c", found.fix or "false"], check=True)
    assert os.readlink(link) == str(program)
    link.unlink()
    link.parent.rmdir()
    found.mend()
    assert os.readlink(link) == str(program)
    assert checks.ssh_path().status == "ok"
