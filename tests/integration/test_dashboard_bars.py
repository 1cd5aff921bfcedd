"""The lines at the top and at the bottom."""

from __future__ import annotations

from typing import cast

import pytest

from odctl.client.daemon import DaemonClient
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.glyphs import UNICODE
from odctl.dashboard.options import Options
from odctl.dashboard.top_bar import TopBar
from tests.support.jobs import Never
from tests.support.snapshots import drawn


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
