"""The list of jobs on small screens, and with rows and columns that do not fit."""

from __future__ import annotations

from typing import Any, cast

import pytest

from odctl import __version__
from odctl.client.daemon import DaemonClient
from odctl.client.errors import Unreachable
from odctl.client.models import Hello
from odctl.dashboard import messages as m
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.columns import COLUMNS
from odctl.dashboard.glyphs import UNICODE
from odctl.dashboard.job_table import JobTable
from odctl.dashboard.options import Options
from odctl.dashboard.preferences import Preferences
from tests.support.dashboard import shown, text
from tests.support.jobs import NOW, WHERE, Never, job


def told(app: DashboardApp, *jobs: Any) -> None:
    app.tell(m.PageTold(query=app.state.query, offset=0, jobs=jobs, total=len(jobs), at=1.0))


def dashboard() -> DashboardApp:
    return DashboardApp(lambda: cast(DaemonClient, Never()), Options(glyphs=UNICODE), clock=lambda: 1.0)


async def test_a_card_of_a_job_whose_size_nobody_knows_says_no_percentage() -> None:
    app = dashboard()
    async with app.run_test(size=(70, 20)) as pilot:
        told(app, job(1, "known", "active", progress=0.25), job(2, "unknown", "active", size=None))
        await pilot.pause()
        lines = {word: shown(app)[row + 1] for word in ("known", "unknown") for row, line in enumerate(shown(app))
                 if f" {word}" in line}  # fmt: skip
        assert "25.0%" in lines["known"]
        assert "%" not in lines["unknown"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_header_of_an_empty_list_has_its_last_column_whole(size: tuple[int, int]) -> None:
    app = dashboard()
    async with app.run_test(size=size) as pilot:
        app.tell(m.Lost(error=Unreachable("no daemon", absent=True), at=1.0, retry_at=9.0))
        await pilot.pause()
        await pilot.pause()
        header = next(line for line in shown(app) if " NAME " in line)
        last = app.query_one(JobTable).placed[-1].column.title
        assert last in {"ETA", "DOWN/s"}
        assert last in header, text(app)


@pytest.mark.parametrize("size", [(41, 10), (80, 24), (120, 40)])
async def test_the_last_row_can_be_seen_with_every_column_chosen_and_more_rows_than_lines(
    size: tuple[int, int],
) -> None:
    app = dashboard()
    app.preferences = Preferences(columns=tuple(column.id for column in COLUMNS))
    async with app.run_test(size=size) as pilot:
        app.tell(m.PageTold(query=app.state.query, offset=0, jobs=(job(1, "first", "active"),), total=1, at=1.0))
        await pilot.pause()
        jobs = [job(number, f"job-{number}", "active") for number in range(1, 61)]
        told(app, *jobs)
        await pilot.pause()
        await pilot.press("G")
        await pilot.pause()
        assert any("job-60" in line for line in shown(app)), text(app)
        table = app.query_one("#jobs")
        assert not table.show_horizontal_scrollbar


async def test_a_daemon_of_another_version_is_named_once() -> None:
    app = dashboard()
    async with app.run_test(size=(100, 30)) as pilot:
        for version in (__version__, "9.9.9", "9.9.9"):
            hello = Hello(
                server_version=version, api_major=1, api_minor=0, features=(), user="maya", role="user",
                auth="peercred", node="nas", epoch="e", now=NOW,
            )  # fmt: skip
            app.tell(m.Connected(hello=hello, where=WHERE, why="auto", at=1.0))
        await pilot.pause()
        said = [note.message for note in app._notifications if "oddaemon" in note.message]
        assert said == [f"oddaemon 9.9.9 and odctl {__version__}: what the older one does not know is missing here"]
