"""The screen of the cache over the real control API: what is there, who needs it, and what goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Button

from odctl.client.cache import Cache
from odctl.client.errors import OdctlError, UsageError
from odctl.dashboard import cleaning
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.dialogs.ask import Ask
from odctl.dashboard.dialogs.confirm import Confirm
from odctl.dashboard.listed import Listed
from odctl.dashboard.panes.cache import CachePane
from oddaemon.domain.job import JobState
from oddaemon.ports.store import Transaction
from tests.support.control import Desk, desk
from tests.support.dashboard import dashboard, text, until_said, until_shown, until_state
from tests.support.hostile import HOSTILE
from tests.support.wait import until

URL = "http://sim.invalid/file.bin?"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        yield built


async def cached(served: Desk, name: str, *, claimed: bool = True, size: str = "1MiB") -> None:
    """One entry that is ready; with no claim it is one that was kept."""
    job = await served.home.add(f"{URL}{name}", options={"size": size})
    entry_id = (await served.home.until_state(job, JobState.COMPLETED)).entry_id
    assert entry_id is not None

    def rename(tx: Transaction) -> None:
        found = tx.cache.entry(entry_id)
        assert found is not None
        tx.cache.update_entry(replace(found, name=name))

    await served.home.store.write(rename)
    if not claimed:
        await served.home.core.downloads.remove(served.home.admin, job.job.id, keep_data=True)


def cache(app: DashboardApp) -> Listed:
    return app.state.lists["cache"]


def keys(app: DashboardApp) -> set[str]:
    return {binding.action for _, binding, enabled, _ in app.screen.active_bindings.values() if enabled}


async def told(app: DashboardApp, total: int) -> None:
    await until(lambda: cache(app).total == total, what=f"{total} entries")


def entry(number: int, **changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "key": f"aria2:hash:{number:040x}", "jobs": [], "name": f"film {number}", "engine": "aria2",
        "replicas": [{"node": "nas", "state": "ready"}], "size": 1 << 20, "hits": 0, "last_used_at": NOW,
        "pinned": False, "users": [], "generation": 1, "current": True, "created_at": NOW, "files": 1, "private": False,
        "wished": 1,
    }  # fmt: skip
    return known | changes


class Many:
    """A cache of so many entries, in the place of the client's calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, entries: list[dict[str, Any]]) -> None:
        self.found = entries
        self.asked: list[tuple[int, int]] = []

        async def page(_: Cache, *, key: str = "", offset: int = 0, limit: int = 200, **more: Any) -> Any:
            if key:
                return [one for one in self.found if one["key"] == key], 1
            self.asked.append((offset, limit))
            return self.found[offset : offset + limit], len(self.found)

        monkeypatch.setattr(Cache, "page", page)


async def test_an_entry_says_where_it_is_who_needs_it_and_how_often_it_was_used(served: Desk) -> None:
    await cached(served, "film")
    async with dashboard(served.path, pane="cache") as (app, pilot):
        await until_shown(app, "Cache ─ 1 entry", "▸ film", "users       admin", "here  ready  1.0 MiB")
        await pilot.pause()


async def test_p_pins_and_unpins_and_d_removes_what_may_go(served: Desk) -> None:
    await cached(served, "film", claimed=False)
    async with dashboard(served.path, pane="cache") as (app, pilot):
        await told(app, 1)
        await pilot.press("p")
        await until(lambda: cache(app).current["pinned"])
        await until_shown(app, "pinned      yes")
        await until_said(app, "pinned film")
        await pilot.press("d")
        await until(lambda: isinstance(app.screen, Confirm))
        assert isinstance(app.focused, Button)
        assert app.focused.id == "choice-no"
        assert "it is pinned" in text(app)
        await pilot.press("y")
        await until(lambda: app.state.lists["failures"].total == 1)
        assert cache(app).total == 1
        await pilot.press("p")
        await until(lambda: not cache(app).current["pinned"])
        await pilot.press("d")
        await until(lambda: isinstance(app.screen, Confirm))
        await pilot.press("n")
        await until(lambda: not isinstance(app.screen, Confirm))
        await pilot.press("d", "y")
        await told(app, 0)
        await until_shown(app, "The cache is empty")


async def test_what_a_download_needs_stays_and_the_daemon_says_why(served: Desk) -> None:
    await cached(served, "film")
    async with dashboard(served.path, pane="cache") as (app, pilot):
        await told(app, 1)
        await pilot.press("d")
        await until_shown(app, "1 downloads need it (admin)")
        await pilot.press("y")
        await until(lambda: app.state.lists["failures"].total == 1)
        await pilot.pause()
        assert cache(app).total == 1


async def test_clean_up_shows_its_plan_and_takes_only_what_may_go(served: Desk) -> None:
    await cached(served, "old", claimed=False)
    await cached(served, "needed")
    async with dashboard(served.path, pane="cache") as (app, pilot):
        await told(app, 2)
        await pilot.press("c")
        await until(lambda: isinstance(app.screen, Ask))
        await pilot.press(*"soon", "enter")
        await until_shown(app, "'soon' cannot be read")
        await pilot.press(*(["backspace"] * 4), *"free=900T", "enter")
        await until_shown(app, "Remove 1 entry of the cache (1.0 MiB)?", "old")
        assert isinstance(app.screen, Confirm)
        assert "needed" not in "\n".join(app.screen.lines)
        assert cache(app).total == 2
        await pilot.press("escape")
        await until(lambda: not isinstance(app.screen, Confirm))
        await pilot.press("c", *"free=900T", "enter")
        await until(lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await told(app, 1)
        await pilot.press("c", *"free=900T", "enter")
        await until_said(app, "there is nothing to clean up by that")


async def test_the_filter_and_the_order_are_the_daemons(served: Desk) -> None:
    for name, size in (("small", "1KiB"), ("large", "2MiB"), ("middle", "1MiB")):
        await cached(served, name, size=size)
    async with dashboard(served.path, pane="cache") as (app, pilot):
        await told(app, 3)
        await pilot.press("s", "s")
        await until(lambda: [one["name"] for one in cache(app).items] == ["small", "middle", "large"])
        await pilot.press("S")
        await until(lambda: [one["name"] for one in cache(app).items] == ["large", "middle", "small"])
        await pilot.press("slash", *"name~a", "enter")
        await told(app, 2)
        await until_shown(app, "/name~a")
        await pilot.press("slash", *(["backspace"] * 6), *"colour=red", "enter")
        await until(lambda: cache(app).refused is not None)
        await until_shown(app, "^", "colour", "large")
        await pilot.press("escape")
        await told(app, 3)
        await pilot.press("slash", *"name~nowhere", "enter")
        await until_shown(app, "Nothing matches name~nowhere.", "esc clears the filter.")


async def test_ten_thousand_entries_are_a_window(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    many = Many(monkeypatch, [entry(number) for number in range(10_000)])
    async with dashboard(served.path, pane="cache") as (app, pilot):
        await until_shown(app, "Cache ─ 10000 entries", "film 0 ")
        await pilot.press("G")
        await until_shown(app, "▸ film 9999")
        await until(lambda: cache(app).current is not None)
        assert cache(app).current["name"] == "film 9999"
        await pilot.press("pageup")
        await until(lambda: cache(app).current is not None and cache(app).current["name"] != "film 9999")
        await pilot.press("g")
        await until_shown(app, "▸ film 0 ")
        assert all(limit <= 200 for _, limit in many.asked)
        assert len(cache(app).items) <= 200


@pytest.mark.parametrize("options", [{"read_only": True}, {}])
async def test_keys_that_change_are_there_for_admins_who_may(served: Desk, options: dict[str, Any]) -> None:
    async with dashboard(served.path, pane="cache", **options) as (app, pilot):
        await told(app, 0)
        await pilot.pause()
        there = {"pin", "remove_entry", "clean_up"} & keys(app)
        assert there == (set() if options else {"pin", "remove_entry", "clean_up"})
        assert {"filter", "sort", "alone"} <= keys(app)


async def test_others_change_nothing(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odctl.dashboard.state.State.admin", False)
    async with dashboard(served.path, pane="cache") as (app, pilot):
        await told(app, 0)
        await pilot.pause()
        assert not {"pin", "remove_entry", "clean_up"} & keys(app)
        assert "filter" in keys(app)


async def test_names_are_text_at_every_size(served: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        entry(at, name=name, key=f"{at}{name}", users=[name], replicas=[{"node": name, "state": name}], engine=name)
        for at, name in enumerate(HOSTILE)
    ]
    Many(monkeypatch, rows)
    async with dashboard(served.path, pane="cache", size=(80, 24)) as (app, pilot):
        await told(app, len(rows))
        for width, height in ((80, 24), (40, 10), (160, 50)):
            await pilot.resize_terminal(width, height)
            await pilot.press("G")
        pane = app.pane
        assert isinstance(pane, CachePane)
        for row in range(len(rows)):
            pane.move_to(row)
            await pilot.press("d")
            await until(lambda: isinstance(app.screen, Confirm))
            app.screen.dismiss(False)
            await until(lambda: not isinstance(app.screen, Confirm))
        await until_shown(app, "[red]x[/red]")
        assert "\x1b" not in text(app)


async def test_without_the_daemon_nothing_is_changed_and_it_says_so(served: Desk) -> None:
    await cached(served, "film", claimed=False)
    async with dashboard(served.path, pane="cache") as (app, pilot):
        await told(app, 1)
        await served.server.drain(0.1)
        await until_state(app, pilot, lambda state: not state.live)
        await pilot.press("p")
        await until(lambda: app.state.lists["failures"].total == 1)
        await until_said(app, "offline, nothing was changed")
        assert "film" in text(app)


@pytest.mark.parametrize("line", ["", "30d", "older=", "older=soon", "free=much", "node=nas"])
def test_what_is_no_wish_is_said(line: str) -> None:
    with pytest.raises(UsageError):
        cleaning.wish(line)


def test_a_wish_and_its_plan() -> None:
    wish = cleaning.wish("older=30d free=1G node=nas verify")
    assert wish == cleaning.Wish(older_s=2_592_000, until_free=1 << 30, node="nas", verify=True)
    error = OdctlError("it is being filled")
    items = [{"entry": entry(number), "freed_bytes": 1, "failure": None} for number in range(cleaning.MOST + 3)]
    lines = list(cleaning.plan({"items": [*items, {"entry": entry(1), "freed_bytes": 0, "failure": error}]}))
    assert lines[-2:] == ["and 3 more", "stays: it is being filled"]
