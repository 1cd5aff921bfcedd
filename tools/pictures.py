"""`make pictures`: draws docs/pictures from the running dashboard, of a real daemon with real downloads from loopback.

Nothing of the machine that draws them is in a picture: the daemon's address is the usual one, the node is called nas.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from odctl.client.daemon import DaemonClient
from odctl.client.endpoints import Choice
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.glyphs import UNICODE
from odctl.dashboard.options import Options
from tests.support import torrents
from tests.support.daemons import Daemon
from tests.support.media_site import add_media, add_page
from tests.support.origin_server import Origin
from tests.support.swarm import Seeder, Tracker
from tests.support.wait import until

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
ADDRESS = "unix:///run/opendebrid/control.sock"
WIDE, NARROW = (132, 32), (80, 24)
SETTINGS = {"NODE_ID": "nas", "LIMITS_PER_USER_CONCURRENT": "4", "LIMITS_PER_NODE_CONCURRENT": "4"}
DETAILS = {"jobs-files": "f", "jobs-log": "L"}
DIALOGS = {
    "add": "a", "command": "colon", "help": "question_mark", "link": "Q", "copy": "Y", "sort": "s", "columns": "c",
    "servers": "C", "remove": "d",
}  # fmt: skip
"""Pictures by the key that opens what is on them."""


class Neutral(DaemonClient):
    """Says that the daemon is where it mostly is."""

    @property
    def endpoint(self) -> str:
        return ADDRESS


@contextlib.asynccontextmanager
async def house(folder: Path) -> AsyncIterator[Daemon]:
    """A daemon that has something of everything."""
    content = [
        torrents.Content(path=("Night Train.mkv",), body=os.urandom(1_600_000)),
        torrents.Content(path=("subtitles", "en.srt"), body=os.urandom(40_000)),
        torrents.Content(path=("readme.txt",), body=os.urandom(3_000)),
    ]
    async with Origin() as origin, Tracker() as tracker, Daemon(folder / "od", SETTINGS) as daemon:
        origin.page("/dataset-2026.tar", os.urandom(6_000_000), rate=45_000)
        origin.page("/ubuntu-26.04-desktop.iso", os.urandom(9_000_000), rate=180_000)
        origin.page("/field-recordings.zip", os.urandom(700_000))
        origin.page("/backup.tar.zst", os.urandom(2_000_000), rate=20_000)
        origin.page("/old-manual.pdf", status=404)
        add_media(origin)
        add_page(origin, "/lecture-12", "/clip.mp4", title="Lecture 12: graph theory")
        torrent = torrents.multi("Night Train (1962)", content, tracker=tracker.url)
        async with Seeder(torrent, folder / "seed", rate="30K"):
            await until(lambda: tracker.seeders(torrent), what="the seeder")
            done = [await daemon.add(origin.url(path)) for path in ("/field-recordings.zip", "/lecture-12")]
            for number in done:
                await daemon.until_state(number, "completed")
            await daemon.until_state(await daemon.add(origin.url("/old-manual.pdf")), "failed")
            await daemon.add(origin.url("/dataset-2026.tar"), "--tag", "research")
            await daemon.add(origin.url("/ubuntu-26.04-desktop.iso"))
            paused = await daemon.add(origin.url("/backup.tar.zst"))
            await daemon.until_state(paused, "active")
            (await daemon.odctl("pause", str(paused))).ok()
            film = await daemon.add(torrent.magnet_with(tracker.url), "--priority", "high")
            await daemon.until_state(film, "active")
            await until(lambda: _has_bytes(daemon, film), what="the film to come")
            yield daemon


async def _has_bytes(daemon: Daemon, number: int) -> bool:
    return bool((await daemon.job(number))["done"])


@contextlib.asynccontextmanager
async def shown(
    daemon: Daemon, size: tuple[int, int], **options: Any
) -> AsyncIterator[tuple[DashboardApp, Pilot[int]]]:
    def connect() -> DaemonClient:
        return Neutral(Choice(paths=(daemon.socket,), source="flag"))

    app = DashboardApp(connect, Options(glyphs=UNICODE, **options))
    async with app.run_test(size=size) as pilot:
        await until(lambda: app.state.total and len(app.state.down) > 4, what="the list, and some of its history")
        await pilot.pause()
        yield app, pilot


def keep(app: DashboardApp, name: str, forbidden: list[str]) -> None:
    """Writes the picture. Its fonts are the reader's: nothing in it is from elsewhere."""
    drawn = re.sub(r"@font-face\s*{[^}]*}", "", app.export_screenshot(title="odctl"))
    drawn = re.sub(r"[ \t]+$", "", drawn, flags=re.M)
    text = drawn.replace("&#160;", " ")
    found = [word for word in forbidden if word in text]
    assert not found, f"{name}: {found} is of this machine"
    (PICTURES / f"{name}.svg").write_text(drawn.rstrip() + "\n", "utf-8")
    print(f"docs/pictures/{name}.svg")


async def draw(daemon: Daemon, forbidden: list[str]) -> None:
    async with shown(daemon, WIDE) as (app, pilot):
        keep(app, "jobs", forbidden)
        for name, key in DETAILS.items():
            await pilot.press(key)
            await pilot.pause(1)
            keep(app, name, forbidden)
            await pilot.press("escape")
        for place, (pane, _) in enumerate(app.panes(), 1):
            if pane != "jobs":
                await pilot.press(str(place))
                await pilot.pause(1.5)
                if pane == "settings":  # the others are paths of this machine
                    await pilot.press("slash")
                    await until(lambda: bool(app.query("#filter")), what="the filter's line")
                    await pilot.pause()
                    await pilot.press(*"limits", "enter")
                    await pilot.pause(1)
                keep(app, pane, forbidden)
        await pilot.press("1", "end")  # one that is there
        for name, key in DIALOGS.items():
            await pilot.press(key)
            await pilot.pause(1)
            if len(app.screen_stack) > 1:
                keep(app, name, forbidden)
                await pilot.press("escape")
                await pilot.pause()
    async with shown(daemon, NARROW, filter="state=active") as (app, pilot):
        keep(app, "narrow", forbidden)


async def main() -> int:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.glob("*.svg"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
        os.environ |= {"HOME": folder, "XDG_CONFIG_HOME": f"{folder}/config"}
        async with house(Path(folder)) as daemon:
            here = [folder, str(daemon.runtime), socket.gethostname(), str(Path.cwd())]
            await draw(daemon, here)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
