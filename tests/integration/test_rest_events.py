"""`/api/v1/events`: nothing is lost, nobody hears of others, and a stream ends with the caller's access."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError, ClientResponse

from oddaemon.api.rest import events
from oddaemon.services import event_feed
from tests.integration.test_rest_downloads import add, ended
from tests.support.rest_house import RestHouse, Visitor, rest_house
from tests.support.wait import until

DATABASES = ("sqlite", "postgresql")


@dataclass
class Stream:
    response: ClientResponse
    events: list[dict[str, Any]] = field(default_factory=list)
    comments: int = 0
    over: bool = False

    @property
    def seqs(self) -> list[int]:
        return [event["seq"] for event in self.events if "seq" in event]

    @property
    def types(self) -> list[str]:
        return [event["kind"] for event in self.events]

    async def read(self) -> None:
        kind = ""
        with contextlib.suppress(ClientPayloadError):
            async for line in self.response.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    self.events.append({"kind": kind, **json.loads(value)})
                elif not name and value:
                    self.comments += 1
        self.over = True


@contextlib.asynccontextmanager
async def stream(who: Visitor, query: str = "", last: str = "") -> AsyncIterator[Stream]:
    headers = {"X-API-Key": who.key, **({"Last-Event-ID": last} if last else {})}
    async with who.session.get(f"{who.url}/api/v1/events{query}", headers=headers) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Request-Id"]
        assert await response.content.readline() == b"retry: 2000\n"
        reading = Stream(response)
        task = asyncio.create_task(reading.read())
        try:
            yield reading
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def told(reading: Stream, count: int) -> None:
    await until(lambda: len(reading.events) >= count, timeout=15, what=f"{count} events, not {reading.types}")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[RestHouse]:
    async with rest_house(tmp_path) as built:
        yield built


async def test_one_hears_of_one_s_own_and_admins_of_all(house: RestHouse) -> None:
    maya, bob = await house.user("maya"), await house.user("bob")
    async with stream(maya) as hers, stream(bob) as his, stream(house.admin) as all_jobs:
        job = await ended(maya, await add(maya))
        await until(lambda: "job.completed" in hers.types and "job.completed" in all_jobs.types, timeout=15)
        assert {event["job"] for event in hers.events} == {job["id"]}
        assert {event["user"] for event in hers.events} == {"maya"}
        assert hers.types[0] == "job.created"
        assert sorted(hers.seqs) == hers.seqs
        assert his.events == []
        mine = await add(bob)
        await until(lambda: "job.created" in his.types, timeout=15)
        assert {event["job"] for event in his.events} == {mine["id"]}


async def test_a_reader_goes_on_where_it_was(house: RestHouse) -> None:
    maya = await house.user("maya")
    async with stream(maya) as first:
        await ended(maya, await add(maya))
        await until(lambda: "job.completed" in first.types, timeout=15)
    await ended(maya, await add(maya))
    middle = first.seqs[1]
    async with stream(maya, last=str(middle)) as second:
        await until(lambda: second.types.count("job.completed") == 2, timeout=15)
        assert second.seqs[: len(first.seqs) - 2] == first.seqs[2:]
        await ended(maya, await add(maya))
        await until(lambda: second.types.count("job.completed") == 3, timeout=15)
        assert sorted(set(second.seqs)) == second.seqs
    async with stream(maya, f"?last_event_id={middle}&types=job.created") as third:
        await told(third, 2)
        assert set(third.types) == {"job.created"}


async def test_events_are_filtered(house: RestHouse) -> None:
    maya = await house.user("maya")
    async with stream(maya, "?filter=job%3E1%20(create%20%7C%20type%3Djob.completed)%20mine") as reading:
        for _ in range(2):
            await ended(maya, await add(maya))
        await until(lambda: "job.completed" in reading.types, timeout=15)
        assert set(reading.types) == {"job.created", "job.completed"}
        assert {event["job"] for event in reading.events} == {2}
    problem = await maya.refused("GET", "/events?filter=job~1", 422, "INVALID_FILTER")
    assert (problem["details"]["position"], problem["details"]["text"]) == (3, "job~1")


async def test_what_is_no_longer_kept_is_told(house: RestHouse) -> None:
    maya = await house.user("maya")
    await ended(maya, await add(maya))
    clock = house.home.controller.clock
    await house.home.store.write(lambda tx: tx.events.trim(clock.now()))
    async with stream(maya, last="1") as reading:
        await told(reading, 1)
        assert reading.types == ["gap"]
        job = await add(maya)
        await told(reading, 2)
    await ended(maya, job)
    # a number from the future: the store is another, or an older one
    async with stream(maya, last="99999999") as reading:
        await told(reading, 1)
        assert reading.types[0] == "gap"
        await add(maya)
        await until(lambda: "job.created" in reading.types, timeout=15)


async def test_a_stream_ends_with_the_caller_s_access(house: RestHouse) -> None:
    maya = await house.user("maya")
    async with stream(maya) as reading, stream(house.admin) as other:
        await house.admin.data("PATCH", "/admin/users/maya", json={"is_active": False})
        await until(lambda: reading.over, timeout=5)
        assert not other.over
    await maya.refused("GET", "/events", 401, "UNAUTHENTICATED")


async def test_a_silent_stream_shows_that_it_lives_and_a_drain_ends_it(
    house: RestHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.05)
    async with stream(await house.user("maya")) as reading:
        await until(lambda: reading.comments >= 2, timeout=5)
        await house.home.controller.http.drain(2)
        await until(lambda: reading.over, timeout=5)


async def test_a_reader_that_falls_behind_loses_nothing(house: RestHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_feed, "KEPT", 2)
    monkeypatch.setattr(event_feed, "CHUNK", 3)
    maya = await house.user("maya")
    async with stream(maya) as reading:
        many = [add(maya, paused=True) for _ in range(20)]
        made = {job["id"] for job in await asyncio.gather(*many)}
        await until(lambda: {e["job"] for e in reading.events if e["kind"] == "job.created"} == made, timeout=15)
        assert sorted(set(reading.seqs)) == reading.seqs


async def test_figures_come_only_to_those_who_ask_for_them(house: RestHouse) -> None:
    async with stream(house.admin, "?types=job.*") as reading, stream(house.admin) as plain:
        await add(house.admin, options={"rate": "100000"})
        await until(lambda: "job.progress" in reading.types, timeout=15)
        assert "job.progress" not in plain.types
        assert {event["seq"] for event in reading.events if event["kind"] == "job.progress"} == {0}
    await house.admin.refused("GET", "/events?types=jobs", 422, "INVALID_ARGUMENT")
    for wrong in ("x", "-1", "1.5"):
        await house.admin.refused("GET", "/events", 422, "INVALID_ARGUMENT", headers={"Last-Event-ID": wrong})
    response, answer = await house.admin.call("HEAD", "/events")
    assert (response.status, answer) == (200, None)
