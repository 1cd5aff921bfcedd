"""No child of yt-dlp's is left behind, whenever whoever wanted it is cancelled or the engine is stopped."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from oddaemon.domain.errors import EngineUnavailable
from oddaemon.domain.source import parse_source
from oddaemon.domain.types import Seconds
from oddaemon.engines.ytdlp.process import MODULE, ChildProcess
from tests.support.processes import running
from tests.support.wait import until
from tests.support.ytdlp import build


def children() -> list[int]:
    return running(os.getpid(), MODULE)


async def test_a_start_that_is_cancelled_again_and_again_leaves_no_child(tmp_path: Path) -> None:
    starting = asyncio.create_task(ChildProcess.start(cwd=tmp_path, home=tmp_path))
    while not starting.done():
        await asyncio.sleep(0)
        starting.cancel()
    assert starting.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert children() == []


async def test_an_end_that_is_cancelled_again_and_again_still_ends_it(tmp_path: Path) -> None:
    child = await ChildProcess.start(cwd=tmp_path, home=tmp_path)
    ending = asyncio.create_task(child.end())
    while not ending.done():
        await asyncio.sleep(0)
        ending.cancel()
    assert not child.running
    assert children() == []


@pytest.mark.parametrize("call", ["probe", "claims"])
async def test_a_stop_waits_for_a_child_that_is_being_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    asked, go = asyncio.Event(), asyncio.Event()
    real = ChildProcess._start

    async def late(cwd: Path, home: Path) -> ChildProcess:
        asked.set()
        await go.wait()
        return await real(cwd, home)

    monkeypatch.setattr(ChildProcess, "_start", staticmethod(late))
    engine = build(tmp_path)
    await engine.start()
    url = "http://127.0.0.1:9/page"
    source = parse_source(url)
    asking = asyncio.create_task(
        engine.claims(url) if call == "claims" else engine.probe(source, {}, torrent=None, deadline=Seconds(30))
    )
    await asked.wait()
    stopping = asyncio.create_task(engine.stop())
    await until(lambda: not engine._running)
    assert not stopping.done()
    go.set()
    await asyncio.wait_for(stopping, 60)
    assert children() == []
    with pytest.raises(EngineUnavailable):
        await asking
