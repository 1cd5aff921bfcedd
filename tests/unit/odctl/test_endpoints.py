"""Which socket, and why not."""

from __future__ import annotations

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
