"""The cache and the events of a daemon that has run for long, 10,000 of each: what is shown is asked for and drawn."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from odctl.client.cache import Cache
from odctl.dashboard.listed import LINES_KEPT
from odctl.dashboard.panes.cache import MOST
from odctl.dashboard.row_list import RowList
from tests.support.daemons import Daemon
from tests.support.dashboard import dashboard, shown, text, until_shown
from tests.support.origin_server import Origin
from tests.support.wait import until

pytestmark = pytest.mark.timeout(300)

MANY = 10_000


class OnSqlite(Daemon):
    """Whatever the others have: its file is filled here."""

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in super().environment.items() if name != "DATABASE_URL"}


def copies(store: sqlite3.Connection, table: str, **changes: Any) -> None:
    """So many rows like the first one; `changes` are functions of the copy's number."""
    store.row_factory = sqlite3.Row
    first = dict(store.execute(f'SELECT * FROM "{table}" LIMIT 1').fetchone())
    columns = list(first)
    rows = [
        tuple(changes[name](number) if name in changes else first[name] for name in columns)
        for number in range(MANY)
    ]  # fmt: skip
    marks = ",".join("?" * len(columns))
    names = ",".join(f'"{name}"' for name in columns)
    store.executemany(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', rows)


def fill(daemon: Daemon) -> None:
    with sqlite3.connect(daemon.folder / "data" / "opendebrid.db") as store:
        copies(
            store, "cache_entries", id=lambda n: uuid.uuid4().hex, key=lambda n: f"aria2:url:{n:064x}",
            pinned=lambda n: 1, name=lambda n: f"film-{n:05}.mkv", hits=lambda n: n,
        )  # fmt: skip
        last = store.execute("SELECT max(seq) FROM events").fetchone()[0]
        at = datetime.now(UTC).replace(tzinfo=None).isoformat(" ")
        kept = store.execute("SELECT at FROM events LIMIT 1").fetchone()[0]
        copies(
            store, "events", seq=lambda n: last + 1 + n, at=lambda n: at if isinstance(kept, str) else kept,
            data=lambda n: json.dumps({"number": n}),
        )  # fmt: skip
        store.execute("UPDATE counters SET value = ? WHERE name = 'event_seq'", (last + MANY,))


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    """Its store was filled while it was down."""
    async with OnSqlite(tmp_path / "od") as running, Origin() as origin:
        origin.page("/film.mkv", b"f" * 1000)
        await running.until_state(await running.add(origin.url("/film.mkv")), "completed")
        assert await running.stop() == 0
        fill(running)
        await running.start()
        yield running


async def test_a_window_of_the_cache_is_asked_for(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    drawn: list[int] = []
    page, line = Cache.page, RowList.render_line

    async def noted(self: Cache, *, offset: int, limit: int, **how: Any) -> Any:
        asked.append((offset, limit))
        return await page(self, offset=offset, limit=limit, **how)

    def counted(self: RowList, y: int) -> Any:
        drawn.append(y)
        return line(self, y)

    monkeypatch.setattr(Cache, "page", noted)
    monkeypatch.setattr(RowList, "render_line", counted)
    async with dashboard(daemon.socket, pane="cache", size=(120, 40)) as (app, pilot):
        cache = app.state.lists["cache"]
        await until(lambda: (app.state.lists["cache"].total or 0) > MANY, what=f"all of it {cache.total}\n{text(app)}")
        await until_shown(app, "10001 entries", "film-")
        await pilot.press("G")
        await until(lambda: app.state.lists["cache"].current is not None, what="the last entry")
        assert app.state.lists["cache"].row == MANY
        del drawn[:]
        for _ in range(5):
            await pilot.press("pageup")
        await until(lambda: app.state.lists["cache"].current is not None)
        assert app.state.lists["cache"].row < MANY - 100
        assert max(limit for _, limit in asked) <= MOST
        assert len(app.state.lists["cache"].items) <= MOST
        # a page up draws the screen, not the list
        assert len(drawn) < 40 * app.size.height
        await pilot.press("slash", *"name~film-09999", "enter")
        await until_shown(app, "film-09999")
        await until(lambda: app.state.lists["cache"].total == 1)


async def test_the_newest_events_are_kept(daemon: Daemon) -> None:
    async with dashboard(daemon.socket, pane="activity", size=(120, 40)) as (app, pilot):
        await until_shown(app, f"number={MANY - 1}")
        events = app.state.lists["events"]
        assert events.total == len(events.items) == LINES_KEPT
        await pilot.press("g")
        await until(lambda: app.state.lists["events"].row == 0)
        await pilot.press("G")
        await until_shown(app, "following", f"number={MANY - 1}")
        assert sum("number=" in row for row in shown(app)) <= app.size.height
