"""The screen of what happens: events, the log, and what failed here."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from textual.events import MouseScrollUp

from odctl.client.daemon import DaemonClient
from odctl.client.errors import ConnectionLost, OdctlError
from odctl.client.models import Event
from odctl.dashboard import messages as m
from odctl.dashboard.activity import in_full, pretty
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.listed import Line, Listed
from odctl.dashboard.messages import Query
from odctl.dashboard.tailing import EventTail
from oddaemon.domain.types import JobNumber
from oddaemon.ports.log_book import LogLine
from tests.support.control import Desk, desk
from tests.support.dashboard import dashboard, text, until_shown, until_state
from tests.support.hostile import HOSTILE
from tests.support.wait import until

URL = "http://sim.invalid/file.bin?"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        yield built


def event(seq: int, **changes: Any) -> Event:
    known: dict[str, Any] = {
        "seq": seq, "ts": NOW, "type": "job.created", "job": seq, "node": None, "user": "maya", "data": {}
    }  # fmt: skip
    return Event(**(known | changes))


def events(app: DashboardApp) -> Listed:
    return app.state.lists["events"]


def seqs(listed: Listed) -> list[int]:
    return [line.said.seq for line in listed.items]


def log(served: Desk, message: str, level: str = "info", **fields: object) -> None:
    served.log_book.add(LogLine(at=NOW, level=level, message=message, fields=fields))


class Script:
    """A client whose streams of events are those; each ends as if the daemon was lost."""

    endpoint = "unix:///here"
    hello_answer = None

    def __init__(self, *streams: list[Event | int | OdctlError]) -> None:
        self.streams = list(streams)
        self.asked: list[tuple[int | None, bool]] = []

    async def events(
        self, *, since_seq: int | None, since_time: datetime | None, **more: Any
    ) -> AsyncGenerator[Event | int, None]:
        self.asked.append((since_seq, since_time is not None))
        for item in self.streams.pop(0) if self.streams else [ConnectionLost()]:
            if isinstance(item, OdctlError):
                raise item
            yield item
        raise ConnectionLost()


async def followed(tail: EventTail, client: Script) -> None:
    with contextlib.suppress(ConnectionLost):
        await tail(client)  # type: ignore[arg-type]


async def test_events_come_live_and_the_one_under_the_cursor_is_shown_in_full(served: Desk) -> None:
    await served.home.add(f"{URL}1", paused=True)
    async with dashboard(served.path, pane="activity") as (app, pilot):
        await until_shown(app, "job.created", "following", '"type": "')
        before = events(app).total or 0
        await served.home.add(f"{URL}2", paused=True)
        await until(lambda: (events(app).total or 0) > before)
        await until_shown(app, '"job": 2')
        await pilot.press("k")
        await until_shown(app, "1 below, G follows")
        await pilot.press("G")
        await until_shown(app, "following")


async def test_who_scrolls_up_is_not_moved_by_what_comes(served: Desk) -> None:
    async with dashboard(served.path, pane="activity", size=(100, 30)) as (app, pilot):
        await until(lambda: bool(events(app).total))
        app.tell(m.LinesTold(list="events", lines=tuple(event(number) for number in range(1000, 1100)), anew=True))
        await until_shown(app, "▸ ")
        await pilot.pause()
        table = app.pane.table  # type: ignore[attr-defined]
        await until(lambda: table.rows.stop == 100)
        await pilot._post_mouse_events([MouseScrollUp], table, button=0)
        await until(lambda: not events(app).tail)
        top = table.rows.start
        app.tell(m.LinesTold(list="events", lines=tuple(event(number) for number in range(1100, 1110))))
        await pilot.pause()
        assert table.rows.start <= top
        await pilot.press("G")
        await until(lambda: events(app).tail and table.rows.stop == 110)


async def test_nothing_is_asked_for_while_another_screen_is_shown_and_nothing_is_missed(served: Desk) -> None:
    await served.home.add(f"{URL}1", paused=True)
    async with dashboard(served.path, pane="activity") as (app, pilot):
        await until(lambda: bool(events(app).total))
        await pilot.press("1")
        await until(lambda: app.pane.id == "pane-jobs")
        before = seqs(events(app))
        for number in range(2, 5):
            await served.home.add(f"{URL}{number}", paused=True)
        await until_state(app, pilot, lambda state: state.total == 4)
        assert seqs(events(app)) == before
        await pilot.press("4")
        await until(lambda: (events(app).total or 0) >= len(before) + 3)
        found = seqs(events(app))
        assert found == sorted(set(found))


async def test_after_a_lost_connection_events_go_on_where_they_were() -> None:
    posted: list[Any] = []
    client = Script([event(3), event(4)], [event(5)])
    tail = EventTail(query=Query, post=posted.append)
    for _ in range(3):
        await followed(tail, client)
    assert client.asked == [(None, True), (4, False), (5, False)]
    assert [line.seq for told in posted for line in told.lines] == [3, 4, 5]
    assert [told.anew for told in posted].count(True) == 1


async def test_a_gap_is_said_where_it_is(served: Desk) -> None:
    posted: list[Any] = []
    await followed(EventTail(query=Query, post=posted.append), Script([event(3)], [9, event(9)]))
    await followed(tail := EventTail(query=Query, post=posted.append), Script([event(3), 9, event(9)]))
    assert tail._seq == 9
    async with dashboard(served.path, pane="activity") as (app, pilot):
        await until(lambda: bool(events(app).total))
        app.tell(posted[-1])
        await until_shown(app, "events before 9")
        await pilot.press("k")
        await until_shown(app, "Events were lost here: those before 9", "events.keep")


async def test_another_store_at_the_same_place_begins_anew() -> None:
    posted: list[Any] = []
    unknown = OdctlError("there is no event 4 yet", code="INVALID_ARGUMENT", details={"field": "since_seq"})
    client = Script([event(4)], [unknown], [event(1)])
    tail = EventTail(query=Query, post=posted.append)
    for _ in range(2):
        await followed(tail, client)
    assert client.asked[:3] == [(None, True), (4, False), (None, True)]
    assert [told.anew for told in posted].count(True) == 2


async def test_the_daemon_filters_by_type_and_says_what_is_none(served: Desk) -> None:
    await served.home.add(f"{URL}1", paused=True)
    async with dashboard(served.path, pane="activity") as (app, pilot):
        await until(lambda: bool(events(app).total))
        await pilot.press("slash", *"node.*", "enter")
        await until(lambda: {line.said.type for line in events(app).items} == {"node.online"})
        await until_shown(app, "/node.*")
        await pilot.press("slash", *(["backspace"] * 6), *"nodes", "enter")
        await until_shown(app, "there is no event 'nodes'")
        await pilot.press("escape")
        await until(lambda: {line.said.type for line in events(app).items} >= {"node.online", "job.created"})
        await pilot.press("slash", *"user.disabled", "enter")
        await until_shown(app, "No event of user.disabled in the last hour.")


async def test_the_log_by_its_level(served: Desk) -> None:
    log(served, "port is open", port=8080)
    log(served, "disk is full", "error", free=0)
    async with dashboard(served.path, pane="activity") as (app, pilot):
        await until(lambda: events(app).total is not None)
        await pilot.press("l")
        await until_shown(app, "Activity ─ Log", "port is open", "disk is full", '"free": 0')
        log(served, "and another line")
        await until_shown(app, "and another line")
        await pilot.press("v", "v", "v")
        await until_shown(app, "error and worse")
        await until(lambda: "port is open" not in text(app))
        await pilot.press("v")
        await until_shown(app, "port is open")
        await pilot.press("e")
        await until_shown(app, "Activity ─ Events")


async def test_others_have_no_log(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odctl.dashboard.state.State.admin", False)
    async with dashboard(served.path, pane="activity") as (app, pilot):
        await until(lambda: events(app).total is not None)
        await pilot.press("l")
        await pilot.pause()
        assert "Activity ─ Log" not in text(app)
        assert "Activity ─ Events" in text(app)


async def test_what_failed_here_is_listed_with_what_to_do(served: Desk) -> None:
    async with dashboard(served.path, pane="activity") as (app, pilot):
        await until(lambda: events(app).total is not None)
        await pilot.press("x")
        await until_shown(app, "Nothing that was asked for here has failed.")
        app.complain("pin film", OdctlError("it is gone", hint="look again: odctl cache ls", code="NOT_FOUND"))
        await until_shown(app, "pin film", "it is gone", "look again: odctl cache ls", "code NOT_FOUND")


async def test_what_is_told_is_text_at_every_size(served: Desk) -> None:
    async with dashboard(served.path, pane="activity", size=(80, 24)) as (app, pilot):
        await until(lambda: events(app).total is not None)
        await pilot.press("x")  # no stream comes between
        lines = tuple(event(0, type=name, user=name, node=name, data={name: [name]}) for name in HOSTILE)
        for name in HOSTILE:
            app.complain(name, OdctlError(name, hint=name))
        await pilot.press("e")
        app.tell(m.LinesTold(list="events", lines=lines, anew=True))
        for width, height in ((80, 24), (40, 10), (160, 50)):
            await pilot.resize_terminal(width, height)
            await pilot.press("g", "enter", "escape", "G")
        assert app.is_running
        assert "\x1b" not in text(app)


@pytest.mark.parametrize("name", HOSTILE)
def test_json_is_pretty_and_harmless(name: str) -> None:
    value = {"name": name, name: [1, None, {"at": NOW}]}
    lines = pretty(value).plain
    assert "\x1b" not in lines
    assert "\r" not in lines
    assert '"at": "2026-01-31T12:00:00.000Z"' in lines


def test_json_reads_back() -> None:
    assert json.loads(pretty({"a": "b\\\"[/]", "c": [1.5]}).plain) == {"a": "b\\\"[/]", "c": [1.5]}
    line = Line(number=1, said=event(7, job=JobNumber(7)))
    assert json.loads(in_full(line).plain)["seq"] == 7


async def test_a_stream_is_closed_when_the_screen_is_left(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    open_streams: list[int] = []
    real = DaemonClient.events

    async def counted(self: DaemonClient, **asked: Any) -> AsyncGenerator[Event | int, None]:
        open_streams.append(1)
        try:
            async for item in real(self, **asked):
                yield item
        finally:
            open_streams.pop()

    monkeypatch.setattr(DaemonClient, "events", counted)
    async with dashboard(served.path, pane="activity") as (app, pilot):
        await until(lambda: len(open_streams) == 1)
        for key in "1412":
            await pilot.press(key)
            await asyncio.sleep(0)
        await until(lambda: not open_streams)
        assert app.is_running
