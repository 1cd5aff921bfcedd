"""Progress: bars on a terminal that can draw them, lines elsewhere, JSON where it was asked for."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from pathlib import Path

from odctl.cli.output import Output
from odctl.cli.progress import FetchProgress
from odctl.client.fetch import Limiter, Task
from odctl.client.models import Link
from tests.support.fake_control import COMPLETED, FakeControl
from tests.support.odctl_shell import Shell
from tests.support.wait import until


async def on_a_terminal(odctl: Shell, control: FakeControl, term: str) -> str:
    """What a terminal gets to see of a watch in which a job goes from half to the end."""
    leader, follower = pty.openpty()
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "odctl", "watch", "1", stdin=asyncio.subprocess.DEVNULL, stderr=follower,
        env=odctl.environment(TERM=term),
    )  # fmt: skip
    os.close(follower)
    await until(lambda: bool(control.watching), what="the watch")
    control.change(1, progress=0.75)
    control.change(1, state=COMPLETED, progress=1.0)
    seen = b""
    loop = asyncio.get_running_loop()
    while True:
        try:
            more = await loop.run_in_executor(None, os.read, leader, 4096)
        except OSError:
            break  # nobody writes any more
        if not more:
            break
        seen += more
    os.close(leader)
    await asyncio.wait_for(child.wait(), 60)
    return seen.decode()


async def test_bars_are_drawn_and_taken_away(odctl: Shell, control: FakeControl) -> None:
    seen = await on_a_terminal(odctl, control, "xterm")
    assert "━" in seen
    assert "50.0%  active  job 1" in seen
    assert seen.rindex("\x1b[?25h") > seen.rindex("━"), "the cursor is back"
    assert seen.rstrip().endswith("1  completed  job 1")


async def test_a_dumb_terminal_gets_lines(odctl: Shell, control: FakeControl) -> None:
    seen = await on_a_terminal(odctl, control, "dumb")
    assert "\x1b" not in seen
    assert "50.0%  active  job 1" in seen


class Lines:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        return

    def isatty(self) -> bool:
        return False


def test_files_are_followed_one_by_one_in_json(tmp_path: Path) -> None:
    links = [
        Link(
            job=1, index=index, path=f"f{index}", url="http://h/x", expires_at=None, size=100, content_type=None,
            node="nas", id=str(index), kind="file",
        )
        for index in (1, 2)
    ]  # fmt: skip
    tasks = [
        Task(
            link=link, root=str(tmp_path), relative=link.path, checksum=None, mint=lambda: links[0],
            stop=asyncio.Event(), limiter=Limiter(),  # type: ignore[arg-type]
        )
        for link in links
    ]  # fmt: skip
    err = Lines()
    shown = FetchProgress(Output(out=err, err=err), "jsonl", tasks)  # type: ignore[arg-type]
    tasks[0].done, tasks[1].done = 100, 40
    shown.clear()
    records = [json.loads(line) for line in err.text.splitlines()]
    assert [(one["index"], one["done"], one["size"]) for one in records] == [(1, 100, 100), (2, 40, 100)]
    assert set(records[0]) == {"ts", "job", "index", "path", "done", "size", "rate_down"}
    shown.clear()
    assert len(err.text.splitlines()) == 2, "nothing new, nothing said"
