"""`make dev` without the installing: what tools/dev.py starts it ends, and it says when its daemon is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from oddaemon.app.singleton import running_pid
from tests.support.processes import command
from tests.support.wait import until

ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def developing(folder: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "OD_PATHS_DATA_DIR": str(folder / "data"),
        "OD_PATHS_RUNTIME_DIR": str(folder / "run"), "OD_SERVER_PORT": "0", "OD_NODE_FILE_SERVER_PORT": "0",
        "OD_ENGINES_YTDLP_ENABLED": "false", "OD_ENGINES_ARIA2_ENABLED": "false",
    }  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "tools" / "dev.py", *arguments, env=environ, cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield child
    finally:
        if child.returncode is None:
            child.terminate()
        await child.communicate()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_whatever_ends_it_ends_the_daemon(ending: signal.Signals) -> None:
    with TemporaryDirectory(prefix="od-") as folder:
        async with developing(Path(folder)) as child:
            place = Path(folder) / "run" / "control.sock"
            pid = await until(lambda: place.exists() and running_pid(place))
            child.send_signal(ending)
            await asyncio.wait_for(child.communicate(), 60)
            assert child.returncode == 0
            assert command(pid) == ""


async def test_a_daemon_that_ends_by_itself_is_told_of() -> None:
    with TemporaryDirectory(prefix="od-") as folder:
        async with developing(Path(folder), "--set", "limits.nope=1") as child:
            assert child.stderr is not None
            said = ""
            while "the daemon ended with 78" not in said:
                line = await asyncio.wait_for(child.stderr.readline(), 60)
                assert line, said
                said += line.decode()
            assert child.returncode is None
