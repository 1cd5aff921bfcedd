"""Whoever mistypes a name is told which one was meant: the daemon knows its settings, nodes and engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.daemons import Daemon

MISTYPED = [
    ("settings get limits.link_expirt", "limits.link_expiry"), ("settings get link_expiry", "limits.link_expiry"),
    ("settings get limit", "limits"), ("settings set limits.link_expirt=3h", "limits.link_expiry"),
    ("settings unset Limits.link_expiry", "limits.link_expiry"), ("nodes show her", "here"),
    ("nodes show Here", "here"),
    ("add --node hre http://127.0.0.1:9/x", "here"), ("logs --node her", "here"), ("engines test aria", "aria2"),
    ("cache cleanup --node her --older 1d --dry-run", "here"), ("add -e yt-dlp http://127.0.0.1:9/x", "ytdlp"),
    ("ls stat=active", "state"), ("ls --fields nam", "name"), ("lss", "ls"), ("cache lss", "ls"),
]  # fmt: skip


async def test_a_mistyped_name_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    async with Daemon(tmp_path / "od") as daemon:
        for line, meant in MISTYPED:
            answer = await daemon.odctl(*line.split())
            assert answer.code in (2, 3), line
            assert f"did you mean {meant}?" in answer.err.lower().replace("'", ""), (line, answer.err)
            assert (answer.out, len(answer.err.splitlines()) <= 3) == ("", True), (line, answer.err)
        strange = await daemon.odctl("settings", "set", "limits=3")
        assert "did you mean limits?" not in strange.err, "a section cannot be set"


@pytest.mark.parametrize(("name", "meant"), [("nsa", "nas"), ("atuo", "auto")])
async def test_a_mistyped_context_is_told_with_the_one_that_was_meant(tmp_path: Path, name: str, meant: str) -> None:
    daemon = Daemon(tmp_path / "od")
    daemon.folder.mkdir()
    nowhere = {"ODCTL_HOST": ""}
    (await daemon.odctl("context", "add", "nas", "unix:///nonexistent/c.sock", env=nowhere)).ok()
    for line in (f"-c {name} ls", f"context use {name}", f"context show {name}", f"context rm {name}"):
        answer = await daemon.odctl(*line.split(), env=nowhere)
        assert answer.code in (2, 3), (line, answer)
        assert f"did you mean {meant}?" in answer.err, (line, answer.err)
