"""What a person likes, kept in a file that they may edit and that several dashboards share."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from odctl.dashboard.history import History
from odctl.dashboard.preferences import Preferences, load, update
from tests.support.hostile import HOSTILE


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "tui.toml"


@pytest.mark.parametrize("text", [*HOSTILE, "😀 name~films", '"', "\\", "\x7f", "a\nb", ""])
def test_whatever_is_kept_is_read_again(file: Path, text: str) -> None:
    update(file, {"filters": {"kept": text, text or "empty": "x"}, "sort": text})
    known, complaint = load(file)
    assert complaint == ""
    written = text.encode("utf-8", "replace").decode()  # half a character is none
    assert (known.filters["kept"], known.sort) == (written, written)
    update(file, {"hints_seen": True})
    assert load(file)[0].filters["kept"] == written


@pytest.mark.parametrize("written", ["sort = \n", "[", "a = " + "[" * 5000, "sort = 3\n", "\udc80"])
def test_a_file_with_a_slip_is_never_written_over(file: Path, written: str) -> None:
    file.parent.mkdir()
    file.write_bytes(written.encode("utf-8", "surrogateescape"))
    before = file.read_bytes()
    known, complaint = load(file)
    assert known == Preferences()
    assert complaint
    with pytest.raises(OSError, match=r"tui\.toml"):
        update(file, {"hints_seen": True})
    assert file.read_bytes() == before


def test_two_dashboards_do_not_undo_each_other(file: Path) -> None:
    update(file, {"sort": "name"})
    update(file, {"columns": ("id", "name")})
    known, _ = load(file)
    assert (known.sort, known.columns) == ("name", ("id", "name"))
    one, two = History(file.with_name("history")), History(file.with_name("history"))
    one.add("ls")
    two.add("status")
    assert History(file.with_name("history")).lines == ["ls", "status"]


def test_a_linked_file_stays_one_and_is_nobody_elses(file: Path, tmp_path: Path) -> None:
    file.parent.mkdir()
    kept = tmp_path / "dotfiles.toml"
    kept.write_text("")
    file.symlink_to(kept)
    update(file, {"sort": "name"})
    assert file.is_symlink()
    assert "name" in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert sorted(path.name for path in file.parent.iterdir()) == [".tui.toml.lock", "tui.toml"]
