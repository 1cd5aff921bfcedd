"""What is written to the terminal of each change makes the same picture as drawing all of it."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any, cast

import pyte
import pytest
from textual._compositor import Compositor, CompositorUpdate
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widget import Widget

from odctl import __version__
from odctl.client.daemon import DaemonClient
from odctl.client.errors import OdctlError
from odctl.client.models import Hello, Job
from odctl.dashboard import compositor
from odctl.dashboard import messages as m
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.blank import Blank
from odctl.dashboard.compositor import Drawn, QuickCompositor
from odctl.dashboard.dialogs.confirm import Confirm
from odctl.dashboard.glyphs import UNICODE
from odctl.dashboard.job_table import JobTable
from odctl.dashboard.options import Options
from odctl.dashboard.preferences import Preferences
from tests.support.jobs import NOW, WHERE, Never, job
from tests.support.wait import until

SEED = 20260131
STEPS = 40
WIDE = "講義・グラフ理論 12 – 日本語の長い名前の動画 "


class Written(DashboardApp):
    """Keeps on a screen of pyte's what a terminal is told."""

    CSS_PATH = str(Path(compositor.__file__).with_name("dashboard.tcss"))

    def __init__(self) -> None:
        super().__init__(lambda: cast(DaemonClient, Never()), Options(glyphs=UNICODE), clock=lambda: 1.0)
        self.screen_of_pyte = pyte.Screen(130, 40)
        self.kinds: set[type] = set()

    def _display(self, screen: Any, renderable: Any) -> None:
        if isinstance(renderable, CompositorUpdate) and not self._batch_count:
            self.kinds.add(type(renderable))
            pyte.Stream(self.screen_of_pyte).feed(renderable.render_segments(self.console))
        super()._display(screen, renderable)

    def differences(self) -> list[str]:
        """Where it is not what a whole picture would be."""
        whole = pyte.Screen(*self.size)
        strips = self.screen._compositor.render_strips()[: self.size.height]
        for y, strip in enumerate(strips):
            pyte.Stream(whole).feed(f"\x1b[{y + 1};1H{strip.render(self.console)}")
        here = self.screen_of_pyte
        return [
            f"{y}: {here.display[y]!r} is to be {whole.display[y]!r}"
            for y in range(whole.lines)
            if any(here.buffer[y][x] != whole.buffer[y][x] for x in range(whole.columns))
        ]


def some_jobs(dice: random.Random, offset: int) -> tuple[Job, ...]:
    return tuple(
        job(
            number, f"{WIDE if number % 3 == 0 else 'A name '}{number}", dice.choice(("active", "active", "failed")),
            progress=dice.random(), rate_down=dice.randrange(10_000_000), eta_s=dice.random() * 9000,
        )
        for number in range(offset + 1, offset + 71)
    )  # fmt: skip


def page(app: DashboardApp, dice: random.Random) -> None:
    offset = max(0, app.wanted.offset)
    app.tell(m.PageTold(query=app.state.query, offset=offset, jobs=some_jobs(dice, offset), total=300, at=1.0))


def status(app: DashboardApp, dice: random.Random) -> None:
    rates = {"down": dice.randrange(10_000_000), "up": dice.randrange(1_000_000)}
    app.tell(m.StatusTold(status={"jobs": {"active": 3}, "rates": rates, "nodes": (), "warnings": ()}, at=1.0))


def connect(app: DashboardApp) -> None:
    hello = Hello(
        server_version=__version__, api_major=1, api_minor=0, features=(), user="maya", role="user", auth="peercred",
        node="nas", epoch="e", now=NOW,
    )  # fmt: skip
    app.tell(m.Connected(hello=hello, where=WHERE, why="auto", at=1.0))


async def step(app: Written, pilot: Pilot[int], dice: random.Random) -> str:
    """Something that changes the screen. What."""
    what = dice.choice(("page",) * 4 + ("status", "key", "key", "toast", "dialog", "leave", "size", "lost"))
    if what == "page":
        page(app, dice)
    elif what == "status":
        status(app, dice)
    elif what == "key":
        what = dice.choice(("j", "k", "pagedown", "pageup", "G", "g", "space", "S", "z", "plus", "underscore"))
        await pilot.press(what)
    elif what == "toast":
        app.say(f"said {WIDE[: dice.randrange(3, 20)]}", severity=dice.choice(("information", "warning")))
    elif what == "dialog" and len(app.screen_stack) == 1:
        app.push_screen(Confirm("Sure?", [WIDE], "yes")) if dice.random() < 0.5 else app.action_help()
    elif what == "leave" and len(app.screen_stack) > 1:
        await pilot.press("escape")
    elif what == "size":
        columns, lines = dice.choice(((130, 40), (100, 30), (70, 22)))
        app.screen_of_pyte.resize(lines, columns)
        await pilot.resize_terminal(columns, lines)
    elif what == "lost":
        app.tell(m.Lost(error=OdctlError("the connection was lost"), at=0.5, retry_at=4.0))
        await pilot.pause()
        connect(app)
    return what


async def test_what_was_drawn_of_changes_is_what_a_whole_picture_would_be() -> None:
    dice = random.Random(SEED)
    app = Written()
    app.preferences = Preferences(pane=1)
    done: list[str] = []
    async with app.run_test(size=(130, 40)) as pilot:
        connect(app)
        page(app, dice)
        for _ in range(STEPS):
            done.append(await step(app, pilot, dice))
            await pilot.pause()
            try:
                await until(lambda: not app.differences(), timeout=10, every=0.02)
            except AssertionError:
                raise AssertionError("\n".join([f"after {done}", *app.differences()])) from None
        assert Drawn in app.kinds


@pytest.mark.parametrize("lacking", ["a name", "a module"])
async def test_textual_draws_as_it_does_where_it_lacks_what_is_relied_on(
    lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lacking == "a name":
        monkeypatch.setattr(compositor, "RELIED_ON", ("_of_another_version",))
    else:
        monkeypatch.setitem(sys.modules, "odctl.dashboard.compositor", None)
    app = Written()
    async with app.run_test(size=(130, 40)) as pilot:
        connect(app)
        page(app, random.Random(SEED))
        await pilot.press("j")
        await until(lambda: not app.differences(), what="the picture")
        assert type(app.screen._compositor) is Compositor
        assert Drawn not in app.kinds


async def test_only_what_can_be_seen_of_what_changed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Written()
    async with app.run_test(size=(130, 40)) as pilot:
        connect(app)
        page(app, random.Random(SEED))
        await until(lambda: not app.differences(), what="the picture")
        await pilot.pause()
        drawing, table = app.screen._compositor, app.query_one(JobTable)
        assert isinstance(drawing, QuickCompositor)
        asked: list[tuple[Widget, Region]] = []
        for kind in (Widget, Blank, JobTable):

            def render_lines(self: Any, crop: Region, drawn: Any = kind.render_lines) -> Any:
                asked.append((self, crop))
                return drawn(self, crop)

            monkeypatch.setattr(kind, "render_lines", render_lines)
        where, width = table.region, table.scrollable_content_region.width
        drawing._dirty_regions.clear()
        drawing._dirty_regions.add(Region(where.x, where.y + 5, width, 2))
        update = drawing.render_partial_update()
        assert [(y, x, strip.cell_length) for y, x, strip in update.parts] == [
            (where.y + 5, where.x, width), (where.y + 6, where.x, width),
        ]  # fmt: skip
        assert asked == [(table, Region(0, 5, width, 2))]
