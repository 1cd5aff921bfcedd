"""What is done behind the daemon's back: to its files, its disk, its folder. And links to what is no longer there."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import torrents
from tests.support.daemons import Daemon
from tests.support.origin_server import Origin
from tests.support.swarm import Seeder, Tracker
from tests.support.wait import until

OUTSIDE = b"nobody may touch this"


class Adjustable(Daemon):
    """Without the settings that `odctl settings set` is to change."""

    @property
    def environment(self) -> dict[str, str]:
        found = super().environment
        found.pop("OD_LIMITS_MIN_DISK_FREE")
        return found


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Adjustable(tmp_path / "od") as started:
        (await started.odctl("settings", "set", "limits.min_disk_free=1MB", "limits.resume_free=1MB")).ok()
        yield started


def body(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def directories(daemon: Daemon) -> list[Path]:
    return sorted(path for path in daemon.downloads.iterdir() if path.name != ".opendebrid")


def only_file(daemon: Daemon) -> Path:
    (directory,) = directories(daemon)
    (file,) = [path for path in directory.rglob("*") if path.is_file() or path.is_symlink()]
    return file


async def done(daemon: Daemon, url: str, *options: str) -> int:
    number = await daemon.add(url, "-e", "aria2", *options)
    job = await daemon.until_state(number, "completed", "failed")
    assert job["state"] == "completed", job["error"]
    return number


async def link_of(daemon: Daemon, number: int, *options: str) -> str:
    (link,) = (await daemon.odctl("link", str(number), "--json", *options)).ok().json
    return str(link["url"])


async def status_of(url: str) -> int:
    def ask() -> int:
        try:
            return int(urllib.request.urlopen(url, timeout=10).status)
        except urllib.error.HTTPError as error:
            return error.code

    return await asyncio.to_thread(ask)


async def fetch(url: str) -> bytes:
    return await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=20).read())


async def test_a_file_that_is_changed_behind_its_back_is_fetched_anew_once(daemon: Daemon, tmp_path: Path) -> None:
    async with Origin() as origin:
        for trick in ("delete", "grow", "symlink", "fifo", "no directory"):
            await _changed_behind_its_back(daemon, origin, tmp_path / "outside.bin", trick)


async def _changed_behind_its_back(daemon: Daemon, origin: Origin, outside: Path, trick: str) -> None:
    content = body(50_000)
    address = origin.url(f"/{trick[:2]}.bin")
    page = origin.page(f"/{trick[:2]}.bin", content, etag='"1"')
    first = await done(daemon, address)
    url = await link_of(daemon, first)
    file = only_file(daemon)
    outside.write_bytes(OUTSIDE.ljust(len(content), b"."))
    before = outside.read_bytes()
    if trick == "grow":
        file.write_bytes(content + b"x")
    elif trick == "no directory":
        shutil.rmtree(file.parent)
    else:
        file.unlink()
        if trick == "symlink":
            file.symlink_to(outside)
        elif trick == "fifo":
            os.mkfifo(file)
    assert await status_of(url) in (404, 410, 503), trick
    second = await daemon.add(address, "-e", "aria2")
    job = await daemon.until_state(second, "completed", "failed")
    assert job["state"] == "completed", (trick, job["error"])
    await daemon.until_state(first, "completed")
    for link in (await link_of(daemon, second), await link_of(daemon, first)):
        assert await fetch(link) == content, trick
    assert await fetch(url) == content, "a link works until it expires or is revoked"
    assert page.sent == 2 * len(content), trick
    assert outside.read_bytes() == before, trick
    (await daemon.odctl("rm", str(first), str(second))).ok()
    await until(lambda: directories(daemon) == [])
    assert outside.read_bytes() == before, trick


async def test_a_file_that_goes_again_and_again_ends_in_failed_or_there(daemon: Daemon) -> None:
    """F12: never a loop without end."""
    async with Origin() as origin:
        page = origin.page("/a.bin", body(20_000))
        await done(daemon, origin.url("/a.bin"))
        page.status = 404
        only_file(daemon).unlink()
        number = await daemon.add(origin.url("/a.bin"), "-e", "aria2")
        job = await daemon.until_state(number, "failed")
        assert job["error"]["code"] == "ORIGIN_GONE", job["error"]
        asked = len(origin.requests)
        first = await daemon.until_state(1, "failed")
        assert first["error"]
        # when one that is tried again after the same waits is through, nothing has come
        origin.page("/b.bin", body(1000)).failures = [(503, {})] * 4
        await done(daemon, origin.url("/b.bin"))
        assert "code=ORIGIN_BUSY" in daemon.log
        assert len([seen for seen in origin.requests if seen.path == "/a.bin"]) == asked


async def test_a_directory_replaced_by_a_link_is_neither_filled_nor_served_nor_emptied(
    daemon: Daemon, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious.txt").write_bytes(OUTSIDE)
    async with Origin() as origin:
        origin.page("/a.bin", body(20_000))
        number = await done(daemon, origin.url("/a.bin"))
        url = await link_of(daemon, number)
        file = only_file(daemon)
        shutil.copy(file, victim / file.name)
        kept = (victim / file.name).read_bytes()
        shutil.rmtree(file.parent)
        file.parent.symlink_to(victim, target_is_directory=True)
        assert await status_of(url) in (404, 410, 503)
        again = await daemon.add(origin.url("/a.bin"), "-e", "aria2")

        async def tried() -> bool:
            job = await daemon.job(again)
            waits = job["reason"] is not None and job["reason"]["code"] in ("retry", "storage_failed")
            return job["state"] in ("completed", "failed") or waits

        await until(tried)
        (await daemon.odctl("rm", str(number), str(again))).ok()
        await until(lambda: directories(daemon) == [])
        assert sorted(path.name for path in victim.iterdir()) == sorted([file.name, "precious.txt"])
        assert (victim / "precious.txt").read_bytes() == OUTSIDE
        assert (victim / file.name).read_bytes() == kept


async def test_a_directory_deleted_while_it_fills(daemon: Daemon) -> None:
    async with Origin() as origin:
        content = body(600_000)
        page = origin.page("/a.bin", content, etag='"1"', rate=100_000)
        number = await daemon.add(origin.url("/a.bin"), "-e", "aria2")
        await until(lambda: page.sent > 100_000)
        shutil.rmtree(directories(daemon)[0])
        page.rate = None
        job = await daemon.until_state(number, "completed", "failed")
        assert job["state"] == "completed", job["error"]
        assert await fetch(await link_of(daemon, number)) == content


async def test_the_reserve_is_raised_while_it_runs_and_lowered_again(daemon: Daemon) -> None:
    async with Origin() as origin:
        content = body(900_000)
        page = origin.page("/a.bin", content, etag='"1"', rate=30_000)
        number = await daemon.add(origin.url("/a.bin"), "-e", "aria2")
        await daemon.until_state(number, "active")
        (await daemon.odctl("settings", "set", "limits.min_disk_free=900TB")).ok()

        async def held() -> bool:
            job = await daemon.job(number)
            return bool(job["state"] == "queued" and job["hold"] == "disk" and job["reason"]["code"] == "no_space")

        await until(held)
        await until(lambda: not page.sending, what="the transfer to end")
        assert page.sent < len(content)
        gets = page.gets
        other = await daemon.add(origin.url("/a.bin?2"), "-e", "aria2")

        async def refused() -> bool:
            job = await daemon.job(other)
            return bool(job["state"] == "queued" and job["reason"] and job["reason"]["code"] == "no_space")

        await until(refused)
        assert await held()
        assert page.gets == gets
        (await daemon.odctl("settings", "set", "limits.min_disk_free=1MB")).ok()
        page.rate = None
        await daemon.until_state(number, "completed")
        await daemon.until_state(other, "completed")


async def test_the_disk_is_unmounted_while_it_runs_and_comes_back(daemon: Daemon) -> None:
    """F16: nothing is written into the mount point, nothing invalidated; it goes on by itself."""
    async with Origin() as origin:
        done_before = body(10_000, 2)
        origin.page("/done.bin", done_before)
        ready = await done(daemon, origin.url("/done.bin"))
        url = await link_of(daemon, ready)
        content = body(900_000)
        page = origin.page("/a.bin", content, etag='"1"', rate=100_000)
        number = await daemon.add(origin.url("/a.bin"), "-e", "aria2")
        await until(lambda: page.sent > 100_000)
        away = daemon.folder / "away"
        daemon.downloads.rename(away)
        daemon.downloads.mkdir()

        async def told(job_number: int, word: str) -> bool:
            job = await daemon.job(job_number)
            return bool(job["state"] == "queued" and job["reason"] and word in job["reason"]["code"])

        await until(lambda: told(number, "storage_missing"))
        assert await status_of(url) == 503
        again = (await daemon.odctl("add", "-e", "aria2", "--json", origin.url("/done.bin"))).ok().json[0]["job"]
        assert again["cache_hit"] is False
        assert (await daemon.job(ready))["state"] == "completed"
        assert list(daemon.downloads.iterdir()) == []
        daemon.downloads.rmdir()
        away.rename(daemon.downloads)
        page.rate = None
        for found in (number, again["id"]):
            job = await daemon.until_state(found, "completed", "failed")
            assert job["state"] == "completed", job["error"]
        assert await fetch(url) == done_before
        assert await fetch(await link_of(daemon, number)) == content


async def test_only_the_sentinel_goes_and_comes_back(daemon: Daemon) -> None:
    async with Origin() as origin:
        content = body(700_000)
        page = origin.page("/a.bin", content, etag='"1"', rate=100_000)
        number = await daemon.add(origin.url("/a.bin"), "-e", "aria2")
        await until(lambda: page.sent > 100_000)
        sentinel = daemon.downloads / ".opendebrid"
        kept = sentinel.read_bytes()
        sentinel.unlink()
        await daemon.until_state(number, "queued")
        (await daemon.odctl("rm", str(number))).ok()
        await until(lambda: "action=delete_failed" in daemon.log or not directories(daemon), what="the attempt")
        assert len(directories(daemon)) == 1
        other = await daemon.add(origin.url("/a.bin?2"), "-e", "aria2")
        sentinel.write_bytes(kept)
        page.rate = None
        await daemon.until_state(other, "completed")
        await until(lambda: len(directories(daemon)) == 1)


async def test_a_start_without_the_disk_says_storage_missing_and_waits_for_it(daemon: Daemon) -> None:
    async with Origin() as origin:
        content = body(20_000)
        origin.page("/a.bin", content)
        number = await done(daemon, origin.url("/a.bin"))
        await daemon.stop()
        away = daemon.folder / "away"
        daemon.downloads.rename(away)
        daemon.downloads.mkdir()
        try:
            await daemon.start()
            assert list(daemon.downloads.iterdir()) == []
            other = await daemon.add(origin.url("/a.bin?2"), "-e", "aria2")
            assert (await daemon.job(number))["state"] == "completed"
        finally:
            daemon.downloads.rmdir()
            away.rename(daemon.downloads)
        await daemon.until_state(other, "completed")
        assert await fetch(await link_of(daemon, number)) == content


async def test_links_end_with_what_they_are_for(daemon: Daemon) -> None:
    async with Origin() as origin:
        content = body(30_000)
        origin.page("/a.bin", content)
        one, two = await done(daemon, origin.url("/a.bin")), await done(daemon, origin.url("/a.bin"))
        mine, theirs = await link_of(daemon, one), await link_of(daemon, two)
        short = await link_of(daemon, two, "--ttl", "1s")
        assert [await status_of(url) for url in (mine, theirs)] == [200, 200]

        async def gone(url: str) -> bool:
            return await status_of(url) == 410

        await until(lambda: gone(short))
        (await daemon.odctl("rm", str(one))).ok()
        assert await status_of(mine) == 410
        assert await fetch(theirs) == content
        await daemon.kill()
        await daemon.start()
        # the port was the system's choice
        renewed = (await link_of(daemon, two)).split("/d/")[0]
        assert await status_of(renewed + "/d/" + mine.split("/d/")[1]) == 410
        assert await fetch(renewed + "/d/" + theirs.split("/d/")[1]) == content
        (await daemon.odctl("rm", str(two))).ok()
        await until(lambda: directories(daemon) == [])


async def test_a_selection_grows_and_shrinks_while_the_torrent_runs(daemon: Daemon, tmp_path: Path) -> None:
    files = [torrents.Content(path=(f"{n}.bin",), body=body(200_000, n)) for n in range(5)]
    async with Tracker() as tracker:
        torrent = torrents.multi("some", files, tracker=tracker.url)
        async with Seeder(torrent, tmp_path / "seed", rate="200K"):
            number = await daemon.add(torrent.magnet_with(tracker.url), "--files", "1,2")
            other = await daemon.add(torrent.magnet_with(tracker.url), "--files", "5")

            async def known() -> bool:
                return bool((await daemon.job(number))["files_total"])

            await until(known)
            (await daemon.odctl("select", str(number), "1,3")).ok()
            (await daemon.odctl("select", str(number), "1-4")).ok()
            (await daemon.odctl("select", str(number), "3")).ok()
            job = await daemon.until_state(number, "completed", "failed")
            assert (job["state"], job["size"]) == ("completed", 200_000), job["error"]
            job = await daemon.until_state(other, "completed", "failed")
            assert (job["state"], job["size"]) == ("completed", 200_000), job["error"]
            (await daemon.odctl("select", str(number), "2-3")).ok()
            job = await daemon.until_state(number, "completed", "failed")
            assert (job["state"], job["size"]) == ("completed", 400_000), job["error"]
        links: list[dict[str, Any]] = (await daemon.odctl("link", str(number), "--json")).ok().json
        assert [await fetch(link["url"]) for link in links] == [files[1].body, files[2].body]
        (link,) = (await daemon.odctl("link", str(other), "--json")).ok().json
        assert await fetch(link["url"]) == files[4].body


async def test_a_private_torrent_as_magnet_is_private_and_one_download(daemon: Daemon, tmp_path: Path) -> None:
    async with Tracker() as tracker:
        torrent = torrents.single("secret.bin", body(40_000), tracker=tracker.url, private=True)
        async with Seeder(torrent, tmp_path / "seed"):
            for _ in range(2):
                number = await daemon.add(torrent.magnet_with(tracker.url))
                job = await daemon.until_state(number, "completed", "failed")
                assert job["state"] == "completed", job["error"]
                assert ":@" in job["cache_key"]
            await until(lambda: len(directories(daemon)) == 1)
            (tmp_path / "t.torrent").write_bytes(torrent.data)
            number = await daemon.add(str(tmp_path / "t.torrent"))
            assert (await daemon.until_state(number, "completed"))["cache_hit"] is True


async def test_force_on_a_torrent_repairs_what_was_damaged_in_place(daemon: Daemon, tmp_path: Path) -> None:
    async with Tracker() as tracker:
        content = body(120_000)
        torrent = torrents.single("a.bin", content, tracker=tracker.url)
        async with Seeder(torrent, tmp_path / "seed"):
            number = await daemon.add(torrent.magnet_with(tracker.url))
            await daemon.until_state(number, "completed")
            file = only_file(daemon)
            with file.open("r+b") as damaged:
                damaged.seek(50_000)
                damaged.write(bytes(1000))
            again = await daemon.add(torrent.magnet_with(tracker.url), "--force")
            job = await daemon.until_state(again, "completed", "failed")
            assert job["state"] == "completed", job["error"]
        assert await fetch(await link_of(daemon, again)) == content
        assert await fetch(await link_of(daemon, number)) == content
        assert len(directories(daemon)) == 1


async def test_a_wrong_checksum_costs_one_more_fetch_and_a_right_one_none(daemon: Daemon) -> None:
    async with Origin() as origin:
        content = body(50_000)
        page = origin.page("/a.bin", content)
        wrong = await daemon.add(origin.url("/a.bin"), "-e", "aria2", "--checksum", "sha-256=" + "0" * 64)
        job = await daemon.until_state(wrong, "completed", "failed")
        assert (job["state"], job["error"]["code"]) == ("failed", "checksum") or "checksum" in str(job["error"]).lower()
        assert page.sent == 2 * len(content)
        digest = hashlib.sha256(content).hexdigest()
        right = await daemon.add(origin.url("/a.bin"), "-e", "aria2", "--checksum", f"sha-256={digest}")
        assert (await daemon.until_state(right, "completed", "failed"))["state"] == "completed"
        assert page.sent == 2 * len(content)
