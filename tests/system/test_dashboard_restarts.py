"""A daemon that is killed and started again while each of the screens is shown: it dims, says so, and is true again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from textual.pilot import Pilot

from odctl.client.daemon import DaemonClient
from odctl.client.models import Selection
from odctl.dashboard.app import DashboardApp
from tests.support.daemons import Daemon
from tests.support.dashboard import dashboard, text, until_shown
from tests.support.origin_server import Origin
from tests.support.wait import until

pytestmark = pytest.mark.timeout(300)


SETTING = "limits.link_expiry"


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "od") as running:
        yield running


async def lost_and_found(
    daemon: Daemon, app: DashboardApp, pilot: Pilot[int], keys: Sequence[str], before: Sequence[str],
    meanwhile: Callable[[DaemonClient], Awaitable[object]], after: Sequence[str],
) -> None:  # fmt: skip
    """On the screen that these keys lead to `before` is shown, and when the daemon comes back, `after`."""
    await pilot.press(*keys)
    await until_shown(app, *before)
    epoch = app.state.connection.hello
    await daemon.kill()
    await until_shown(app, "unreachable", *before)
    await until(lambda: dimmed(app), what=f"the screen to dim\n{text(app)}")
    await daemon.start()
    async with daemon.client() as client:
        await meanwhile(client)
    await until(lambda: app.state.live, what="the daemon to be found again")
    await until_shown(app, *after)
    assert "unreachable" not in text(app)
    assert not app.pane.query(".stale") or not dimmed(app)
    assert app.state.connection.hello != epoch


def dimmed(app: DashboardApp) -> bool:
    """The list is drawn as one that is not up to date."""
    return any(getattr(found, "stale", False) for found in app.pane.query("LineList"))


async def test_every_screen_comes_back_with_what_is_true_then(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odctl.dashboard.feed.LONGEST_PAUSE", 1.0)
    async with Origin() as origin:
        for name in ("film.mkv", "book.txt"):
            origin.page(f"/{name}", b"f" * 1000)
            await daemon.until_state(await daemon.add(origin.url(f"/{name}")), "completed")
        async with dashboard(daemon.socket, size=(140, 40)) as (app, pilot):
            await until_shown(app, "5 Users", "film.mkv")

            async def nothing(_: DaemonClient) -> None:
                return None

            async def pinned(client: DaemonClient) -> None:
                entries, _ = await client.cache.page(where="", sort="", offset=0, limit=10)
                await client.cache.pin([entries[0]["key"]], unpin=False)

            async def another_user(client: DaemonClient) -> None:
                await client.accounts.add_user("noor", role="user", email="", password="", unix_user="")

            async def another_limit(client: DaemonClient) -> None:
                await client.upkeep.set_settings({SETTING: "7h"}, dry_run=False)

            async def renamed(client: DaemonClient) -> None:
                await client.set_jobs(Selection(ids=("2",)), ["name=new-name"])

            for keys, before, meanwhile, after in (
                (("2",), ("Nodes ─ 1", "online"), nothing, ("online", "aria2")),
                (("3",), ("Cache ─ 2", "film.mkv"), pinned, ("Cache ─ 2", "pinned")),
                (("4",), ("job.completed",), renamed, ("job.completed", "job.changed")),
                (("5",), ("Users ─ 1",), another_user, ("Users ─ 2", "noor")),
                (("6", "slash", *"link_ex", "enter"), ("limits.link_expiry",), another_limit, ("7h",)),
                (("1", "L"), ("Log", "completed"), renamed, ("new-name", "completed")),
            ):
                await lost_and_found(daemon, app, pilot, keys, before, meanwhile, after)
