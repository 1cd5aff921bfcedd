"""Processes that are killed, stopped or missing under a daemon that runs, and the daemon itself: real aria2c, real
yt-dlp, real file processes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.support import media_site, torrents
from tests.support.daemons import Daemon
from tests.support.origin_server import Origin
from tests.support.places import database_url
from tests.support.processes import command, family, running
from tests.support.swarm import Seeder, Tracker
from tests.support.wait import until

DATABASES = ("sqlite", "postgresql")


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "od") as started:
        yield started


class WithPath(Daemon):
    """A daemon that finds its programs in a folder of the test's."""

    path = ""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | ({"PATH": self.path} if self.path else {})


def body(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def pid_of(daemon: Daemon) -> int:
    assert daemon.process is not None
    return daemon.process.pid


def children(daemon: Daemon, word: str) -> list[int]:
    return running(pid_of(daemon), word)


def kill(pid: int, sig: signal.Signals = signal.SIGKILL) -> None:
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        return


async def content_of(daemon: Daemon, number: int) -> list[bytes]:
    links = (await daemon.odctl("link", str(number), "--json")).ok().json
    return [await asyncio.to_thread(fetch, link["url"]) for link in links]


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return bytes(answer.read())


def names(daemon: Daemon) -> list[str]:
    return sorted(path.name for path in daemon.downloads.iterdir() if path.name != ".opendebrid")


def rows(daemon: Daemon) -> list[str]:
    if url := database_url(daemon.folder):
        with psycopg.connect(url) as server:
            return sorted(str(row[0]) for row in server.execute("select id from replicas"))
    with sqlite3.connect(f"file:{daemon.folder / 'data' / 'opendebrid.db'}?mode=ro", uri=True) as store:
        return sorted(str(UUID(row[0])) for row in store.execute("select id from replicas"))


async def until_the_disk_is_as_the_store_says(daemon: Daemon) -> None:
    try:
        await until(lambda: names(daemon) == rows(daemon))
    except AssertionError as error:
        found, owned = set(names(daemon)), set(rows(daemon))
        raise AssertionError(f"{error}\n{found - owned=} {owned - found=}\n{daemon.log[-20_000:]}") from None


@pytest.mark.any_database
async def test_aria2c_killed_again_and_again(daemon: Daemon) -> None:
    async with Origin() as origin:
        content = body(1_500_000)
        page = origin.page("/big.bin", content, etag='"1"', rate=120_000)
        number = await daemon.add(origin.url("/big.bin"), "-e", "aria2")
        for step in range(1, 3):

            async def far_enough(step: int = step) -> bool:
                return bool((await daemon.job(number))["progress"] > step * 0.15)

            await until(far_enough)
            (pid,) = await until(lambda: children(daemon, "aria2c"))
            kill(pid)
            await until(lambda pid=pid: not command(pid))  # type: ignore[misc, arg-type]
        page.rate = None
        job = await daemon.until_state(number, "completed", "failed")
        assert job["state"] == "completed", job["error"]
        assert await content_of(daemon, number) == [content]
        assert page.sent < 2 * len(content)


@pytest.mark.any_database
async def test_aria2c_stopped_holds_up_no_caller_and_is_replaced(daemon: Daemon) -> None:
    async with Origin() as origin:
        content = body(900_000)
        origin.page("/big.bin", content, etag='"1"', rate=100_000)
        origin.page("/other.bin", content)
        number = await daemon.add(origin.url("/big.bin"), "-e", "aria2")
        await daemon.until_state(number, "active")
        (pid,) = children(daemon, "aria2c")
        kill(pid, signal.SIGSTOP)
        loop = asyncio.get_running_loop()
        began = loop.time()
        other = await daemon.add(origin.url("/other.bin"), "-e", "aria2")
        assert loop.time() - began < 15
        (await daemon.odctl("rm", str(other))).ok()
        assert loop.time() - began < 20
        job = await daemon.until_state(number, "completed", "failed", timeout=70)
        assert job["state"] == "completed", job["error"]
        assert await content_of(daemon, number) == [content]
        assert not command(pid)
        await until_the_disk_is_as_the_store_says(daemon)
        assert len(names(daemon)) == 1


@pytest.mark.any_database
async def test_without_aria2c_jobs_wait_and_say_so_and_go_on_when_it_is_there(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    daemon = WithPath(tmp_path / "od")
    daemon.path = str(programs)
    async with daemon, Tracker() as tracker:
        torrent = torrents.single("a.bin", body(1000), tracker=tracker.url)
        refused = await daemon.odctl("add", "-e", "aria2", "http://127.0.0.1:9/a.bin")
        assert refused.code != 0
        assert "aria2c is not on PATH" in refused.err
        number = await daemon.add(torrent.magnet_with(tracker.url))

        async def says_so() -> bool:
            job = await daemon.job(number)
            assert job["state"] == "queued"
            return "aria2c is not on PATH" in str(job["reason"])

        await until(says_so)
        assert (await daemon.odctl("doctor")).code != 0
        aria2c = shutil.which("aria2c")
        assert aria2c
        (programs / "aria2c").symlink_to(aria2c)
        await daemon.stop()
        await daemon.start()
        async with Seeder(torrent, tmp_path / "seed"):
            await daemon.until_state(number, "completed")


@pytest.mark.any_database
@pytest.mark.parametrize("instead", ["exit 1", "exec sleep 1000"], ids=["ends", "hangs"])
async def test_an_aria2c_that_will_not_start_any_more_and_then_does(tmp_path: Path, instead: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "aria2c"
    real = shutil.which("aria2c")
    assert real
    program.symlink_to(real)
    daemon = WithPath(tmp_path / "od")
    daemon.path = f"{programs}:/usr/bin:/bin"
    async with daemon, Origin() as origin:
        content = body(400_000)
        page = origin.page("/a.bin", content, etag='"1"', rate=60_000)
        number = await daemon.add(origin.url("/a.bin"), "-e", "aria2")
        await until(lambda: page.sent > 100_000)
        program.unlink()
        program.write_text(f"#!/bin/sh\n{instead}\n")
        program.chmod(0o755)
        for pid in children(daemon, "aria2c"):
            kill(pid)
        other = await daemon.add(origin.url("/a.bin?2"), "-e", "aria2")

        async def says_so() -> bool:
            jobs = [await daemon.job(number), await daemon.job(other)]
            assert all(job["state"] in {"queued", "active"} for job in jobs), jobs
            return "aria2" in str(jobs[1]["reason"])

        await until(says_so)
        program.unlink()
        program.symlink_to(real)
        page.rate = None
        for found in (number, other):
            job = await daemon.until_state(found, "completed", "failed")
            assert job["state"] == "completed", job["error"]
            assert await content_of(daemon, found) == [content]


@pytest.mark.any_database
async def test_no_process_outlives_the_daemon_and_a_polite_end_keeps_the_bytes(daemon: Daemon) -> None:
    async with Origin() as origin:
        content = body(1_000_000)
        page = origin.page("/a.bin", content, etag='"1"', rate=150_000)
        number = await daemon.add(origin.url("/a.bin"), "-e", "aria2")
        for ending in ("stop", "kill"):
            await until(lambda: page.sent > (300_000 if ending == "stop" else 550_000))  # noqa: B023
            pids = list(family(pid_of(daemon)))
            assert pids
            await (daemon.stop() if ending == "stop" else daemon.kill())
            await until(lambda pids=pids: not any(map(command, pids)))  # type: ignore[misc, arg-type]
            await daemon.start()
        job = await daemon.until_state(number, "completed", "failed")
        assert job["state"] == "completed", job["error"]
        assert await content_of(daemon, number) == [content]
        assert page.sent < 1.5 * len(content)


@pytest.mark.any_database
async def test_yt_dlp_killed_in_the_middle_and_removed_in_the_middle(daemon: Daemon) -> None:
    """F8: after cancel or rm no process of the job stays alive, and not one byte is left."""
    async with Origin() as origin:
        media_site.add_media(origin)
        for path, page in origin.pages.items():
            if path.startswith("/hls/s"):
                page.rate = 30_000
        number = await daemon.add(origin.url("/hls/index.m3u8"), "-e", "ytdlp")
        # the long-lived helper that classifies URLs is not a child of the replica
        (pid,) = await until(lambda: filling(daemon))
        await daemon.until_state(number, "active")
        kill(pid)
        (again,) = await until(lambda: [found for found in filling(daemon) if found != pid])
        (await daemon.odctl("rm", str(number))).ok()
        await until(lambda: not command(again) and not filling(daemon))
        await until(lambda: names(daemon) == [])
        for path, page in origin.pages.items():
            if path.startswith("/hls/s"):
                page.rate = None
        number = await daemon.add(origin.url("/hls/index.m3u8"), "-e", "ytdlp")
        job = await daemon.until_state(number, "completed", "failed")
        assert job["state"] == "completed", job["error"]


def filling(daemon: Daemon) -> list[int]:
    """Children that work in a replica's directory."""
    found = []
    for pid in family(pid_of(daemon)):
        try:
            where = os.readlink(f"/proc/{pid}/cwd")
        except OSError:
            continue
        if where.startswith(f"{daemon.downloads}/"):
            found.append(pid)
    return found


async def test_kill_9_of_the_daemon_during_a_media_download_leaves_no_child_and_loses_nothing(daemon: Daemon) -> None:
    async with Origin() as origin:
        media_site.add_media(origin)
        for path, page in origin.pages.items():
            if path.startswith("/dash/chunk"):
                page.rate = 40_000
        number = await daemon.add(origin.url("/dash/manifest.mpd"), "-e", "ytdlp")
        for _ in range(3):
            pids = await until(lambda: filling(daemon))
            await asyncio.sleep(random.random())  # the moment is what is random here
            await daemon.kill()
            await until(lambda pids=pids: not any(map(command, pids)))  # type: ignore[misc, arg-type]
            await daemon.start()
        for page in origin.pages.values():
            page.rate = None
        job = await daemon.until_state(number, "completed", "failed")
        assert job["state"] == "completed", job["error"]
        assert names(daemon) == rows(daemon)


async def test_kill_9_while_checksums_are_computed(daemon: Daemon) -> None:
    content = body(20_000_000)
    digest = hashlib.sha256(content).hexdigest()
    async with Origin() as origin:
        page = origin.page("/big.bin", content, etag='"1"', rate=4_000_000)
        number = await daemon.add(origin.url("/big.bin"), "-e", "aria2", "--checksum", f"sha-256={digest}")
        await until(lambda: page.sent >= len(content))
        for _ in range(3):
            await asyncio.sleep(random.random() * 0.1)  # the moment is what is random here
            await daemon.kill()
            await daemon.start()
        job = await daemon.until_state(number, "completed", "failed")
        assert job["state"] == "completed", job["error"]
        # each kill may cost the second for which aria2 had not yet noted what it had
        assert page.sent < len(content) + 3 * 1.5 * 4_000_000


async def test_kill_9_right_after_rm_still_removes_everything(daemon: Daemon) -> None:
    async with Origin() as origin:
        for n in range(6):
            origin.page(f"/{n}.bin", body(4_000_000, n), rate=50_000)
        numbers = [await daemon.add(origin.url(f"/{n}.bin"), "-e", "aria2") for n in range(6)]
        await until(lambda: len(names(daemon)) > 1, what="downloads to begin")
        (await daemon.odctl("rm", *map(str, numbers))).ok()
        await daemon.kill()
        await daemon.start()
        await until(lambda: names(daemon) == rows(daemon) == [])
        assert (await daemon.odctl("cache", "ls", "--json")).ok().json == []


async def test_kill_9_of_the_daemon_and_aria2c_during_a_torrent(daemon: Daemon, tmp_path: Path) -> None:
    """F4: metadata, pieces, completion: nothing starts from zero."""
    files = [torrents.Content(path=(f"{n}.bin",), body=body(300_000, n)) for n in range(3)]
    async with Tracker() as tracker:
        torrent = torrents.multi("some", files, tracker=tracker.url)
        async with Seeder(torrent, tmp_path / "seed", rate="150K"):
            number = await daemon.add(torrent.magnet_with(tracker.url))
            for victim in ("daemon", "aria2c", "daemon"):
                await daemon.until_state(number, "active", "completed")
                await asyncio.sleep(random.random())  # the moment is what is random here
                if victim == "daemon":
                    await daemon.kill()
                    await daemon.start()
                else:
                    for pid in children(daemon, "aria2c"):
                        kill(pid)
            job = await daemon.until_state(number, "completed", "failed", timeout=70)
            assert job["state"] == "completed", job["error"]
        assert await content_of(daemon, number) == [file.body for file in files]


@pytest.mark.any_database
async def test_a_file_process_that_is_killed_during_a_download_comes_back(daemon: Daemon) -> None:
    async with Origin() as origin:
        content = body(200_000)
        origin.page("/a.bin", content)
        number = await daemon.add(origin.url("/a.bin"), "-e", "aria2")
        await daemon.until_state(number, "completed")
        (link,) = (await daemon.odctl("link", str(number), "--json")).ok().json
        servers = children(daemon, "fileserver")
        assert servers
        for pid in servers:
            kill(pid)

        def fetched() -> bool:
            try:
                return bool(urllib.request.urlopen(link["url"], timeout=5).read() == content)
            except OSError:
                return False

        await until(lambda: asyncio.to_thread(fetched))
        (await daemon.odctl("rm", str(number))).ok()
        with pytest.raises(urllib.error.HTTPError):
            await asyncio.to_thread(urllib.request.urlopen, link["url"])


@pytest.mark.any_database
@pytest.mark.parametrize("call", [("wait", "1", "--progress", "plain"), ("get", "1", "--wait")], ids=" ".join)
async def test_whoever_waits_goes_on_waiting_for_a_daemon_that_dies_and_comes_back(
    daemon: Daemon, call: tuple[str, ...]
) -> None:
    async with Origin() as origin:
        page = origin.page("/a.bin", body(500_000), rate=20_000)
        number = await daemon.add(origin.url("/a.bin"), "-e", "aria2")
        await daemon.until_state(number, "active")
        waiting = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "odctl", *call, env=daemon.environment, cwd=daemon.folder,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert waiting.stderr is not None
        try:
            # what it says first is what the daemon told it: the call is under way
            first = await asyncio.wait_for(waiting.stderr.readline(), 60)
            assert b"%" in first
            await daemon.kill()
            page.rate = None
            await daemon.start()
            said = await asyncio.wait_for(waiting.stderr.read(), 60)
            assert await asyncio.wait_for(waiting.wait(), 60) == 0, said
        finally:
            if waiting.returncode is None:
                waiting.kill()
                await waiting.wait()


async def test_what_add_has_answered_exists_after_kill_9_whatever_else_was_under_way(daemon: Daemon) -> None:
    rng = random.Random(4)
    async with Origin() as origin:
        origin.page("/same.bin", body(20_000), etag='"1"')
        accepted: set[int] = set()
        for round_ in range(2):
            sources = [origin.url("/same.bin"), *(origin.url(f"/{round_}-{n}.bin") for n in range(7))]
            for path in sources[1:]:
                origin.page(path[len(origin.url("")) :], body(5000))
            calls = [
                asyncio.create_task(daemon.odctl("add", "-e", "aria2", "--json", *rng.sample(sources, 5)))
                for _ in range(4)
            ]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(rng.random() * 0.1)  # the moment is what is random here
            await daemon.kill()
            for answer in await asyncio.gather(*calls):
                if answer.out.startswith("["):
                    accepted |= {item["job"]["id"] for item in answer.json if item["ok"]}
            await daemon.start()
        assert accepted
        for number in accepted:
            job = await daemon.until_state(number, "completed", "failed")
            assert job["state"] == "completed", job["error"]
        await until_the_disk_is_as_the_store_says(daemon)


async def test_random_wishes_and_kills_leave_the_books_right(daemon: Daemon) -> None:
    rng = random.Random(7)
    async with Origin() as origin:
        for n in range(10):
            origin.page(f"/{n}.bin", body(60_000, n), etag='"1"', rate=rng.choice([None, 30_000]))
        alive: list[int] = []
        for round_ in range(4):
            batch = "\n".join(origin.url(f"/{rng.randrange(10)}.bin") for _ in range(25)).encode()
            answers = (await daemon.odctl("add", "-e", "aria2", "--json", "-", stdin=batch)).ok().json
            alive += [answer["job"]["id"] for answer in answers]
            doomed = rng.sample(alive, 15)
            alive = [number for number in alive if number not in doomed]
            paused = rng.sample(alive, 3)
            await daemon.odctl("pause", *map(str, paused))
            await daemon.odctl("rm", *map(str, doomed))
            if round_ in {1, 2}:
                await daemon.kill()
                await daemon.start()
            await daemon.odctl("resume", *map(str, paused))
        for number in alive:
            job = await daemon.until_state(number, "completed", "failed")
            assert job["state"] == "completed", job["error"]
        jobs = (await daemon.odctl("ls", "--json", "--limit", "200")).ok().json
        assert sorted(job["id"] for job in jobs) == sorted(alive)
        await until_the_disk_is_as_the_store_says(daemon)
        entries = (await daemon.odctl("cache", "ls", "--json")).ok().json
        on_disk = sum(path.stat().st_size for path in daemon.downloads.rglob("*") if path.is_file())
        on_disk -= (daemon.downloads / ".opendebrid").stat().st_size
        assert sum(entry["size"] for entry in entries) == on_disk == 60_000 * len(entries)
        await daemon.odctl("rm", *map(str, alive))
        await until(lambda: names(daemon) == rows(daemon) == [])
