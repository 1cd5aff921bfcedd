"""The catalogue of errors about reaching a daemon, word for word as people see it; those about ssh come with ssh."""

from __future__ import annotations

import errno
import grp
import io
import os
from pathlib import Path

import pytest

from odctl.cli.output import Output
from odctl.client import endpoints
from odctl.client.endpoints import Choice, choose, find_socket
from odctl.client.errors import OdctlError

ME = endpoints.user_name()


def told(error: OdctlError) -> str:
    output = Output(out=io.StringIO(), err=io.StringIO())
    output.error(error)
    text: str = output.err.getvalue()  # type: ignore[attr-defined]
    assert len(text.splitlines()) <= 3
    return text


def of(choice: Choice, code: int = 5) -> str:
    with pytest.raises(OdctlError) as caught:
        find_socket(choice)
    assert caught.value.exit_code == code
    return told(caught.value)


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    """Of the machine's daemon: open to its group, and nobody listens."""
    path = tmp_path / "control.sock"
    path.touch()
    path.chmod(0o660)
    return path


def fails_with(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def probe(path: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(endpoints, "probe", probe)


def test_no_socket() -> None:
    paths = (Path("/nonexistent/1000/control.sock"), Path("/nonexistent/control.sock"))
    assert of(Choice(paths=paths, source="auto")) == (
        "odctl: the OpenDebrid daemon is not running on this machine\n"
        "  no socket at /nonexistent/1000/control.sock or /nonexistent/control.sock\n"
        "  start it: odctl daemon start      use another server: odctl -H unix:///path/to/control.sock\n"
    )


def test_no_member_of_the_group(socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(errno.EACCES, monkeypatch)
    monkeypatch.setattr(os, "getgrouplist", lambda user, gid: [])
    group = grp.getgrgid(socket_path.stat().st_gid).gr_name
    assert of(Choice(paths=(socket_path,), source="auto"), 4) == (
        f"odctl: not allowed to use {socket_path} (you are {ME}, uid {os.getuid()})\n"
        f'  the socket belongs to group "{group}" and you are not a member\n'
        f"  fix: sudo usermod -aG {group} {ME}\n"
    )


def test_a_session_that_began_before(socket_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(errno.EACCES, monkeypatch)
    gid = socket_path.stat().st_gid
    monkeypatch.setattr(os, "getgrouplist", lambda user, other: [gid])
    monkeypatch.setattr(os, "getgroups", list)
    monkeypatch.setattr(os, "getegid", lambda: gid + 1)
    group = grp.getgrgid(gid).gr_name
    assert of(Choice(paths=(socket_path,), source="auto"), 4) == (
        f"odctl: not allowed to use {socket_path}\n"
        f'  you ARE in group "{group}", but this login session started before you were added\n'
        f"  fix: run 'newgrp {group}', or log out and in again\n"
    )


def test_nobody_listens(socket_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(errno.ECONNREFUSED, monkeypatch)
    monkeypatch.setattr(endpoints, "SYSTEM_RUNTIME_DIR", tmp_path)
    monkeypatch.setattr(endpoints, "BOOTED_WITH_SYSTEMD", tmp_path)
    assert of(Choice(paths=(socket_path,), source="auto")) == (
        f"odctl: {socket_path} exists but nobody is listening (daemon crashed?)\n"
        "  look: journalctl -u oddaemon -n 50      start: sudo systemctl restart oddaemon\n"
    )
    # one's own daemon is in no journal
    monkeypatch.setattr(endpoints, "SYSTEM_RUNTIME_DIR", tmp_path / "other")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "opendebrid").mkdir()
    (tmp_path / "opendebrid" / "oddaemon.log").touch()
    assert of(Choice(paths=(socket_path,), source="auto")).endswith(
        f"\n  look: tail {tmp_path}/opendebrid/oddaemon.log      start: odctl daemon start\n"
    )


def test_two_variables_that_disagree(tmp_path: Path) -> None:
    (tmp_path / "contexts.toml").write_text('[contexts.nas]\nendpoint = "unix:///nas.sock"\n')
    environ = {"ODCTL_CONFIG": str(tmp_path), "ODCTL_HOST": "unix:///other.sock", "ODCTL_CONTEXT": "nas"}
    with pytest.raises(OdctlError) as caught:
        choose(None, environ)
    assert told(caught.value) == (
        "odctl: ODCTL_HOST and ODCTL_CONTEXT are both set and disagree (unix:///other.sock vs nas)\n"
        "  unset one of them\n"
    )
