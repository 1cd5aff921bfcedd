"""What the keys do to jobs, over the real control API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from odctl.client.daemon import DaemonClient
from odctl.client.errors import UsageError
from odctl.client.models import Failure, Outcome
from odctl.dashboard.actions import summed, tag_changes
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.dialogs.ask import Ask
from odctl.dashboard.dialogs.base import Dialog
from odctl.dashboard.job_table import JobTable
from oddaemon.domain.job import Hold, JobState
from oddaemon.services.views import JobView
from tests.support.control import Desk, desk
from tests.support.dashboard import dashboard, text, until_state
from tests.support.hostile import HOSTILE
from tests.support.wait import until

URL = "http://sim.invalid/file.bin?"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        yield built


async def opened(app: DashboardApp, pilot: Pilot[int], kind: type[Dialog[object]] | type[Ask]) -> None:
    await until(lambda: isinstance(app.screen, Dialog), what=f"{kind.__name__} to open")
    await pilot.pause()


async def toast(app: DashboardApp, said: str) -> None:
    await until(lambda: any(said in note.message for note in app._notifications), what=f"a toast with {said!r}")


async def three(served: Desk) -> list[JobView]:
    return [await served.home.add(f"{URL}{number}", paused=True, name=f"job-{number}") for number in range(3)]


async def test_p_pauses_and_resumes_the_job_under_the_cursor(served: Desk) -> None:
    job = await served.home.add(f"{URL}1", options={"size": "9MiB", "rate": "1K"})
    await served.home.until_state(job, JobState.ACTIVE)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None and state.job.state == "active")
        await pilot.press("p")
        await until_state(app, pilot, lambda state: state.job is not None and state.job.hold == "user")
        await toast(app, "paused")
        await pilot.press("p")
        await until_state(app, pilot, lambda state: state.job is not None and state.job.hold != "user")
        await toast(app, "resumed")


@pytest.mark.parametrize("far", [False, True], ids=["known rows", "rows that are not known"])
async def test_a_key_shows_the_cursor_that_was_scrolled_away_from_before_it_acts(served: Desk, far: bool) -> None:
    jobs = [await served.home.add(f"{URL}{number}", paused=True, name=f"job-{number}") for number in range(90)]
    async with dashboard(served.path, size=(100, 24)) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 90 and state.job is not None)
        aimed = app.state.number
        table = app.query_one(JobTable)
        table.scroll_to(y=60 if far else len(table.rows), animate=False, immediate=True)
        await until(lambda: app.state.row not in table.rows and app.state.window.at(table.rows.start) is not None)
        await until_state(app, pilot, lambda state: (state.job is None) == far)
        for key in ("p", "x", "d", "t", "y", "space"):
            table.scroll_to(y=60 if far else len(table.rows), animate=False, immediate=True)
            await pilot.press(key)
            await toast(app, "the cursor was out of sight")
            assert app.state.row in table.rows
            app.clear_notifications()
        assert not app.state.marks
        await until_state(app, pilot, lambda state: state.job is not None)
        held = [found for job in jobs if (found := await served.home.job(job)) and found.hold is Hold.USER]
        assert len(held) == 90, "nothing was done"
        await pilot.press("p")
        await toast(app, f"resumed {aimed} ")


async def test_marked_jobs_are_meant_in_the_place_of_the_one_under_the_cursor(served: Desk) -> None:
    jobs = await three(served)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 3)
        await pilot.press("space", "space")
        await pilot.press("p")
        await toast(app, "resumed 2 jobs")
        held = [found for job in jobs if (found := await served.home.job(job)) and found.hold is Hold.USER]
        assert len(held) == 1


async def test_a_filter_takes_the_marks_away_that_it_hides(served: Desk) -> None:
    jobs = await three(served)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 3)
        await pilot.press("G", "space")
        await until_state(app, pilot, lambda state: len(state.marks) == 1)
        await pilot.press("slash", *"name~job-2", "enter")
        await until_state(app, pilot, lambda state: state.total == 1 and state.job is not None)
        await toast(app, "no longer marked: 1 job")
        await pilot.press("p")
        await toast(app, "resumed")
        held = [found.name or "" for job in jobs if (found := await served.home.job(job)) and found.hold is Hold.USER]
        assert sorted(held) == ["job-0", "job-1"]


async def test_x_asks_and_enter_alone_cancels_nothing(served: Desk) -> None:
    job = (await three(served))[0]
    async with dashboard(served.path, context="nas") as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 3)
        number = app.state.number
        for keys, cancelled in ((("enter",), False), (("right", "enter"), True)):
            await pilot.press("x")
            await opened(app, pilot, Dialog)
            assert f"Cancel {number}" in text(app)
            assert "nas" in text(app)
            await pilot.press(*keys)
            await pilot.pause()
            assert not isinstance(app.screen, Dialog)
            if cancelled:
                await toast(app, f"cancelled {number}")
        assert app.state.job is not None
        assert app.state.job.state == "cancelled"
        await pilot.press("r")
        await until_state(app, pilot, lambda state: state.job is not None and state.job.state != "cancelled")
        await toast(app, "queued again")
    assert job is not None


async def test_d_says_what_is_removed_and_asks_once(served: Desk) -> None:
    done = await served.home.add(f"{URL}9", options={"size": "3MiB"}, name="film")
    await served.home.until_state(done, JobState.COMPLETED)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None and state.job.state == "completed")
        await pilot.press("d")
        await opened(app, pilot, Dialog)
        assert "film" in text(app)
        assert "freed" in text(app)
        await pilot.press("enter")
        await pilot.pause()
        assert await served.home.job(done) is not None
        await pilot.press("d")
        await opened(app, pilot, Dialog)
        await pilot.press("right", "right", "enter")
        await until_state(app, pilot, lambda state: state.total == 0)
        await toast(app, "removed")
    assert await served.home.job(done) is None


async def test_d_can_keep_the_data(served: Desk) -> None:
    done = await served.home.add(f"{URL}9")
    await served.home.until_state(done, JobState.COMPLETED)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.job is not None and state.job.state == "completed")
        await pilot.press("d")
        await opened(app, pilot, Dialog)
        await pilot.press("right", "enter")
        await toast(app, "its data is kept")
    assert len(await served.home.replicas()) == 1


async def test_star_marks_all_that_the_filter_finds(served: Desk) -> None:
    await three(served)
    async with dashboard(served.path, filter="name~job-1") as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 1)
        await pilot.press("asterisk")
        await until_state(app, pilot, lambda state: len(state.marks) == 1)


async def test_priority_and_tags_are_set(served: Desk) -> None:
    jobs = await three(served)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 3)
        aimed = next(view for view in jobs if view.job.number == app.state.number)
        await pilot.press("P")
        await opened(app, pilot, Ask)
        await pilot.press("ctrl+u", *"nonsense", "enter")
        await pilot.pause()
        assert "is not a priority" in text(app)
        await pilot.press("ctrl+u", *"high", "enter")
        await toast(app, "changed")
        await pilot.press("t")
        await opened(app, pilot, Ask)
        await pilot.press(*"tv", "space", *"new", "enter")
        await until(lambda: not isinstance(app.screen, Dialog))
        # the list is not told of what none of its columns shows: the daemon is asked

        async def changed() -> bool:
            job = await served.home.job(aimed)
            return job is not None and (job.priority, set(job.tags)) == (10, {"tv", "new"})

        await until(changed)


async def test_who_only_looks_changes_nothing(served: Desk) -> None:
    jobs = await three(served)
    async with dashboard(served.path, read_only=True) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 3)
        for key in "pxrdPtyQwo":
            await pilot.press(key)
        await pilot.pause()
        assert not isinstance(app.screen, Dialog)
        assert not app._notifications
        assert "Copy link" not in text(app)
    for job in jobs:
        found = await served.home.job(job)
        assert found is not None
        assert found.hold is Hold.USER


@pytest.mark.parametrize(("key", "call", "said"), [("p", "resume", "it may be done"), ("d", "remove", "esc does not")])
async def test_an_answer_that_does_not_come_is_said_soon(
    served: Desk, monkeypatch: pytest.MonkeyPatch, key: str, call: str, said: str
) -> None:
    answered, real = asyncio.Event(), getattr(DaemonClient, call)

    async def late(client: DaemonClient, *arguments: Any, **options: Any) -> Any:
        await answered.wait()
        return await real(client, *arguments, **options)

    monkeypatch.setattr(DaemonClient, call, late)
    monkeypatch.setattr("odctl.dashboard.doing.PATIENCE_SECONDS", 0.1)
    await three(served)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 3)
        await pilot.press(key)
        await toast(app, "still waiting for the daemon")
        await toast(app, said)
        answered.set()
        if key == "p":
            await toast(app, "resumed")
        else:
            await until(lambda: isinstance(app.screen, Dialog))


async def test_without_a_daemon_keys_say_that_nothing_was_changed(served: Desk) -> None:
    await three(served)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 3)
        app.feed.client = None
        await pilot.press("p")
        await toast(app, "nothing was changed")


async def test_hostile_names_are_only_text_in_every_question(served: Desk) -> None:
    for number, name in enumerate(HOSTILE):
        if name != "\ud800":
            await served.home.add(f"{URL}{number}", paused=True, name=name)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == len(HOSTILE) - 1)
        for _ in range(len(HOSTILE) - 1):
            await pilot.press("x")
            await opened(app, pilot, Dialog)
            assert "\x1b[31m" not in text(app)
            await pilot.press("escape", "down")


def test_failures_say_why_and_what_to_do() -> None:
    failure = Failure(code="WRONG_STATE", message="it is over\nforged", hint="odctl retry 3", details={})
    bad = [Outcome(id=str(number), job=None, failure=failure) for number in range(9)]
    said, severity = summed("paused", bad)
    assert severity == "error"
    assert said.count("\n") == 5
    assert "3: it is over\\x0aforged – odctl retry 3" in said
    assert said.endswith("and 4 more failed")


def test_tags_are_set_or_changed() -> None:
    assert tag_changes("tv, new") == ["tags=tv,new"]
    assert tag_changes("+tv -old") == ["tags+=tv", "tags-=old"]
    assert tag_changes("") == ["tags="]
    with pytest.raises(UsageError):
        tag_changes("tv -old")
