"""A daemon that takes the connection and does not answer: the person is told, and need not wait."""

from __future__ import annotations

from pathlib import Path

from tests.support.dashboard import dashboard, until_shown, until_state
from tests.support.fake_control import FakeControl


async def test_where_rows_will_be_is_shown_and_esc_ends_the_waiting(control: FakeControl, socket_dir: Path) -> None:
    control.hang = True
    async with dashboard(socket_dir / "c.sock", size=(80, 24)) as (app, pilot):
        await until_shown(app, "┄┄┄┄", "connecting to unix://", "esc  do not wait")
        await pilot.press("escape")
        await until_shown(app, "nobody waits for it any more", "r  try again now", "C  another server")
        control.hang = False
        await pilot.press("r")
        await until_state(app, pilot, lambda state: state.live)
