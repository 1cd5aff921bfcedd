"""Somebody known by the uid, whose role is changed while the dashboard runs: no connection ends with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from oddaemon.domain.user import Role
from tests.support.control import desk
from tests.support.dashboard import dashboard, until_said, until_shown
from tests.support.wait import until

UID = 4711


async def test_screens_come_and_go_with_the_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odctl.dashboard.feed.STATUS_SECONDS", 0.1)
    async with desk(tmp_path, own_uid=UID + 1, uid=UID) as served:
        maya = await served.home.user("maya")

        async def be(role: Role) -> None:
            user = await served.home.store.read(lambda tx: tx.users.get(maya.user_id))
            assert user is not None
            await served.home.store.write(lambda tx: tx.users.update(replace(user, role=role, unix_uid=UID)))

        await be(Role.USER)
        async with dashboard(served.path) as (app, pilot):
            await until_shown(app, "maya (user)", "4 Activity")
            assert len(app.panes()) == 4
            await be(Role.ADMIN)
            await until_said(app, "you are maya (admin) here now")
            await until_shown(app, "5 Users", "6 Settings")
            await pilot.press("4", "l")
            await until_shown(app, "Activity ─ Log")
            await pilot.press("5")
            await until_shown(app, "Users ─ 2", "maya")

            await be(Role.USER)
            await until_said(app, "you are maya (user) here now")
            await until(lambda: app.pane.id == "pane-jobs", what="a screen that is allowed")
            assert not app.state.lists["users"].items
            assert not app.state.lists["log"].total
            await pilot.press("5")
            await pilot.pause()
            assert app.pane.id == "pane-jobs"
            await pilot.press("4")
            await until_shown(app, "Activity ─ Events")
