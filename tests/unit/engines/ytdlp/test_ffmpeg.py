from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from oddaemon.engines.ytdlp.ffmpeg import find_ffmpeg


def program(directory: Path) -> Path:
    path = directory / "ffmpeg"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_path_wins_then_the_extra_then_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "extra").mkdir()
    extra = ModuleType("imageio_ffmpeg")
    extra.get_ffmpeg_exe = lambda: str(program(tmp_path / "extra"))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", extra)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert find_ffmpeg() == str(tmp_path / "extra" / "ffmpeg")
    on_path = program(tmp_path / "path")
    assert find_ffmpeg() == str(on_path)
    on_path.unlink()
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert find_ffmpeg() is None
