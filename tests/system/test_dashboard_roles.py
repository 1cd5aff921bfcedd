"""Who one is decides which screens there are: a real account at a real daemon, and its role changed meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from odctl.client.credentials import Keyring
from odctl.client.daemon import DaemonClient
from odctl.client.endpoints import Choice
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.glyphs import UNICODE
from odctl.dashboard.options import Options
from tests.support.daemons import Daemon
from tests.support.dashboard import shown, text, until_said, until_shown
from tests.support.wait import until

PASSWORD = b"correct horse\n"


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where maya's login is kept: the command line that the dashboard starts finds it there, too."""
    monkeypatch.setenv("ODCTL_CONFIG", str(tmp_path / "maya"))
    return {"ODCTL_CONFIG": str(tmp_path / "maya")}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "od") as running:
        yield running


async def logged_in(daemon: Daemon, own: dict[str, str]) -> DashboardApp:
    """The dashboard of maya, who is no admin."""
    (await daemon.odctl("users", "add", "maya", "--password-stdin", stdin=PASSWORD)).ok()
    (await daemon.odctl("login", "--user", "maya", "--password-stdin", stdin=PASSWORD, env=own)).ok()

    def connect() -> DaemonClient:
        return DaemonClient(Choice(paths=(daemon.socket,), source="flag"), keyring=Keyring(own))

    return DashboardApp(connect, Options(glyphs=UNICODE, pane="users"))


async def test_screens_of_admins_come_and_go_with_the_role(daemon: Daemon, own: dict[str, str]) -> None:
    app = await logged_in(daemon, own)
    async with app.run_test(size=(130, 40)) as pilot:
        await until_shown(app, "maya (user)", "Nothing downloading")
        assert [pane for pane, _ in app.panes()] == ["jobs", "nodes", "cache", "activity"]
        assert "Users" not in shown(app)[1]
        assert "Settings" not in shown(app)[1]
        # not by their keys, nor was it by --pane
        for key in "56":
            await pilot.press(key)
            await pilot.pause()
            assert app.pane.id == "pane-jobs"
        # the log of the daemon is for admins, too
        await pilot.press("4", "l")
        await pilot.pause()
        await until_shown(app, "Activity ─ Events")
        await pilot.press("question_mark")
        await pilot.pause()
        assert "Settings" not in text(app)
        await pilot.press("escape")
        # the command line has the daemon's answer
        await pilot.press("colon", *"users ls", "enter")
        await until_shown(app, "exit 4")
        await pilot.press("escape")

        # another role ends the logins of before: what to do is on the screen, and doing it is enough
        (await daemon.odctl("users", "role", "maya", "admin")).ok()
        await until_shown(app, "unreachable")
        assert app.state.connection.error is not None
        assert app.state.connection.error.exit_code == 4
        (await daemon.odctl("login", "--user", "maya", "--password-stdin", stdin=PASSWORD, env=own)).ok()
        await pilot.press("r")
        await until_said(app, "you are maya (admin) here now")
        await until_shown(app, "5 Users", "6 Settings")
        await pilot.press("5")
        await until_shown(app, "Users ─ 2", "maya", "admin")


async def test_who_is_locked_out_meanwhile_is_told_what_to_do(daemon: Daemon, own: dict[str, str]) -> None:
    app = await logged_in(daemon, own)
    async with app.run_test(size=(130, 40)) as pilot:
        await until_shown(app, "maya (user)")
        (await daemon.odctl("users", "disable", "maya")).ok()
        await until(lambda: not app.state.live, what="the end of the connection")
        error = app.state.connection.error
        assert error is not None
        assert error.exit_code == 4, error
        (await daemon.odctl("users", "enable", "maya")).ok()
        await pilot.press("r")
