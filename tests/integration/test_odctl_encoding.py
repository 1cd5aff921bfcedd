"""A terminal that is not UTF-8: everything can be read, and nothing fails."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from odproto.gen.opendebrid.control import v1 as pb

from tests.support.fake_control import FakeControl
from tests.support.odctl_shell import Shell

LATIN = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}


async def run(odctl: Shell, *words: str) -> tuple[int, str, str]:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "odctl", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=odctl.environment() | LATIN, cwd=odctl.home,
    )  # fmt: skip
    out, err = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode is not None
    return child.returncode, out.decode("latin-1"), err.decode("latin-1")


async def test_our_signs_have_look_alikes_and_names_are_told_by_number(odctl: Shell, control: FakeControl) -> None:
    control.jobs[1].name = "Müller 日本"
    _, listed, _ = await run(odctl, "ls")
    assert "Müller \\u65e5\\u672c" in listed
    code, found, err = await run(odctl, "files", "2")
    assert (code, err) == (0, "")
    assert "1  v  " in found
    assert "\\u2713" not in found
    _, checked, _ = await run(odctl, "doctor")
    assert "\\u27" not in checked
    _, _, told = await run(odctl, "help", "json")
    assert "\\u" not in told


async def test_json_is_ascii_and_a_code_is_drawn_in_colours(odctl: Shell, control: FakeControl, tmp_path: Path) -> None:
    control.jobs[1].name = "日本"
    _, listed, _ = await run(odctl, "ls", "--json", "--fields", "name")
    assert '"\\u65e5\\u672c"' in listed
    control.links = [pb.Link(job=2, index=1, path="a", url="http://h/d/x")]
    code, out, drawn = await run(odctl, "link", "2", "--qr")
    assert (code, out) == (0, "http://h/d/x\n")
    assert "\x1b[" in drawn
    assert "\\u" not in drawn
