"""The screen of the settings: where each value comes from, and changing it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from odctl.client.upkeep import Upkeep
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.dialogs.confirm import Confirm
from odctl.dashboard.dialogs.form import Form
from odctl.dashboard.listed import Listed
from odctl.dashboard.panes.settings import SettingsPane, word
from tests.support.control import Desk, desk
from tests.support.dashboard import dashboard, text, until_said, until_shown, until_state
from tests.support.hostile import HOSTILE
from tests.support.wait import until

KEY = "limits.link_expiry"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        yield built


def settings(app: DashboardApp) -> Listed:
    return app.state.lists["settings"]


def setting(key: str, **changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "key": key, "value": 1, "default": 1, "source": "default", "type": "int", "restart_required": False,
        "description": "", "editable": True,
    }  # fmt: skip
    return known | changes


def only(monkeypatch: pytest.MonkeyPatch, *found: dict[str, Any]) -> None:
    async def listed(_: Upkeep, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
        return list(found)

    monkeypatch.setattr(Upkeep, "settings", listed)


async def on(app: DashboardApp, pilot: Any, key: str) -> None:
    await until(lambda: settings(app).total)
    await pilot.press("slash")
    await until(lambda: isinstance(app.focused, Input))
    app.focused.value = key  # type: ignore[union-attr]
    await pilot.press("enter")
    await until(lambda: settings(app).current is not None and settings(app).current["key"] == key, what=key)


async def test_each_setting_says_where_its_value_comes_from(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        setting("a.one", description="how many there are"),
        setting("b.two", value=3600, default=86400, type="duration", source="stored"),
        setting("c.three", value="x", source="env", type="str", restart_required=True, editable=False),
    ]
    only(monkeypatch, *rows)
    async with dashboard(served.path, pane="settings") as (app, pilot):
        await until_shown(app, "Settings ─ 3", "how many there are", "nobody set it", "1h", "stored", "env", "needed")
        await pilot.press("G")
        await until_shown(app, "the daemon's environment", "next start on")
        await pilot.press("e")
        await until_said(app, "it comes from the daemon's environment, which wins")
        await pilot.press("u")
        await until_said(app, "it is not set here")
        assert len(app.screen_stack) == 1


async def test_a_value_is_changed_in_place_with_the_daemons_own_words(served: Desk) -> None:
    async with dashboard(served.path, pane="settings") as (app, pilot):
        await on(app, pilot, KEY)
        before = settings(app).current["value"]
        await pilot.press("e")
        await until(lambda: isinstance(app.screen, Form))
        app.screen.query_one(Input).value = "soon"
        await pilot.press("enter")
        await until(lambda: app.state.lists["failures"].total == 1)
        said = app.state.lists["failures"].current.said.error
        await until_shown(app, said.message[:30])
        app.screen.query_one(Input).value = "12h"
        await pilot.press("enter")
        await until(lambda: settings(app).current["value"] == 43200)
        await until_said(app, f"{KEY} is 12h")
        await until_shown(app, "stored: set here")
        await pilot.press("u", "enter")
        await until(lambda: not isinstance(app.screen, Confirm))
        assert settings(app).current["value"] == 43200
        await pilot.press("u", "y")
        await until(lambda: settings(app).current["value"] == before)
        assert settings(app).current["source"] == "default"


async def test_what_is_read_at_the_start_only_says_so(served: Desk) -> None:
    async with dashboard(served.path, pane="settings") as (app, pilot):
        await on(app, pilot, "server.port")
        await until_shown(app, "it is read when the daemon starts")
        await pilot.press("e")
        await until_said(app, "it is read when the daemon starts")
        await pilot.press("slash", *"nowhere", "enter")
        await until_shown(app, "Nothing matches nowhere.")
        await pilot.press("escape")
        await until(lambda: (settings(app).total or 0) > 10)


async def test_lookers_have_no_keys_and_without_the_daemon_nothing_is_changed(served: Desk) -> None:
    async with dashboard(served.path, pane="settings", read_only=True) as (app, pilot):
        await until(lambda: settings(app).total)
        await pilot.press("e", "u")
        assert len(app.screen_stack) == 1
    async with dashboard(served.path, pane="settings") as (app, pilot):
        await on(app, pilot, KEY)
        await pilot.press("e")
        await until(lambda: isinstance(app.screen, Form))
        await served.server.drain(0.1)
        await until_state(app, pilot, lambda state: not state.live)
        await pilot.press("enter")
        await until_shown(app, "offline, nothing was changed")
        assert isinstance(app.screen, Form)


async def test_values_are_text_at_every_size(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        setting(f"{at}{name}", value=name, default=name, description=name, type=name, source="stored")
        for at, name in enumerate(HOSTILE)
    ]
    only(monkeypatch, *rows)
    async with dashboard(served.path, pane="settings", size=(80, 24)) as (app, pilot):
        await until(lambda: settings(app).total == len(rows))
        for width, height in ((80, 24), (40, 10), (160, 50)):
            await pilot.resize_terminal(width, height)
            await pilot.press("G")
        pane = app.pane
        assert isinstance(pane, SettingsPane)
        for row in range(len(rows)):
            pane.move_to(row)
            await pilot.press("eu"[row % 2])
            await until(lambda: len(app.screen_stack) == 2)
            app.screen.dismiss(None)
            await until(lambda: len(app.screen_stack) == 1)
        assert "\x1b" not in text(app)


@pytest.mark.parametrize(
    ("value", "type", "shown"),
    [(5400, "duration", "90m"), (1 << 30, "size", "1GiB"), (True, "bool", "true"), (["a", "b"], "list", "a,b"),
     (None, "str", ""), (7, "int", "7")],
)  # fmt: skip
def test_a_value_is_shown_as_it_is_set(value: object, type: str, shown: str) -> None:
    assert word(setting("a", value=value, type=type)) == shown
