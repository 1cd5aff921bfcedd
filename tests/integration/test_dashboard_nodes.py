"""The screen of the nodes: what the daemon says of them, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from odctl.dashboard import messages as m
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.dialogs.confirm import Confirm
from odctl.dashboard.dialogs.form import Form
from odctl.dashboard.dialogs.once import Once
from odctl.dashboard.glyphs import ASCII, UNICODE
from odctl.dashboard.panes.nodes import NodesPane, disk_bar, missing
from oddaemon.domain.node import DiskUsage, NodeSnapshot
from oddaemon.domain.types import Bytes, Fraction, NodeId
from tests.support.control import Desk, desk
from tests.support.core import HERE
from tests.support.dashboard import dashboard, text, until_shown, until_state
from tests.support.hostile import HOSTILE
from tests.support.wait import until

GIB = 1 << 30


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        yield built


def engine(**changes: Any) -> dict[str, Any]:
    known = {"name": "aria2", "version": "1.37.0", "ok": True, "active": 2, "limit": 5, "message": None}
    return known | changes


def node(**changes: Any) -> dict[str, Any]:
    known = {
        "id": "nas", "role": "worker", "state": "online", "version": "1.2.3", "address": "http://nas:8081",
        "engines": [engine()], "disk_total": 100 * GIB, "disk_free": 40 * GIB, "reserve": 10 * GIB, "jobs_active": 2,
        "rate_down": 3 << 20, "rate_up": 0, "heartbeat_age_s": 4.0, "labels": {"room": "cellar"},
        "storage_missing": False,
    }  # fmt: skip
    return known | changes


def tell(app: DashboardApp, *nodes: dict[str, Any]) -> None:
    app.tell(m.StatusTold(status={"nodes": list(nodes), "jobs": {}, "rates": {}, "warnings": []}, at=app.clock()))


async def test_the_daemons_own_node_is_there(served: Desk) -> None:
    async with dashboard(served.path) as (app, pilot):
        await until_state(app, pilot, lambda state: bool(state.lists["nodes"].items))
        await pilot.press("2")
        await until_shown(app, "Nodes ─ 1", "here", "● online", "✓ simulated", "role        controller", "reserve  ")


async def test_everything_that_is_known_of_a_node(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odctl.dashboard.feed.STATUS_SECONDS", 3600)
    async with dashboard(served.path, pane="nodes") as (app, pilot):
        await until_state(app, pilot, lambda state: state.status is not None)
        sick = engine(name="ytdlp", ok=False, message="no such program: ffmpeg", active=0, limit=3)
        tell(app, node(engines=[engine(), sick]), node(id="cabin", state="offline", heartbeat_age_s=320.0))
        tell(app, node(engines=[engine(), sick]), node(id="cabin", state="offline", heartbeat_age_s=322.0))
        wide = (
            "aria2 1.37.0, 2/5 running", "ytdlp 1.37.0, 0/3", "no such program: ffmpeg", "room=cellar", "1.2.3",
            "40.0 GiB of 100 GiB", "10.0 GiB", "3.0 MiB/s", "4s ago", "http://nas:8081",
            "✗ offline 5m22s",
        )  # fmt: skip
        await pilot.press("g")
        await until_shown(app, *wide)
        await pilot.press("j")
        await until_shown(app, "nothing was heard of it for 5m22s")
        assert "down" not in [line.split()[0] for line in app.pane._told.plain.splitlines()]  # type: ignore[attr-defined]


def test_what_a_node_lacks() -> None:
    assert list(missing(node())) == []
    assert "not mounted" in " ".join(missing(node(storage_missing=True)))
    assert "below the reserve" in " ".join(missing(node(disk_free=1)))
    assert "drained" in " ".join(missing(node(state="draining")))
    assert "no engine" in " ".join(missing(node(engines=[])))
    assert "aria2 is down: gone" in " ".join(missing(node(engines=[engine(ok=False, message="gone")])))
    assert list(missing(node(state="offline", heartbeat_age_s=None, engines=[]))) == ["it is not there"]


@pytest.mark.parametrize("free", [0, 1, 9 * GIB, 50 * GIB, 100 * GIB, 200 * GIB])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_the_disks_bar_is_as_wide_as_it_is_told(free: int, glyphs: Any) -> None:
    assert len(disk_bar(100 * GIB, free, 10 * GIB, 20, glyphs)) == 20


async def test_names_are_text_at_every_size(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odctl.dashboard.feed.STATUS_SECONDS", 3600)
    async with dashboard(served.path, pane="nodes", size=(80, 24)) as (app, pilot):
        await until_state(app, pilot, lambda state: state.status is not None)
        rows = [
            node(id=f"{at}{name}", labels={name: name}, version=name, address=name, engines=[engine(message=name)])
            for at, name in enumerate(HOSTILE)
        ]
        tell(app, *rows)
        for width, height in ((80, 24), (40, 10), (160, 50)):
            await pilot.resize_terminal(width, height)
            await pilot.press("G")
            assert app.is_running
        pane = app.pane
        assert isinstance(pane, NodesPane)
        pane.move_to(HOSTILE.index("[red]x[/red]"))
        await until_shown(app, "[red]x[/red]")
        assert "\x1b[31m" not in text(app)


async def test_a_lost_connection_dims_and_details_stand_alone_on_a_small_screen(served: Desk) -> None:
    async with dashboard(served.path, pane="nodes", size=(60, 12)) as (app, pilot):
        await until_state(app, pilot, lambda state: bool(state.lists["nodes"].items))
        assert "controller" not in text(app)
        await pilot.press("enter")
        await until(lambda: "controller" in text(app))
        await pilot.press("escape")
        await until(lambda: "controller" not in text(app))
        await served.server.drain(0.1)
        await until_state(app, pilot, lambda state: not state.live)
        assert app.pane.has_class("stale")
        assert app.pane.table.stale  # type: ignore[attr-defined]


# Keys


def known(served: Desk, name: str) -> NodeSnapshot:
    return NodeSnapshot(
        id=NodeId(name), name=name, is_controller=False, online=True, engines=(), software="2.0.0",
        disk=DiskUsage(total=Bytes(100 * GIB), free=Bytes(50 * GIB)), load=Fraction(0.5),
    )  # fmt: skip


async def join(served: Desk, *names: str) -> None:
    """Workers that joined, and tell."""
    for name in names:
        await served.home.core.reconciler.watch.heard(known(served, name))


async def on(app: DashboardApp, pilot: Pilot[int], name: str) -> None:
    """The cursor is on this node."""

    def names() -> list[str]:
        return [item.node["id"] for item in app.state.lists["nodes"].items]

    await until(lambda: name in names(), what=name)
    await pilot.press("g", *(["down"] * names().index(name)))

    def there() -> bool:
        current: Any = app.pane.current  # type: ignore[attr-defined]
        return current is not None and current.node["id"] == name

    await until(there)


async def answer(app: DashboardApp, pilot: Pilot[int], key: str) -> None:
    await until(lambda: isinstance(app.screen, Confirm))
    await pilot.press(key)
    await until(lambda: not isinstance(app.screen, Confirm))


async def test_a_node_is_drained_and_takes_work_again(served: Desk) -> None:
    await join(served, "attic", "cellar")
    board = served.home.core.board
    async with dashboard(served.path, pane="nodes") as (app, pilot):
        await on(app, pilot, "attic")
        await pilot.press("e")
        await until_shown(app, "Drain attic?", "0 downloads there")
        await answer(app, pilot, "n")
        assert not board.nodes[NodeId("attic")].draining
        await pilot.press("e")
        await answer(app, pilot, "y")
        await until(lambda: board.nodes[NodeId("attic")].draining, what="the node drained")
        assert not board.nodes[NodeId("cellar")].draining
        await until_shown(app, "draining")
        await on(app, pilot, "attic")
        await until(lambda: app.pane.current.node["draining"])  # type: ignore[attr-defined]
        await pilot.press("e")
        await until(lambda: not board.nodes[NodeId("attic")].draining, what="the node at work")


async def test_a_node_is_removed_after_a_yes(served: Desk) -> None:
    await join(served, "attic")
    board = served.home.core.board
    async with dashboard(served.path, pane="nodes") as (app, pilot):
        await on(app, pilot, "attic")
        await pilot.press("d")
        await until_shown(app, "Remove attic?", "new join token")
        await answer(app, pilot, "y")
        await until(lambda: NodeId("attic") not in board.nodes, what="the node gone")
        assert HERE in board.nodes


async def test_the_controllers_own_node_is_not_asked_about(served: Desk) -> None:
    async with dashboard(served.path, pane="nodes") as (app, pilot):
        await on(app, pilot, "here")
        await pilot.press("d")
        await until(lambda: any("controller's own" in one.message for one in app._notifications), what="why not")
        assert not isinstance(app.screen, Confirm)


async def test_a_token_is_shown_once_and_is_good(served: Desk) -> None:
    async with dashboard(served.path, pane="nodes") as (app, pilot):
        await on(app, pilot, "here")
        await pilot.press("n")
        await until(lambda: isinstance(app.screen, Form))
        app.screen.query_one("#field-name", Input).value = "attic"
        app.screen.query(Input).last().focus()
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, Once))
        assert "CONTROLLER_TOKEN=od1." in app.screen.text  # type: ignore[attr-defined]
        [listed] = await served.parts.nodes.list_tokens(served.home.admin)
        assert (listed.token.name, listed.state) == ("attic", "good")
        await pilot.press("escape")
        await until(lambda: not isinstance(app.screen, Once))
        assert "od1." not in text(app)


async def test_who_is_no_admin_changes_no_node(served: Desk) -> None:
    async with dashboard(served.path, pane="nodes", read_only=True) as (app, pilot):
        await on(app, pilot, "here")
        await pilot.press("e", "n", "d")
        await pilot.pause()
        assert not isinstance(app.screen, Confirm | Form)
