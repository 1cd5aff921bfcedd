"""Exceptions that nobody expected, beside the drawing: they are told, kept in Activity, and end nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Never

import pytest

from odctl.client.daemon import DaemonClient
from odctl.crash import masked
from odctl.dashboard.messages import Asked, Query
from odctl.dashboard.mishaps import KEPT, Mishaps
from tests.support.control import Desk, desk
from tests.support.dashboard import dashboard, until_said, until_shown, until_state
from tests.support.wait import until


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    async with desk(tmp_path) as built:
        yield built


async def test_what_a_key_asks_for_may_break_and_the_dashboard_goes_on(served: Desk, tmp_path: Path) -> None:
    async def broken(_: DaemonClient) -> Never:
        raise ZeroDivisionError("in a worker")

    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 0)
        for _ in range(2):
            app.carry_out("divide", broken)
            await until_said(app, "divide: unexpected ZeroDivisionError")
        await until(lambda: app.state.lists["failures"].total == 2)
        await pilot.press("4", "x")
        await until_shown(app, "divide")
    (file,) = (tmp_path / "state").glob("**/odctl-crash-*")  # one for both
    assert "in a worker" in file.read_text()


async def test_a_task_that_nobody_waits_for_is_told_too(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 0)
        told = {"message": "a task", "exception": KeyError("x")}
        asyncio.get_running_loop().call_exception_handler(told)
        await until_said(app, "a task: unexpected KeyError")


def test_the_last_two_hundred_steps_are_told_without_what_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    mishaps = Mishaps()
    for number in range(KEPT + 50):
        mishaps.trail.add(number, Asked(query=Query(filter="name~private")))
    error = mishaps.error(ValueError("x"))
    (file,) = tmp_path.glob("**/odctl-crash-*")
    assert str(file) in error.hint
    written = file.read_text()
    assert written.count(" Asked") == KEPT
    assert "private" not in written


@pytest.mark.parametrize(
    "secret",
    [
        "odk_0123456789abcdef0123456789abcdef_abcdefgh", "odi_0123456789abcdef0123456789abcdef_x",
        "eyJhbGciOi.eyJzdWIi.sig-na_ture", "pw:word",
    ],
)  # fmt: skip
def test_a_crash_file_has_no_secrets(secret: str) -> None:
    for text in (f"token {secret}" if "pw" not in secret else "", f"https://{secret}@host/x", f"http://h/d/{secret}/f",
                 f"http://h/x?sig={secret}", f"Authorization: Bearer {secret}"):  # fmt: skip
        assert secret not in masked(text)
