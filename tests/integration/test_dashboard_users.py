"""The screen of the users: who there is, and every key that changes one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from odctl.client.accounts import Accounts
from odctl.client.errors import OdctlError, UsageError
from odctl.client.models import User, UserLimits
from odctl.dashboard import accounts
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.dialogs.confirm import Choose, Confirm
from odctl.dashboard.dialogs.form import Form
from odctl.dashboard.dialogs.once import Once
from odctl.dashboard.listed import Listed
from odctl.dashboard.panes.users import UsersPane
from tests.support.control import Desk, desk
from tests.support.dashboard import dashboard, text, until_said, until_shown
from tests.support.hostile import HOSTILE
from tests.support.wait import until

PASSWORD = "correct horse battery"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        yield built


def users(app: DashboardApp) -> Listed:
    return app.state.lists["users"]


def named(app: DashboardApp, name: str) -> User | None:
    return next((user for user in users(app).items if user.name == name), None)


def user(name: str, **changes: Any) -> User:
    known: dict[str, Any] = {
        "name": name, "role": "user", "active": True, "unix_user": None, "jobs_active": 0, "quota_bytes": None,
        "last_seen_at": None, "unix_uid": None, "email": None, "has_password": True, "id": f"id {name}",
        "created_at": datetime(2026, 1, 31, tzinfo=UTC),
        "limits": UserLimits(running=None, jobs=None, storage=None, served_per_day=None, requests_per_minute=None),
    }  # fmt: skip
    return User(**(known | changes))


async def fill(app: DashboardApp, pilot: Pilot[int], **values: str) -> None:
    """Writes into a form and submits its last line."""
    await until(lambda: isinstance(app.screen, Form))
    for name, value in values.items():
        app.screen.query_one(f"#field-{name}", Input).value = value
    app.screen.query(Input).last().focus()
    await pilot.press("enter")


async def on(app: DashboardApp, pilot: Pilot[int], name: str) -> None:
    """The cursor is on this user."""
    await until(lambda: named(app, name) is not None, what=name)
    await pilot.press("g", *(["down"] * [one.name for one in users(app).items].index(name)))
    await until(lambda: users(app).current is not None and users(app).current.name == name)


async def test_who_there_is_and_what_each_one_uses(served: Desk) -> None:
    await served.home.user("maya")
    async with dashboard(served.path, pane="users") as (app, pilot):
        await on(app, pilot, "maya")
        await until_shown(app, "Users ─ 2", "▸ maya", "✓ active", "none: only API keys", "stored")
        await pilot.press("slash", *"MAY", "enter")
        await until(lambda: users(app).total == 1)


async def test_a_user_is_added_with_a_password_typed_twice_and_shown_never(served: Desk) -> None:
    async with dashboard(served.path, pane="users") as (app, pilot):
        await until(lambda: users(app).total == 1)
        await pilot.press("n")
        await fill(app, pilot, name="maya", password=PASSWORD, again="another")
        await until_shown(app, "the two passwords differ")
        assert PASSWORD not in text(app)
        await fill(app, pilot, again=PASSWORD)
        await until(lambda: named(app, "maya") is not None)
        await until_said(app, "maya is there now")
        assert PASSWORD not in text(app)
        assert PASSWORD not in repr(app.state)
        added = named(app, "maya")
        assert added is not None
        assert added.has_password


async def test_what_the_daemon_refuses_is_said_in_the_form(served: Desk) -> None:
    async with dashboard(served.path, pane="users") as (app, pilot):
        await until(lambda: users(app).total == 1)
        await pilot.press("n")
        await fill(app, pilot, name="no good name", password=PASSWORD, again=PASSWORD)
        await until(lambda: app.state.lists["failures"].total == 1)
        assert isinstance(app.screen, Form)
        await fill(app, pilot, name="good", role="queen")
        await until(lambda: app.state.lists["failures"].total == 2)
        await fill(app, pilot, role="admin")
        await until(lambda: (found := named(app, "good")) is not None and found.role == "admin")


async def test_a_new_password_and_a_quota(served: Desk) -> None:
    await served.home.user("maya")
    async with dashboard(served.path, pane="users") as (app, pilot):
        await on(app, pilot, "maya")
        await pilot.press("w")
        await fill(app, pilot, password="", again="")
        await until_shown(app, "no password was given")
        await fill(app, pilot, password=PASSWORD, again=PASSWORD)
        await until(lambda: (found := named(app, "maya")) is not None and found.has_password)
        await pilot.press("t")
        await fill(app, pilot, storage="500 loaves")
        await until_shown(app, "is not a size")
        await fill(app, pilot, storage="500G", running="2", served_per_day="none")
        await until(lambda: (found := named(app, "maya")) is not None and found.quota_bytes == 500 << 30)
        await until_shown(app, "500 GiB", "downloads at a time 2")
        await pilot.press("t")
        await until_shown(app, "500GiB", "none")
        await fill(app, pilot, storage="")
        await until(lambda: (found := named(app, "maya")) is not None and found.quota_bytes is None)


async def test_role_and_lock_ask_before_they_end_sessions(served: Desk) -> None:
    await served.home.user("maya")
    async with dashboard(served.path, pane="users") as (app, pilot):
        await on(app, pilot, "maya")
        await pilot.press("o")
        await until_shown(app, "Make maya an admin?", "API keys and links of this user end")
        await pilot.press("enter")
        await until(lambda: not isinstance(app.screen, Confirm))
        assert users(app).current.role == "user"
        await pilot.press("o", "y")
        await until(lambda: bool(users(app).current.role == "admin"))
        await pilot.press("e", "y")
        await until(lambda: not users(app).current.active)
        await until_shown(app, "⊘ disabled", "nobody gets in as this user")
        await pilot.press("e")
        await until(lambda: bool(users(app).current.active))
        await pilot.press("X", "y")
        await until_said(app, "revoked what maya had")


@pytest.mark.parametrize("keys", [("tab", "enter"), ("tab", "tab", "enter")])
async def test_a_user_is_removed_with_or_without_the_downloads(served: Desk, keys: tuple[str, ...]) -> None:
    maya = await served.home.user("maya")
    await served.home.add("http://sim.invalid/1", maya, paused=True)
    async with dashboard(served.path, pane="users") as (app, pilot):
        await on(app, pilot, "maya")
        await pilot.press("d", "enter")
        await until(lambda: not isinstance(app.screen, Choose))
        assert named(app, "maya") is not None
        await pilot.press("d")
        await until(lambda: isinstance(app.screen, Choose))
        await pilot.press(*keys)
        await until(lambda: users(app).total == 1)
        kept = len(keys) == 2
        await until(lambda: (app.state.status or {}).get("jobs", {}).get("total", 0) == (1 if kept else 0))


async def test_the_last_admin_stays_and_the_daemon_says_why(served: Desk) -> None:
    async with dashboard(served.path, pane="users") as (app, pilot):
        await on(app, pilot, "admin")
        await pilot.press("o", "y")
        await until(lambda: app.state.lists["failures"].total == 1)
        assert named(app, "admin").role == "admin"  # type: ignore[union-attr]


async def test_an_invitation_is_shown_once_and_kept_nowhere(served: Desk) -> None:
    async with dashboard(served.path, pane="users") as (app, pilot):
        await until(lambda: users(app).total == 1)
        await pilot.press("I")
        await fill(app, pilot, ttl="2 moons")
        await until_shown(app, "is not a duration")
        await fill(app, pilot, ttl="2h")
        await until(lambda: isinstance(app.screen, Once))
        await until_shown(app, "odctl login", "odi_")
        assert isinstance(app.screen, Once)
        token = app.screen.text
        await pilot.press("y")
        await until(lambda: app.clipboard == token)
        await pilot.press("escape")
        await until(lambda: not isinstance(app.screen, Once))
        assert "odi_" not in text(app)
        assert token not in repr(app.state)


async def test_only_admins_have_this_screen_and_lookers_no_keys(served: Desk) -> None:
    async with dashboard(served.path, pane="users", read_only=True) as (app, pilot):
        await until(lambda: users(app).total == 1)
        await pilot.pause()
        there = {binding.action for _, binding, enabled, _ in app.screen.active_bindings.values() if enabled}
        assert not there & app.pane.CHANGES  # type: ignore[attr-defined]
        await pilot.press("n", "d", "X")
        assert len(app.screen_stack) == 1


async def test_others_do_not_know_that_there_is_one(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odctl.dashboard.state.State.admin", False)
    async with dashboard(served.path, pane="users") as (app, pilot):
        await until(lambda: app.state.total is not None)
        await pilot.press("5", "6")
        await pilot.pause()
        assert app.pane.id == "pane-jobs"
        assert "Users" not in text(app)
        assert "Settings" not in text(app)


async def test_names_are_text_at_every_size(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [user(name or "-", email=name, unix_user=name, unix_uid=1) for name in HOSTILE]

    async def listed(_: Accounts) -> list[User]:
        return rows

    async def usage(_: Accounts, name: str = "") -> None:
        raise OdctlError(name)

    monkeypatch.setattr(Accounts, "users", listed)
    monkeypatch.setattr(Accounts, "usage", usage)
    async with dashboard(served.path, pane="users", size=(80, 24)) as (app, pilot):
        await until(lambda: users(app).total == len(rows))
        for width, height in ((80, 24), (40, 10), (160, 50)):
            await pilot.resize_terminal(width, height)
            await pilot.press("G")
        pane = app.pane
        assert isinstance(pane, UsersPane)
        for row in range(len(rows)):
            pane.move_to(row)
            await pilot.press("dwt"[row % 3])
            await until(lambda: len(app.screen_stack) == 2)
            app.screen.dismiss(None)
            await until(lambda: len(app.screen_stack) == 1)
        assert "\x1b" not in text(app)


def test_limits_of_a_form() -> None:
    empty = {name: "" for name, _, _ in accounts.LIMITS}
    assert accounts.limits(empty) == dict.fromkeys(empty)
    assert accounts.limits(empty | {"storage": "1G", "jobs": "none"})["storage"] == 1 << 30
    assert accounts.limits(empty | {"storage": "1G", "jobs": "none"})["jobs"] == 0
    for wrong in ({"running": "two"}, {"storage": "-"}, {"running": "-1"}):
        with pytest.raises(UsageError):
            accounts.limits(empty | wrong)


def test_what_ended() -> None:
    assert accounts.ended({"sessions": 2, "keys": 1, "links": 0}) == "; ended: 2 sessions, 1 key"
    assert accounts.ended({"sessions": 0}) == ""
