"""Finding out engine and key in the background: who waits for whom, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from oddaemon.domain.cache import url_key
from oddaemon.domain.errors import EngineFailed
from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode, Retry
from oddaemon.domain.job import Hold, JobState
from oddaemon.domain.source import Source
from oddaemon.domain.types import Bytes, EngineName
from oddaemon.ports.engine import KeyResolution, Sniffed
from oddaemon.services import resolver
from oddaemon.services.node_agent import NodeAgent
from tests.support.core import SIMULATED, house
from tests.support.wait import until

URL = "http://origin.invalid/file.bin"


class Hanging:
    """Questions that are never answered. `open` are those that nobody has given up."""

    def __init__(self) -> None:
        self.open = 0
        self.most = 0
        self.asked = 0

    async def wait(self) -> None:
        self.open += 1
        self.asked += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.Event().wait()
        finally:
            self.open -= 1


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Hanging:
    """Every extraction hangs."""
    hanging = Hanging()

    async def extract(_: NodeAgent, engine: EngineName, source: Source, options: Mapping[str, str]) -> KeyResolution:
        await hanging.wait()
        raise AssertionError

    monkeypatch.setattr(NodeAgent, "resolve_cache_key", extract)
    return hanging


@pytest.fixture
def origins(monkeypatch: pytest.MonkeyPatch) -> Hanging:
    """Origins whose URL says so hang; all others give a file."""
    hanging = Hanging()

    async def look(_: NodeAgent, source: Source, options: Mapping[str, str]) -> Sniffed:
        if "hang" in source.uri:
            await hanging.wait()
        return Sniffed(content_type="video/mp4", size=Bytes(5000))

    monkeypatch.setattr(NodeAgent, "sniff", look)
    monkeypatch.setattr(resolver, "ARIA2", SIMULATED)
    return hanging


@pytest.mark.parametrize("wish", ["cancel", "remove"])
async def test_what_ends_a_job_ends_its_extraction(tmp_path: Path, pages: Hanging, wish: str) -> None:
    async with house(tmp_path) as home:
        views = [await home.add(f"{URL}{n}") for n in range(resolver.EXTRACTIONS)]
        await until(lambda: pages.open == resolver.EXTRACTIONS)
        for view in views:
            keep = {"keep_data": False} if wish == "remove" else {}
            await getattr(home.core.downloads, wish)(home.admin, view.job.id, **keep)
        await until(lambda: pages.open == 0)
        again = await home.add(f"{URL}again")
        await until(lambda: pages.open == 1)
        await home.core.downloads.cancel(home.admin, again.job.id)


async def test_a_paused_job_never_fails_and_its_look_is_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: Hanging
) -> None:
    async with house(tmp_path) as home:
        view = await home.add(URL, paused=True)
        await until(lambda: pages.open == 1)
        for n in (2, 3):  # each a round
            await home.add(f"{URL}{n}", engine="simulated")
            await until(lambda: pages.open == n)  # noqa: B023
        assert pages.asked == 3
    gone = Failure(code=FailureCode.BAD_SOURCE, message="it is not there")

    async def refuse(*_: object) -> KeyResolution:
        raise EngineFailed(gone.message, failure=gone)

    monkeypatch.setattr(NodeAgent, "resolve_cache_key", refuse)
    async with house(tmp_path) as home:
        job = await home.until_job(lambda job: job.next_try_at is not None, view)
        assert (job.state, job.hold, job.attempts) == (JobState.QUEUED, Hold.USER, 0)
        assert job.reason == Reason(code=ReasonCode.PAUSED, message="paused")
        await home.core.downloads.resume(home.admin, view.job.id)
        job = await home.until_state(view, JobState.FAILED)
        assert job.error == gone


async def test_only_so_many_extractions_run_at_a_time(tmp_path: Path, pages: Hanging, origins: Hanging) -> None:
    async with house(tmp_path) as home:
        for n in range(2 * resolver.EXTRACTIONS):
            await home.add(f"{URL}{n}", engine="simulated" if n % 2 else "")
        await until(lambda: pages.open == resolver.EXTRACTIONS)
        await home.add(f"{URL}last", engine="")
        assert pages.most == resolver.EXTRACTIONS


async def test_origins_that_hang_hold_up_nobody_else(tmp_path: Path, origins: Hanging) -> None:
    async with house(tmp_path) as home:
        for n in range(8):
            await home.add(f"http://origin.invalid/hang{n}", engine="")
        await until(lambda: origins.open == 8)
        good = await home.add(URL, engine="", options={"size": "5000"})
        await home.until_state(good, JobState.COMPLETED)


async def test_what_its_origin_says_is_too_large_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origins: Hanging
) -> None:
    monkeypatch.setattr(resolver, "key_of", lambda source, engine: url_key(engine, source.uri))
    async with house(tmp_path, storage_per_user=Bytes(4000)) as home:
        job = await home.until_state(await home.add(URL, engine=""), JobState.FAILED)
        assert job.error is not None
        assert job.error.code is FailureCode.TOO_LARGE
        assert await home.replicas() == []


async def test_each_look_that_failed_and_the_wait_after_it_are_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = Failure(code=FailureCode.ORIGIN_ERROR, message="the origin answers 500", retry=Retry.PASSING)

    async def look(*_: object) -> Sniffed:
        raise EngineFailed(failure.message, failure=failure)

    monkeypatch.setattr(NodeAgent, "sniff", look)
    async with house(tmp_path, retries=2) as home:
        await home.until_state(await home.add(URL, engine=""), JobState.FAILED)
        told = [event for event in home.events if event.type.startswith("job.")]
        assert [event.type for event in told] == ["job.created", "job.queued", "job.queued", "job.failed"]
        for event in told[1:3]:
            assert event.data["reason"] == ReasonCode.RETRY
            assert str(event.data["message"]).startswith("the origin answers 500; next try ")
