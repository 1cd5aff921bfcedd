"""The client in a process of its own, really started: its answers, and what becomes of what was asked when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from odctl.client.bridge import Bridge, BridgedClient
from odctl.client.child import Child
from odctl.client.endpoints import Choice
from odctl.client.errors import NOT_FOUND, UNREACHABLE, ConnectionLost, OdctlError, Unreachable
from odctl.client.models import Selection
from tests.support.control import Desk, desk
from tests.support.wait import until

URL = "http://sim.invalid/file.bin"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        yield built


@contextlib.asynccontextmanager
async def bridged(path: Path) -> AsyncIterator[tuple[Bridge, BridgedClient]]:
    bridge = Bridge(await asyncio.to_thread(Child))
    try:
        async with BridgedClient(bridge, Choice(paths=(path,), source="flag")) as client:
            yield bridge, client
    finally:
        await bridge.close()


def pid_of(bridge: Bridge) -> int:
    assert bridge._child is not None
    return bridge._child._process.pid


async def test_calls_streams_and_errors_come_through(served: Desk) -> None:
    view = await served.home.add(f"{URL}one", paused=True)
    async with bridged(served.path) as (_, client):
        assert client.hello_answer is not None
        assert client.hello_answer.role == "admin"
        assert client.endpoint == f"unix://{served.path}"
        found, total = await client.list_jobs()
        assert ([job.id for job in found], total) == ([view.job.number], 1)
        with pytest.raises(OdctlError) as caught:
            await client.files.of("999")
        assert (caught.value.exit_code, caught.value.code) == (NOT_FOUND, "NOT_FOUND")
        pages = client.pages(where="", sort="", offset=0, limit=10, old=False, interval_ms=100, fields=("name",))
        async with contextlib.aclosing(pages):
            first = await anext(pages)
            assert (first.order, first.total) == ((view.job.number,), 1)
            await served.home.add(f"{URL}two", paused=True)
            assert (await anext(pages)).total == 2
        (outcome,) = await client.resume(Selection(ids=(str(view.job.number),)))
        assert outcome.job is not None


async def test_what_is_not_awaited_any_more_ends_over_there_too(served: Desk) -> None:
    async with bridged(served.path) as (_, client):
        pages = client.pages(where="", sort="", offset=0, limit=10, old=False, interval_ms=100, fields=())
        await anext(pages)
        assert served.gate.running == 1
        await pages.aclose()
        await until(lambda: served.gate.running == 0, what="the end of the stream")


async def test_a_client_that_dies_ends_what_was_asked_and_the_next_one_is_another(served: Desk) -> None:
    async with bridged(served.path) as (bridge, client):
        pages = client.pages(where="", sort="", offset=0, limit=10, old=False, interval_ms=100, fields=())
        await anext(pages)
        first = pid_of(bridge)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(OdctlError) as caught:
            await asyncio.wait_for(anext(pages), 60)
        assert caught.value.exit_code == UNREACHABLE
        with pytest.raises(OdctlError):
            await client.status()
        async with BridgedClient(bridge, Choice(paths=(served.path,), source="flag")) as again:
            assert (await again.status())["jobs"]["total"] == 0
        assert pid_of(bridge) != first


async def test_no_daemon_is_told_as_it_is_without_a_bridge(tmp_path: Path) -> None:
    bridge = Bridge(await asyncio.to_thread(Child))
    try:
        with pytest.raises(Unreachable) as caught:
            async with BridgedClient(bridge, Choice(paths=(tmp_path / "none.sock",), source="flag")):
                pass
        assert caught.value.absent
        assert "no socket at" in caught.value.why
    finally:
        await bridge.close()


PAGES: Mapping[str, Any] = {
    "where": "", "sort": "id", "old": False, "offset": 0, "limit": 20, "interval_ms": 200, "fields": ("name",),
}  # fmt: skip


@contextlib.asynccontextmanager
async def asked_ahead(choice: Choice) -> AsyncIterator[Bridge]:
    bridge = Bridge(await asyncio.to_thread(Child))
    try:
        bridge.open_ahead(choice, None, PAGES)
        yield bridge
    finally:
        await bridge.close()


async def total(client: BridgedClient, **pages: Any) -> int:
    async with contextlib.aclosing(client.pages(**{**PAGES, **pages})) as deltas:
        return (await anext(aiter(deltas))).total  # type: ignore[no-any-return]


async def test_it_can_be_asked_to_connect_and_for_a_page_before_there_is_a_loop(served: Desk) -> None:
    choice = Choice(paths=(served.path,), source="flag")
    async with asked_ahead(choice) as bridge, BridgedClient(bridge, choice) as client:
        assert client.hello_answer is not None
        asked = bridge._last
        assert await total(client) == 0
        assert bridge._last == asked, "it was asked for a second time"
        assert await total(client) == 0
        assert (await client.status())["server"]["pid"] is not None
        await until(lambda: not bridge._waiting, what="the end of all that was asked")


async def test_other_pages_than_were_asked_for_ahead_are_asked_for(served: Desk) -> None:
    choice = Choice(paths=(served.path,), source="flag")
    async with asked_ahead(choice) as bridge, BridgedClient(bridge, choice) as client:
        assert await total(client, limit=5) == 0
        await until(lambda: not bridge._waiting, what="the end of what was asked ahead")


async def test_what_was_asked_ahead_of_a_daemon_that_is_not_there_is_not_the_answer_of_another(
    served: Desk, tmp_path: Path
) -> None:
    nowhere = Choice(paths=(tmp_path / "none.sock",), source="flag")
    async with asked_ahead(nowhere) as bridge:
        with pytest.raises(Unreachable):
            async with BridgedClient(bridge, nowhere):
                pass
        async with BridgedClient(bridge, Choice(paths=(served.path,), source="flag")) as client:
            assert await total(client) == 0


async def test_the_child_ends_with_whoever_started_it(served: Desk) -> None:
    child = await asyncio.to_thread(Child)
    bridge = Bridge(child)
    await bridge.open()
    child.ours.close()
    assert bridge._writer is not None
    bridge._writer.close()
    await until(lambda: child._process.poll() is not None, what="the end of the child")
    await bridge.close()


async def test_a_process_that_hangs_is_replaced(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odctl.client.bridge.OPEN_SECONDS", 0.5)
    choice = Choice(paths=(served.path,), source="flag")
    bridge = Bridge(await asyncio.to_thread(Child))
    try:
        frozen = pid_of(bridge)
        os.kill(frozen, signal.SIGSTOP)
        with pytest.raises(ConnectionLost):
            async with BridgedClient(bridge, choice):
                pass
        monkeypatch.setattr("odctl.client.bridge.OPEN_SECONDS", 60.0)
        async with BridgedClient(bridge, choice) as client:
            assert await total(client) == 0
        assert pid_of(bridge) != frozen
    finally:
        await bridge.close()


async def test_a_process_that_ended_at_once_is_an_error_like_any_other(served: Desk) -> None:
    choice = Choice(paths=(served.path,), source="flag")
    child = await asyncio.to_thread(Child)
    child._process.kill()
    child._process.wait()
    bridge = Bridge(child)
    try:
        for _ in range(50):
            bridge.open_ahead(choice, None, PAGES)  # more than a socket holds would be an exception for sure
        with pytest.raises(OdctlError):
            async with BridgedClient(bridge, choice):
                pass
        async with BridgedClient(bridge, choice) as client:
            assert await total(client) == 0
    finally:
        await bridge.close()
