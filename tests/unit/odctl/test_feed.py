"""What screens ask for, over connections that come and go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from odctl.client.errors import ConnectionLost, OdctlError
from odctl.client.models import Hello
from odctl.dashboard import messages as m
from odctl.dashboard.feed import Feed
from odctl.dashboard.messages import Query
from odctl.dashboard.polling import Poll
from tests.support.wait import until

HELLO = Hello(
    server_version="1", api_major=1, api_minor=0, features=(), user="maya", role="admin", auth="peercred", node="n",
    epoch="e", now=None,
)  # fmt: skip


class Client:
    """A daemon that is always there."""

    endpoint = "unix:///here"
    source = "flag"
    hello_answer = HELLO

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def hello(self) -> Hello:
        return HELLO

    async def status(self) -> dict[str, Any]:
        return {"nodes": []}

    async def pages(self, **_: object) -> AsyncGenerator[Any, None]:
        await asyncio.Event().wait()
        yield None


@contextlib.asynccontextmanager
async def fed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Feed, list[Any]]]:
    monkeypatch.setattr("odctl.dashboard.feed.FIRST_PAUSE", 0.0)
    posted: list[Any] = []
    feed = Feed(Client, posted.append, lambda fault: OdctlError(f"unexpected {type(fault).__name__}"))  # type: ignore[arg-type]
    running = asyncio.create_task(feed.run())
    try:
        yield feed, posted
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def count(posted: list[Any], kind: type) -> int:
    return sum(isinstance(message, kind) for message in posted)


async def test_what_is_asked_for_runs_over_every_connection_until_it_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running: list[int] = []
    gone = asyncio.Event()

    async def work(_: object) -> None:
        running.append(1)
        try:
            await gone.wait()
            gone.clear()
            raise ConnectionLost()
        finally:
            running.pop()

    async with fed(monkeypatch) as (feed, posted):
        feed.attend("events", work)
        await until(lambda: len(running) == 1)
        gone.set()
        await until(lambda: count(posted, m.Lost) == 1)
        await until(lambda: count(posted, m.Connected) == 2 and len(running) == 1)
        feed.attend("events", None)
        await until(lambda: not running)
        assert count(posted, m.Lost) == 1


async def test_a_refusal_leaves_the_connection_and_the_next_question_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    query = Query(filter="colour=red")

    async def ask(_: object, asked: Query, offset: int, limit: int) -> tuple[list[int], int]:
        if asked.filter:
            raise OdctlError("there is no field colour")
        return [offset, limit], 2

    async with fed(monkeypatch) as (feed, posted):
        poll = Poll("cache", ask, query=lambda: query, window=lambda: (3, 9), post=posted.append, seconds=3600)
        feed.attend("cache", poll)
        await until(lambda: count(posted, m.ListRefused) == 1)
        query = Query()
        poll.again()
        await until(lambda: count(posted, m.ListTold) == 1)
        assert count(posted, m.Lost) == 0
        assert [told.items for told in posted if isinstance(told, m.ListTold)] == [(3, 9)]


async def test_an_exception_that_nobody_expected_ends_the_connection_and_not_the_feed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = [True]

    async def work(_: object) -> None:
        if broken.pop():
            raise KeyError("colour")
        await asyncio.Event().wait()

    broken.insert(0, False)
    async with fed(monkeypatch) as (feed, posted):
        feed.attend("events", work)
        await until(lambda: count(posted, m.Connected) == 2)
        (lost,) = [told for told in posted if isinstance(told, m.Lost)]
        assert lost.error.message == "unexpected KeyError"
