"""How the dashboard looks, at three sizes. What it does is tested elsewhere; `make snapshots` renews these."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, cast

import pytest

from odctl import __version__
from odctl.client.daemon import DaemonClient
from odctl.client.errors import OdctlError, Unreachable
from odctl.client.models import Hello, JobError, Reason
from odctl.dashboard import details
from odctl.dashboard import messages as m
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.glyphs import UNICODE
from odctl.dashboard.options import Options
from tests.support.jobs import NOW, WHERE, Never, job
from tests.support.snapshots import compare, drawn
from tests.support.wait import until

FOLDER = Path(__file__).with_name("snapshots")
SIZES = ((120, 40), (80, 24), (60, 20))
AT = 100.0

JOBS = (
    job(131, "[SubsPlease] Show [/] \x1b[31m05", "active", engine_state="metadata", size=None),
    job(128, "Big.Buck.Bunny.2160p", "active", progress=0.62, rate_down=38_100_000, eta_s=240.0, seeders=12),
    job(127, "講義・グラフ理論 12 – 日本語の長い名前の動画.mp4", "active", engine_state="merging",
        progress=0.99),
    job(125, "Old.Movie.1962", "queued", hold="user", progress=0.31),
    job(124, "broken-link.zip", "failed", error=JobError(code="ENGINE", message="HTTP 403", hint="", retryable=False)),
    job(123, "dataset-2026.tar", "queued", position=2,
        reason=Reason(code="USER_LIMIT", message="user limit: 5 of 5 running", retry_at=None)),
    job(120, "ubuntu-26.04-desktop.iso", "completed", progress=1.0),
)  # fmt: skip
STATUS = {
    "jobs": {"queued": 2, "active": 3, "failed": 1, "total": 412}, "rates": {"down": 48_200_000, "up": 1_100_000},
    "nodes": (), "warnings": (),
}  # fmt: skip


def live(app: DashboardApp) -> None:
    hello = Hello(
        server_version=__version__, api_major=1, api_minor=0, features=(), user="maya", role="user", auth="peercred",
        node="nas", epoch="e", now=NOW,
    )  # fmt: skip
    app.tell(m.Connected(hello=hello, where=WHERE, why="auto", at=AT))
    app.tell(m.StatusTold(status=STATUS, at=AT))
    app.tell(m.PageTold(query=app.state.query, offset=0, jobs=JOBS, total=len(JOBS), at=AT))


def lose(app: DashboardApp) -> None:
    live(app)
    app.tell(m.MarkToggled())
    app.tell(m.Lost(error=OdctlError("the connection was lost"), at=AT - 14, retry_at=AT + 4))


def offline(app: DashboardApp) -> None:
    error = Unreachable(
        "the OpenDebrid daemon is not running on this machine", why="no socket at /run/opendebrid/control.sock",
        hint="start it: odctl daemon start", absent=True,
    )  # fmt: skip
    app.tell(m.Lost(error=error, at=AT, retry_at=AT + 4))


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize(("name", "tell"), [("list", live), ("lost", lose), ("offline", offline)])
async def test_it_looks_as_it_did(
    name: str, tell: Any, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # what is drawn anew with time is not looked at: a slow machine would draw it more often
    for often in ("REFRESH_SECONDS", "SETTLE_SECONDS"):
        monkeypatch.setattr(details, often, 3600.0)
    app = DashboardApp(
        lambda: cast(DaemonClient, Never()), Options(glyphs=UNICODE, starter=("true",)), clock=lambda: AT
    )
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        tell(app)
        await pilot.pause()
        await pilot.pause()
        file = FOLDER / f"{name}-{size[0]}x{size[1]}.txt"
        # some of it comes after the first picture, on a busy machine later than others
        with contextlib.suppress(AssertionError, FileNotFoundError):
            await until(lambda: drawn(app) == file.read_text("utf-8"), timeout=20)
        compare(app, file)
