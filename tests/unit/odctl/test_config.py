"""Where odctl keeps its own files."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from odctl.config import cache_dir, config_dir, home, state_dir


def test_the_folders_are_below_home_unless_they_are_named() -> None:
    assert config_dir({"HOME": "/h"}) == Path("/h/.config/opendebrid")
    assert state_dir({"HOME": "/h", "XDG_STATE_HOME": "/s"}) == Path("/s/opendebrid")
    assert cache_dir({"HOME": "/h", "XDG_CACHE_HOME": "relative"}) == Path("/h/.cache/opendebrid")
    assert config_dir({"HOME": "/h", "XDG_CONFIG_HOME": "/c", "ODCTL_CONFIG": "/own"}) == Path("/own")


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "relative"}], ids=str)
def test_without_a_home_it_is_what_the_machine_knows(environ: dict[str, str]) -> None:
    assert home(environ) == Path(pwd.getpwuid(os.getuid()).pw_dir)


def test_a_user_whom_the_machine_does_not_know_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert home({}) == Path("/nonexistent")
