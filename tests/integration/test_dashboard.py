"""The dashboard over the real control API: what is on the screen, and what the keys do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from odctl.cli.commands.dashboard import PANES
from tests.support.control import Desk, desk
from tests.support.dashboard import dashboard, shown, text, until_state
from tests.support.wait import until

URL = "http://sim.invalid/file.bin"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        yield built


async def test_the_list_shows_what_is_there_and_follows_it(served: Desk) -> None:
    await served.home.add(f"{URL}one", paused=True)
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.total == 1)
        assert any("fileone" in line.replace(".bin", "") or "paused" in line for line in shown(app)), text(app)
        await served.home.add(f"{URL}two", paused=True)
        await until_state(app, pilot, lambda state: state.total == 2)
        print(text(app))
        await until(lambda: sum("paused" in line[:70] for line in shown(app)) == 2)


async def test_the_command_line_knows_the_screens_that_there_are(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: state.admin)
        assert tuple(pane for pane, _ in app.panes()) == PANES
