"""Disks that fill during downloads: small file systems of the test's own. Where mounting is not allowed they are
skipped at home and fail in CI; what holds without a mount is in tests/integration/test_every_limit.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.daemons import Daemon
from tests.support.disks import small_disk
from tests.support.media_site import add_media, padded
from tests.support.origin_server import Origin
from tests.support.wait import until

MB = 1 << 20


@pytest.fixture(name="small_disk")
def _small_disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", 12) as where:
        yield where


class OnSmallDisk(Daemon):
    """Its downloads, or its data, lie on a disk of a few megabytes."""

    small: dict[str, str]

    @property
    def downloads(self) -> Path:
        return Path(self.small.get("OD_NODE_DOWNLOAD_DIR", self.folder / "downloads"))

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.small


@pytest.fixture
async def daemon(tmp_path: Path, small_disk: Path) -> AsyncIterator[OnSmallDisk]:
    built = OnSmallDisk(tmp_path / "od", {"LIMITS_RESUME_FREE": "1MB", "LIMITS_RETRIES": "2"})
    built.small = {"OD_NODE_DOWNLOAD_DIR": str(small_disk / "downloads")}
    async with built:
        yield built


def body(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def fill(disk: Path, leave: int) -> Path:
    """Takes all but `leave` bytes of the disk."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler = disk / "filler"
    with contextlib.suppress(OSError):  # what writes there meanwhile may be quicker
        filler.write_bytes(bytes(max(0, free - leave)))
    return filler


async def content_of(daemon: Daemon, number: int) -> bytes:
    (link,) = (await daemon.odctl("link", str(number), "--json")).ok().json
    return await asyncio.to_thread(lambda: urllib.request.urlopen(link["url"], timeout=20).read())


async def is_held(daemon: Daemon, number: int) -> bool:
    job = await daemon.job(number)
    assert job["state"] != "failed", job["error"]
    return bool(
        job["state"] == "queued" and job["reason"] and job["reason"]["code"] in {"no_space", "waiting_for_space"}
    )


@pytest.mark.parametrize("leave", [0, 700_000], ids=["to the last byte", "below the reserve"])
async def test_the_disk_fills_during_three_downloads_and_empties_again(
    daemon: OnSmallDisk, small_disk: Path, leave: int
) -> None:
    async with Origin() as origin:
        pages = [origin.page(f"/{n}.bin", body(1_500_000, n), etag='"1"', rate=60_000) for n in range(3)]
        numbers = [await daemon.add(origin.url(f"/{n}.bin"), "-e", "aria2") for n in range(3)]
        await until(lambda: all(page.sent > 50_000 for page in pages))
        filler = fill(small_disk, leave)
        for number in numbers:
            await until(lambda number=number: is_held(daemon, number))  # type: ignore[misc]
        (await daemon.odctl("ls")).ok()
        filler.unlink()
        for page in pages:
            page.rate = None
        for n, number in enumerate(numbers):
            job = await daemon.until_state(number, "completed", "failed")
            assert job["state"] == "completed", job["error"]
            assert await content_of(daemon, number) == body(1_500_000, n)


async def test_downloads_of_unknown_length_stop_at_the_reserve(daemon: OnSmallDisk, small_disk: Path) -> None:
    async with Origin() as origin:
        for n in range(3):
            origin.page(f"/{n}.bin", body(8_000_000, n), length="chunked", ranges=False, rate=1_000_000)
        numbers = [await daemon.add(origin.url(f"/{n}.bin"), "-e", "aria2") for n in range(3)]
        for number in numbers:
            await until(lambda number=number: is_held(daemon, number))  # type: ignore[misc]
        (await daemon.odctl("rm", *map(str, numbers))).ok()
        await until(lambda: [path.name for path in daemon.downloads.iterdir()] == [".opendebrid"])


async def test_a_media_download_on_a_full_disk_goes_on_when_there_is_room(
    daemon: OnSmallDisk, small_disk: Path
) -> None:
    async with Origin() as origin:
        add_media(origin)
        page = origin.page("/big.mp4", padded(1_500_000), etag='"b"', content_type="video/mp4", rate=300_000)
        number = await daemon.add(origin.url("/big.mp4"), "-e", "ytdlp")
        await until(lambda: page.sent > 200_000)
        filler = fill(small_disk, 700_000)
        await until(lambda: is_held(daemon, number))
        filler.unlink()
        page.rate = None
        job = await daemon.until_state(number, "completed", "failed")
        assert job["state"] == "completed", job["error"]
        assert await content_of(daemon, number) == page.version.body


async def test_a_store_on_a_full_disk_refuses_and_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    built = OnSmallDisk(tmp_path / "od")
    built.small = {"OD_PATHS_DATA_DIR": str(small_disk / "data")}
    async with built as daemon, Origin() as origin:
        origin.page("/slow.bin", body(400_000), etag='"1"', rate=40_000)
        accepted = [await daemon.add(origin.url("/slow.bin"), "-e", "aria2")]
        filler = fill(small_disk, 0)
        refused = 0
        for n in range(12):
            answer = await daemon.odctl("add", "-e", "aria2", "--json", origin.url(f"/{n}.bin?{'x' * 4000}"))
            assert "Traceback" not in answer.err
            if answer.code == 0:
                accepted.append(answer.json[0]["job"]["id"])
            else:
                refused += 1
        assert refused, "a full disk took every add"
        (await daemon.odctl("ls", "--json")).ok()
        await daemon.kill()
        filler.unlink()
        await daemon.start()
        jobs = (await daemon.odctl("ls", "--json")).ok().json
        assert sorted(job["id"] for job in jobs) == sorted(accepted)
        await daemon.until_state(accepted[0], "completed")
        number = await daemon.add(origin.url("/slow.bin"), "-e", "aria2")
        assert number not in accepted
