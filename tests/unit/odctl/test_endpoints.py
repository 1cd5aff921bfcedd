"""Which socket, and why not."""

from __future__ import annotations

import grp
import os
from pathlib import Path

import pytest

from odctl.client import endpoints
from odctl.client.errors import UsageError


@pytest.fixture
def group_socket(tmp_path: Path) -> Path:
    path = tmp_path / "control.sock"
    path.touch()
    path.chmod(0o660)
    return path


def test_who_is_no_member_of_the_group_is_told_how_to_become_one(
    group_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getgrouplist", lambda user, gid: [])
    group = grp.getgrgid(group_socket.stat().st_gid).gr_name
    error = endpoints.denied(group_socket)
    assert error.exit_code == 4
    assert error.message.startswith(f"not allowed to use {group_socket} (you are ")
    assert error.why == f'the socket belongs to group "{group}" and you are not a member'
    assert error.hint.startswith(f"fix: sudo usermod -aG {group} ")


def test_a_session_older_than_the_membership_is_told_apart(group_socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gid = group_socket.stat().st_gid
    monkeypatch.setattr(os, "getgrouplist", lambda user, other: [gid])
    monkeypatch.setattr(os, "getgroups", list)
    monkeypatch.setattr(os, "getegid", lambda: gid + 1)
    error = endpoints.denied(group_socket)
    assert error.message == f"not allowed to use {group_socket}"
    assert "you ARE in group" in error.why
    assert "newgrp" in error.hint


def test_a_socket_for_its_owner_alone_is_not_a_matter_of_groups(group_socket: Path) -> None:
    group_socket.chmod(0o600)
    error = endpoints.denied(group_socket)
    assert ("owner only" in error.why, "control.socket_group" in error.hint) == (True, True)


def test_the_flag_wins_over_the_variable_and_both_over_the_default_places() -> None:
    environ = {"ODCTL_HOST": "unix:///b.sock", "XDG_RUNTIME_DIR": "/nonexistent"}
    assert endpoints.choose("unix:///a.sock", environ).paths == (Path("/a.sock"),)
    assert endpoints.choose(None, environ) == endpoints.Choice(paths=(Path("/b.sock"),), source="env")
    assert not endpoints.choose(None, {}).configured


@pytest.mark.parametrize(
    "wrong", ["ssh://nas", "tls://nas:1", "cmd:x", "relative", "unix://relative", "unix:///" + "x" * 200]
)
def test_addresses_that_cannot_be_used_are_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="--host"):
        endpoints.choose(wrong, {})
