"""Keys that are typed faster than the dashboard answers: each meets what the one before it left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from odctl.client.daemon import DaemonClient
from odctl.client.models import Detail, Selection
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.dialogs.add import Add
from odctl.dashboard.dialogs.ask import Ask
from odctl.dashboard.dialogs.base import Dialog
from odctl.dashboard.dialogs.command import CommandLine
from oddaemon.domain.job import Hold
from oddaemon.domain.types import JobNumber
from tests.support.control import Desk, desk
from tests.support.dashboard import dashboard, until_said, until_state
from tests.support.wait import until

URL = "http://sim.invalid/file.bin?"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        for number in range(3):
            await built.home.add(f"{URL}{number}", paused=True, name=f"dd-{number}")
        yield built


def type_at_once(app: DashboardApp, *keys: str) -> None:
    """As a terminal gives them that were typed, or came, in one go."""
    driver = app._driver
    assert driver is not None
    for key in keys:
        driver.send_message(events.Key(key, key if len(key) == 1 else None))


async def ready(app: DashboardApp, pilot: Pilot[int]) -> None:
    await until_state(app, pilot, lambda state: state.total == 3 and state.number is not None)
    await until(lambda: app.focused is app.query_one("#jobs"), what="the list to have the focus")


@pytest.mark.parametrize("screen", ["jobs", "cache"])
async def test_what_is_typed_with_the_slash_is_the_filter(served: Desk, screen: str) -> None:
    async with dashboard(served.path) as (app, pilot):
        await ready(app, pilot)
        if screen == "cache":
            await pilot.press("3")
            await until(lambda: "cache" in (app.pane.id or ""))
        type_at_once(app, "slash", *"dpx")
        await until(lambda: isinstance(app.focused, Input) and app.focused.value == "dpx", what="the filter")
        assert not isinstance(app.screen, Dialog)
        type_at_once(app, "escape", "escape", "2")
        await until(lambda: "nodes" in (app.pane.id or ""), what="keys to be the dashboard's again")
        assert not isinstance(app.screen, Dialog)
    views = await served.parts.jobs.views(served.home.admin, [JobNumber(number) for number in (1, 2, 3)])
    assert [view.job.hold for view in views] == [Hold.USER] * 3


@pytest.mark.parametrize(
    ("key", "dialog", "kind"), [("colon", CommandLine, Input), ("a", Add, TextArea)], ids=["command", "add"]
)
async def test_what_is_typed_with_the_key_of_a_dialog_is_written_in_it(
    served: Desk, key: str, dialog: type[Dialog[Any]], kind: type[Any]
) -> None:
    async with dashboard(served.path) as (app, pilot):
        await ready(app, pilot)
        type_at_once(app, key, *"dxp")

        def written() -> str:
            at = app.focused
            return str(getattr(at, "value", getattr(at, "text", ""))) if isinstance(at, kind) else ""

        await until(lambda: written() == "dxp", what=f"the keys in {dialog.__name__}")
        assert isinstance(app.screen, dialog)
        assert len(app.screen_stack) == 2
        type_at_once(app, "escape", "2")
        await until(lambda: "nodes" in (app.pane.id or ""))
        assert len(app.screen_stack) == 1


async def test_a_pasted_line_goes_where_the_key_before_it_led(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        await ready(app, pilot)
        driver = app._driver
        assert driver is not None
        type_at_once(app, "a")
        driver.send_message(events.Paste(URL))
        await until(lambda: isinstance(app.focused, TextArea) and app.focused.text == URL, what="the pasted line")


async def test_keys_wait_for_the_dialog_whose_contents_the_daemon_is_asked_for(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()
    get_jobs = DaemonClient.get_jobs

    async def slow(self: DaemonClient, which: Selection, **how: bool) -> list[Detail]:
        if not how:
            asked.set()
            await answer.wait()
        return await get_jobs(self, which, **how)

    monkeypatch.setattr(DaemonClient, "get_jobs", slow)
    async with dashboard(served.path) as (app, pilot):
        await ready(app, pilot)
        number = app.state.number
        type_at_once(app, "t", *"dx", "enter")
        await asked.wait()
        await pilot.pause()
        assert len(app.screen_stack) == 1
        answer.set()
        await until_said(app, "changed")
        assert len(app.screen_stack) == 1
    assert number is not None
    (view,) = await served.parts.jobs.views(served.home.admin, [JobNumber(number)])
    assert view.job.tags == ("dx",)


async def test_escape_frees_the_keys_and_a_dialog_never_opens_over_what_is_written_meanwhile(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(self: DaemonClient, which: Selection, **how: bool) -> list[Detail]:
        if how:
            return []
        asked.set()
        await answer.wait()
        return []

    monkeypatch.setattr(DaemonClient, "get_jobs", slow)
    async with dashboard(served.path) as (app, pilot):
        await ready(app, pilot)
        type_at_once(app, "t")
        await asked.wait()
        type_at_once(app, "escape", "slash", *"name")
        await until(lambda: isinstance(app.focused, Input) and app.focused.value == "name", what="the filter")
        answer.set()
        await until_said(app, "you went on meanwhile")
        assert not isinstance(app.screen, Ask)
