"""A dashboard whose connection is cut: it goes on from what it has, and shows what `ls` says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from odproto.gen.opendebrid.control import v1 as pb

from odctl.client.daemon import DaemonClient
from odctl.client.endpoints import Choice
from odctl.client.models import Job, Selection
from odctl.client.pages import Memory
from odctl.dashboard.app import DashboardApp
from odctl.dashboard.glyphs import UNICODE
from odctl.dashboard.options import Options
from tests.support.daemons import Daemon
from tests.support.dashboard import shown, until_said, until_state
from tests.support.relay import Relay
from tests.support.wait import until

JOBS = 150


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "od") as running:
        yield running


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[pb.WatchResponse]:
    """All that daemons answer to dashboards."""
    kept: list[pb.WatchResponse] = []
    watch = DaemonClient.watch

    async def noted(self: DaemonClient, **how: Any) -> AsyncIterator[pb.WatchResponse]:
        async for answer in watch(self, **how):
            kept.append(answer)
            yield answer

    monkeypatch.setattr(DaemonClient, "watch", noted)
    return kept


def dashboard(path: Path) -> DashboardApp:
    memory = Memory()
    return DashboardApp(
        lambda: DaemonClient(Choice(paths=(path,), source="flag"), memory=memory), Options(glyphs=UNICODE)
    )


def looks(job: Job) -> tuple[object, ...]:
    return job.id, job.name, job.shown_state, job.rev, job.progress, job.size


async def shows_what_ls_says(app: DashboardApp, client: DaemonClient) -> None:
    async def same() -> bool:
        window, query = app.state.window, app.state.query
        jobs, total = await client.list_jobs(
            where=query.filter, sort=query.sort, offset=window.offset, limit=len(window.jobs) + 1
        )
        return (
            app.state.total == total
            and [looks(job) for job in window.jobs] == [looks(job) for job in jobs[: len(window.jobs)]]
            and (len(jobs) > len(window.jobs) or window.offset + len(jobs) == total or len(window.jobs) > 0)
        )

    await until(same, what="the screen to be as ls says")


def snapshots(answers: list[pb.WatchResponse]) -> list[pb.Snapshot]:
    return [answer.snapshot for answer in answers if answer.snapshot is not None]


async def filled(client: DaemonClient) -> None:
    items = [{"source": f"http://127.0.0.1:9/{number}.bin", "paused": True} for number in range(JOBS)]
    outcomes = await client.add(items)
    assert all(outcome.job is not None for outcome in outcomes)
    await client.cancel(Selection(ids=(f"1-{JOBS - 5}",)))


async def test_a_cut_connection_goes_on_from_what_is_known(
    daemon: Daemon, answers: list[pb.WatchResponse], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odctl.dashboard.feed.LONGEST_PAUSE", 1.0)
    async with daemon.client() as client, Relay(daemon.runtime / "relay.sock", daemon.socket) as relay:
        await filled(client)
        app = dashboard(relay.path)
        async with app.run_test(size=(100, 30)) as pilot:
            await until_state(app, pilot, lambda state: state.total == JOBS)
            # into the middle of the list
            for _ in range(3):
                await pilot.press("pagedown")
            await until(lambda: app.state.window.offset > 0 and app.state.number is not None, what="another window")
            await shows_what_ls_says(app, client)
            window, under = app.state.window, app.state.number

            await relay.cut()
            await until_state(app, pilot, lambda state: not state.live)
            numbers = [job.id for job in window.jobs]
            changed = numbers[app.state.row - window.offset - 2]
            await client.remove(Selection(ids=(str(numbers[1]), str(numbers[3]))))
            await client.set_jobs(Selection(ids=(str(changed),)), ["name=renamed"])
            answers.clear()
            await relay.mend()
            await until_state(app, pilot, lambda state: state.live)
            await until_said(app, "reconnected, ")
            await shows_what_ls_says(app, client)
            assert any("renamed" in line for line in shown(app)), shown(app)
            assert app.state.number == under
            first = snapshots(answers)[0]
            told = {job.id for job in first.jobs}
            # what changed, and what came into the window for those that left it
            assert changed in told
            assert len(told) <= 5
            assert len(first.order) == len(app.state.window.jobs)
            assert not told & (set(numbers) - {changed})

            # what is added comes, too; the order is the daemon's
            await relay.cut()
            await until_state(app, pilot, lambda state: not state.live)
            await client.add([{"source": "http://127.0.0.1:9/new.bin", "paused": True}])
            await relay.mend()
            await until_state(app, pilot, lambda state: state.live and state.total == JOBS - 1)
            await shows_what_ls_says(app, client)

            # another daemon in its place: nothing of before is trusted
            await daemon.kill()
            answers.clear()
            await daemon.start()
            await until(lambda: any(shot.jobs for shot in snapshots(answers)), what="all to be told anew")
            assert not any(shot.order for shot in snapshots(answers))
            async with daemon.client() as again:
                await shows_what_ls_says(app, again)


async def test_scrolling_on_asks_only_for_what_is_not_known(daemon: Daemon, answers: list[pb.WatchResponse]) -> None:
    async with daemon.client() as client:
        await filled(client)
        app = dashboard(daemon.socket)
        async with app.run_test(size=(100, 30)) as pilot:
            await until_state(app, pilot, lambda state: state.total == JOBS)
            answers.clear()
            for _ in range(4):
                await pilot.press("pagedown")
                await pilot.pause()
            await until(lambda: any(shot.order for shot in snapshots(answers)), what="a window told in part")
            await shows_what_ls_says(app, client)
