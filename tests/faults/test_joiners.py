"""Claimants of one download that are not alike: each is judged by what it asked for, and holds up nobody else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pytest

from oddaemon.domain.errors import InvalidArgument, InvalidSelection, NotFound
from oddaemon.domain.failure import FailureCode
from oddaemon.domain.job import JobState
from oddaemon.domain.node import DiskUsage
from oddaemon.domain.types import Bytes, BytesPerSecond, LinkId, Seconds
from oddaemon.services.orders import OrderReader
from oddaemon.storage.local import LocalStorage
from tests.support import torrents
from tests.support.core import HERE, House, house
from tests.support.links import linking
from tests.support.wait import until

DATABASES = ("sqlite", "postgresql")

URL = "http://sim.invalid/file.bin"
MAGNET = "magnet:?xt=urn:btih:" + "ab" * 20
WRONG = "sha256=" + "0" * 64
DONE, ACTIVE, FAILED = JobState.COMPLETED, JobState.ACTIVE, JobState.FAILED


async def test_a_selection_that_is_too_large_fails_alone(tmp_path: Path) -> None:
    async with house(tmp_path, max_download_size=Bytes(15_000)) as home:
        options = {"size": "20000", "files": "2", "rate": "10000"}
        small = await home.add(URL, files="1", options=options)
        await home.until_state(small, ACTIVE)
        large = await home.until_state(await home.add(URL, options=options), FAILED, DONE)
        assert large.error is not None
        assert large.error.code is FailureCode.TOO_LARGE
        job = await home.until_state(small, DONE, FAILED)
        assert (job.state, job.size) == (DONE, 10_000)
        (replica,) = await home.replicas()
        assert replica.wanted == 10_000


async def test_selections_that_are_too_large_only_together_both_complete(tmp_path: Path) -> None:
    async with house(tmp_path, max_download_size=Bytes(15_000)) as home:
        options = {"size": "20000", "files": "2", "rate": "10000"}
        one = await home.add(URL, files="1", options=options)
        await home.until_state(one, ACTIVE)
        for view in (one, await home.add(URL, files="2", options=options)):
            assert (await home.until_state(view, DONE, FAILED)).size == 10_000


async def test_a_paused_claimant_loosens_no_speed_limit(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        options = {"size": "1000000"}
        slow = await home.add(URL, max_rate_down=BytesPerSecond(2000), options=options)
        await home.until_state(slow, ACTIVE)
        paused = await home.add(URL, paused=True, options=options)
        job = await home.until_job(lambda job: job.entry_id is not None, paused)
        (replica,) = await home.replicas()
        statuses = home.core.board.statuses
        await until(lambda: replica.id in statuses)
        await home.core.downloads.set(home.admin, slow.job.id, ["rate_down=3000"])
        await until(lambda: statuses[replica.id].rate_down == 3000)
        await home.core.downloads.resume(home.admin, job.id)
        await home.until_state(paused, DONE)


async def test_a_stalled_download_yields_the_room_that_is_kept_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = DiskUsage(total=Bytes(10**9), free=Bytes(300_000_000), present=True)
    monkeypatch.setattr(LocalStorage, "usage", lambda _: disk)
    async with house(tmp_path, stall_yield=Seconds(0.3)) as home:
        dead = {"size": "250000000", "rate": "1000", "stall": "true", "fail-at": "0", "seeders": "0"}
        await home.until_state(await home.add(MAGNET, options=dead), ACTIVE)
        await until(lambda: _is_sized(home))
        await home.until_state(await home.add(URL, options={"size": "100000000", "rate": "100000000"}), DONE)


def _is_sized(home: House) -> bool:
    return any(status.total for status in home.core.board.statuses.values())


async def test_who_cancels_loses_the_links_though_others_keep_the_files(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        linked = linking(home.store)
        linked.servers.serve_on(HERE, "http://files.invalid", _NoServer())
        maya = await home.user("maya")
        options = {"size": "100000", "files": "2", "rate": "50000"}
        theirs = await home.add(URL, maya, files="1", options=options)
        mine = await home.add(URL, options=options)
        await home.until_state(theirs, DONE)
        (link,) = await linked.service.create(home.admin, str(mine.job.number))
        await linked.serving.content(link.link.id, link.link.replica_id, 1)
        await home.core.downloads.cancel(home.admin, mine.job.id)
        assert home.revoked == [link.link.id]
        with pytest.raises(NotFound):
            await linked.serving.content(link.link.id, link.link.replica_id, 1)
        assert (await home.job(theirs)).state is DONE  # type: ignore[union-attr]


class _NoServer:
    async def revoke(self, links: Mapping[LinkId, datetime]) -> None:
        raise AssertionError("the house tells of revoked links itself")

    async def rekey(self, keys: Sequence[bytes]) -> None:
        raise AssertionError("no key is changed here")


async def test_what_a_removal_frees_counts_what_came_just_now(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        view = await home.add(URL, options={"size": "1000000", "rate": "100000"})
        await until(lambda: any(status.done > 10_000 for status in home.core.board.statuses.values()))
        assert (await home.core.downloads.remove(home.admin, view.job.id, keep_data=False)).freed > 10_000


# ── a checksum is of one file ────────────────────────────────────────────────────────────────────────────────────


async def test_a_checksum_of_several_files_is_refused_where_they_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the simulated engine takes no torrents; here it is only told what one holds
    monkeypatch.setattr(OrderReader, "_check_torrent", lambda *_: None)
    several = torrents.multi("t", [torrents.Content((f"{n}.bin",), bytes(5)) for n in range(2)])
    async with house(tmp_path) as home:
        with pytest.raises(InvalidArgument, match="2 are selected"):
            await home.add("", torrent=several.data, checksum=WRONG)
        view = await home.add("", files="2", paused=True, torrent=several.data, checksum=WRONG)
        await home.until_job(lambda job: job.entry_id is not None, view)
        with pytest.raises(InvalidSelection):
            await home.core.job_files.select(home.admin, str(view.job.number), "all")


async def test_a_checksum_of_several_files_fails_when_they_become_known(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        options = {"size": "1000000", "files": "2", "rate": "1000"}
        job = await home.until_state(await home.add(URL, checksum=WRONG, options=options), FAILED)
        assert job.error is not None
        assert (job.error.code, job.attempts) == (FailureCode.CHECKSUM, 0)
