"""The lines at the top and at the bottom."""

from __future__ import annotations

from typing import cast

import pytest

from odctl import __version__
from odctl.client.daemon import DaemonClient
from odctl.client.models import Hello, Reason
from odctl.dashboard import messages as m
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.columns import note_of
from odctl.dashboard.glyphs import UNICODE
from odctl.dashboard.options import Options
from odctl.dashboard.state import Connection, State
from odctl.dashboard.top_bar import TopBar, first_line, totals
from tests.support.jobs import Never, job
from tests.support.snapshots import drawn
from tests.support.wait import until

HELLO = Hello(
    server_version=__version__, api_major=1, api_minor=0, features=(), user="admin", role="admin", auth="peercred",
    node="nas", epoch="e", now=None,
)  # fmt: skip


def dashboard(**options: object) -> DashboardApp:
    return DashboardApp(
        lambda: cast(DaemonClient, Never()), Options(glyphs=UNICODE, **options), clock=lambda: 1.0  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("width", [60, 80, 120, 200])
async def test_adding_and_help_are_always_among_the_keys(width: int) -> None:
    app = dashboard()
    async with app.run_test(size=(width, 24)) as pilot:
        await pilot.pause()
        bottom = drawn(app).splitlines()[23]
        assert " a Add " in bottom
        assert " ? Help " in bottom
        assert bottom.endswith(" connecting")


def test_the_address_gives_way_before_words_do() -> None:
    where = "unix:///home/someone/.local/share/opendebrid/run/control.sock"
    state = State(connection=Connection(where=where, hello=HELLO), status={"rates": {"down": 1, "up": 1}})
    for width, address in ((200, where), (120, "unix:///home"), (70, "")):
        line = first_line(state, width, UNICODE, "").plain
        assert "nas" in line
        assert "  admin (admin)" in line
        assert address in line
        assert len(line) == width


@pytest.mark.parametrize(("room", "disk"), [(80, "free ███████"), (52, "GiB free  queued"), (40, "")])
def test_the_jobs_are_counted_where_there_is_no_room_for_the_disk(room: int, disk: str) -> None:
    status = {"jobs": {"queued": 40}, "nodes": [{"disk_total": 2**40, "disk_free": 2**30}]}
    told = totals(status, UNICODE, room)
    assert "queued 40  active 0  failed 0" in told
    assert disk in told
    assert len(told) <= room


async def test_keys_of_jobs_are_offered_where_there_are_jobs() -> None:
    app = dashboard()
    async with app.run_test(size=(160, 24)) as pilot:
        await pilot.pause()
        bottom = drawn(app).splitlines()[23]
        assert not [word for word in ("Pause", "Remove", "Copy link", "Mark", "Sort") if word in bottom]
        app.tell(m.Connected(hello=HELLO, where="unix:///a", why="auto", at=1.0))
        app.tell(m.PageTold(query=app.state.query, offset=0, jobs=(job(1, "film", "active"),), total=1, at=1.0))
        await pilot.pause()
        await until(lambda: "Pause" in drawn(app).splitlines()[23], what="the keys of a job")


def test_a_paused_job_shows_how_far_it_got() -> None:
    why = Reason(code="HELD", message="paused", retry_at=None)
    assert not note_of(job(1, "film", "queued", hold="user", reason=why))
    assert note_of(job(1, "film", "queued", reason=why)) == "paused"


async def test_the_name_of_a_context_has_its_colour() -> None:
    app = dashboard(context="nas", color="red")
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        bar = app.query_one(TopBar)
        first = bar.render().split("\n")[0]
        (place,) = [span for span in first.spans if "on red" in str(span.style)]
        assert first.plain[place.start : place.end].strip() == "nas"
        bar.name_place("box", "")
        assert not [span for span in bar.render().spans if "on " in str(span.style)]
