"""Origins and sources that misbehave, from add to the finished file or the clear error, on a real daemon; and what
must be seen nowhere."""

from __future__ import annotations

import asyncio
import base64
import random
import time
import urllib.request
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.support import torrents
from tests.support.daemons import Daemon
from tests.support.ftp_server import FtpFile, FtpOrigin
from tests.support.media_site import add_page
from tests.support.origin_server import Origin, Version
from tests.support.wait import until


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    settings = {
        "LIMITS_RETRIES": "3",
        "ENGINES_ARIA2_STALL_TIMEOUT": "3",
        "LIMITS_PER_USER_CONCURRENT": "50",
        "LIMITS_PER_NODE_CONCURRENT": "50",
    }
    async with Daemon(tmp_path / "od", settings) as started:
        yield started


def body(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


async def content_of(daemon: Daemon, number: int) -> bytes:
    (link,) = (await daemon.odctl("link", str(number), "--json")).ok().json
    return await asyncio.to_thread(lambda: urllib.request.urlopen(link["url"], timeout=20).read())


async def test_origins_that_misbehave_and_still_give_the_file(daemon: Daemon) -> None:
    content = body(300_000)
    async with Origin() as origin:
        pages: dict[str, dict[str, Any]] = {
            "/no-length": {"length": "none"},
            "/chunked": {"length": "chunked"},
            "/no-ranges": {"ranges": False},
            "/no-ranges-drops-once": {"ranges": False, "drop_at": [100_000]},
            "/drops": {"drop_every": 100_000, "etag": '"1"'},
            "/drops-without-validators": {"drop_every": 100_000},
            "/gzip": {"encoding": "insist"},
            "/head-lies": {"head_length": 5},
            "/no-head": {"head": 405},
            "/busy": {"failures": [(503, {}), (503, {}), (503, {}), (500, {})]},
            "/hop1": {"redirect": "/hop2"},
            "/hop2": {"redirect": "/no-ranges"},
        }
        for path, script in pages.items():
            origin.page(path, content, **script)
        changing = origin.page("/changes", body(300_000, 2), etag='"old"', change_after=100_000)
        changing.next_version = Version(content, '"new"')
        numbers = {path: await daemon.add(origin.url(path), "-e", "aria2") for path in [*pages, "/changes"]}
        for path, number in numbers.items():
            job = await daemon.until_state(number, "completed", "failed")
            assert job["state"] == "completed", (path, job["error"])
            assert await content_of(daemon, number) == content, path
            assert job["size"] == len(content), path


async def test_origins_that_can_never_give_the_file_fail_with_a_reason(daemon: Daemon) -> None:
    content = body(200_000)
    async with Origin() as origin:
        lasting: dict[str, dict[str, Any]] = {
            "/gone": {"status": 410},
            "/forbidden": {"status": 403},
            "/missing": {"status": 404},
            "/login": {"auth": "Basic never"},
            "/to-file": {"redirect": "file:///etc/passwd"},
            "/to-ftp-file": {"redirect": "gopher://127.0.0.1/"},
        }
        passing: dict[str, dict[str, Any]] = {
            "/loop1": {"redirect": "/loop2"},
            "/loop2": {"redirect": "/loop1"},
            "/promises-more": {"length": 300_000, "ranges": False},
            "/always-500": {"status": 500},
            "/hangs": {"hang": "headers"},
            "/drops-at-once": {"drop_every": 10, "ranges": False},
        }
        for path, script in (lasting | passing).items():
            origin.page(path, content, **script)
        numbers = {path: await daemon.add(origin.url(path), "-e", "aria2") for path in lasting | passing}
        for path in lasting:
            job = await daemon.until_state(numbers[path], "failed", "completed")
            assert (path, job["state"]) == (path, "failed")
            assert job["error"]["message"], path
            assert len(origin.seen(path)) <= 6, path
        for path in passing:
            job = await daemon.until_state(numbers[path], "failed", "completed", timeout=90)
            assert (path, job["state"]) == (path, "failed")
            assert job["error"]["message"], path
        jobs = (await daemon.odctl("ls", "--json")).ok().json
        assert not [job for job in jobs if job["files_total"] and job["state"] == "completed"]
        (await daemon.odctl("rm", *(str(number) for number in numbers.values()))).ok()
        await until(lambda: [path.name for path in daemon.downloads.iterdir()] == [".opendebrid"])


async def test_a_link_that_expires_in_the_queue_never_completes_with_the_page(tmp_path: Path) -> None:
    """A page with status 200 came where the file was when the engine was chosen."""
    settings = {"LIMITS_RETRIES": "1", "LIMITS_PER_USER_CONCURRENT": "1"}
    async with Daemon(tmp_path / "od", settings) as daemon, Origin() as origin:
        origin.page("/first.bin", body(900_000), rate=10_000)
        late = origin.page("/get", body(100_000), etag='"1"')
        first = await daemon.add(origin.url("/first.bin"))
        await daemon.until_state(first, "active")
        number = await daemon.add(origin.url("/get?id=5"))

        async def resolved() -> bool:
            return bool((await daemon.job(number))["cache_key"])

        await until(resolved)
        late.version, late.content_type = Version(b"<!doctype html><html>expired</html>"), "text/html"
        (await daemon.odctl("rm", str(first))).ok()
        job = await daemon.until_state(number, "failed", "completed")
        assert job["state"] == "failed"
        assert "HTML page" in job["error"]["message"]


async def test_a_torrent_without_seeds_says_so_yields_its_slot_and_ends(tmp_path: Path) -> None:
    settings = {
        "LIMITS_PER_USER_CONCURRENT": "1", "LIMITS_STALL_YIELD": "2", "LIMITS_NO_PROGRESS_TIMEOUT": "10",
    }  # fmt: skip
    torrent = torrents.single("film.mkv", body(200_000))
    (tmp_path / "film.torrent").write_bytes(torrent.data)
    async with Daemon(tmp_path / "od", settings) as daemon, Origin() as origin:
        origin.page("/x.bin", body(300_000), rate=100_000)
        alone = await daemon.add(str(tmp_path / "film.torrent"))
        await daemon.until_state(alone, "active")
        number = await daemon.add(origin.url("/x.bin"), "-e", "aria2")

        async def yielded() -> bool:
            reason = (await daemon.job(alone))["reason"]
            return bool(reason) and reason["code"] == "no_seeds" and "yielded its slot" in reason["message"]

        await until(yielded, what="the torrent to yield its slot")
        await daemon.until_state(number, "completed")
        job = await daemon.until_state(alone, "failed", "completed")
        assert (job["state"], job["error"]["code"]) == ("failed", "NO_PROGRESS")


async def test_a_file_of_no_bytes_completes(daemon: Daemon) -> None:
    async with Origin() as origin:
        origin.page("/empty.bin", b"")
        number = await daemon.add(origin.url("/empty.bin"), "-e", "aria2")
        job = await daemon.until_state(number, "completed", "failed")
        assert (job["state"], job["size"]) == ("completed", 0), job["error"]
        assert await content_of(daemon, number) == b""


async def test_retry_after_is_honoured_and_shown(daemon: Daemon) -> None:
    async with Origin() as origin:
        content = body(10_000)
        numbers = []
        until_then = 0
        for path in ("/seconds.bin", "/date.bin"):
            until_then = int(time.time()) + 15
            after = "10" if path == "/seconds.bin" else formatdate(until_then, usegmt=True)
            origin.page(path, content, failures=[(429, {"Retry-After": after})])
            numbers.append(await daemon.add(origin.url(path), "-e", "aria2"))

            async def says_so() -> bool:
                reason = (await daemon.job(numbers[-1]))["reason"]
                return bool(reason and "429" in reason["message"] and reason["retry_at"])

            await until(says_so)
        for number in numbers:
            await daemon.until_state(number, "completed")
            assert await content_of(daemon, number) == content
        first, second, *_ = origin.seen("/seconds.bin")
        assert second.at - first.at >= 10
        assert origin.seen("/date.bin")[1].at >= until_then


async def test_ftp_that_drops_and_changes(daemon: Daemon) -> None:
    async with FtpOrigin() as origin:
        content = body(400_000)
        origin.files["/drops.bin"] = FtpFile(content, drop_at=[100_000, 100_000])
        origin.files["/pub/x y%.bin"] = FtpFile(content)
        for path in ("/drops.bin", "/pub/x%20y%25.bin"):
            number = await daemon.add(origin.url(path))
            job = await daemon.until_state(number, "completed", "failed")
            assert job["state"] == "completed", job["error"]
            assert await content_of(daemon, number) == content
        number = await daemon.add(origin.url("/none.bin"))
        assert (await daemon.until_state(number, "completed", "failed"))["state"] == "failed"


NAMES = [
    "../../../etc/cron.d/x",
    "/etc/passwd",
    "a" * 400 + ".iso",
    "nul\0byte.bin",
    "line\nfeed.bin",
    "CON",
    "..",
    "\u202eexe.txt",
    "-rf",
    ".opendebrid",
    "x.aria2",
    "\udcff.bin",
]


async def test_names_from_an_origin_stay_names(daemon: Daemon, tmp_path: Path) -> None:
    content = body(3000)
    async with Origin() as origin:
        numbers = []
        for n, name in enumerate(NAMES):
            quoted = "".join(f"%{byte:02X}" for byte in name.encode("utf-8", "surrogateescape"))
            origin.page(f"/{n}", content, headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quoted}"})
            numbers.append(await daemon.add(origin.url(f"/{n}"), "-e", "aria2"))
        for number, name in zip(numbers, NAMES, strict=True):
            job = await daemon.until_state(number, "completed", "failed")
            assert job["state"] == "completed", (name, job["error"])
            assert job["name"].isprintable(), name
            (file,) = (await daemon.odctl("files", str(number), "--json")).ok().json
            assert file["path"].isprintable()
            assert not file["path"].startswith("/")
            assert ".." not in file["path"].split("/")
            home = tmp_path / "home" / str(number)
            home.mkdir(parents=True)
            (await daemon.odctl("get", str(number), "--into", str(home))).ok()
            (got,) = [path for path in home.rglob("*") if path.is_file()]
            assert got.read_bytes() == content, name
    outside = [path for path in tmp_path.iterdir() if path.name not in {"od", "home"}]
    assert outside == []


async def test_a_page_without_media_and_a_page_that_points_at_files_on_this_machine(daemon: Daemon) -> None:
    async with Origin() as origin:
        add_page(origin, "/none")
        add_page(origin, "/local", "file:///etc/passwd")
        for path in ("/none", "/local"):
            # options of yt-dlp alone: aria2, which finds out that it is a page, leaves them aside
            number = await daemon.add(origin.url(path), "-O", "subtitles=en", "-O", "format=best")
            job = await daemon.until_state(number, "completed", "failed")
            assert job["state"] == "failed", path
            assert job["error"]["message"]
            assert "aria2" not in job["error"]["message"]


async def test_credentials_are_seen_nowhere_and_gone_when_it_is_complete(daemon: Daemon, tmp_path: Path) -> None:
    """F21, F34: not while it runs, not after a restart, not in what is left on disk at the end."""
    secret = "correcthorse-battery"
    basic = base64.b64encode(f"maya:{secret}".encode())
    header = "tr0ub4dor-and-3"
    async with Origin() as origin:
        content = body(400_000)
        page = origin.page("/a.bin", content, etag='"1"', rate=60_000, auth=f"Basic {basic.decode()}")
        other = origin.page("/b.bin", content, etag='"1"', rate=60_000)
        url = origin.url("/a.bin").replace("http://", f"http://maya:{secret}@")
        first = await daemon.add(url, "-e", "aria2")
        second = await daemon.add(origin.url("/b.bin"), "-e", "aria2", "-O", f"header=X-Token: {header}")
        await until(lambda: page.sent > 50_000 and other.sent > 50_000)
        needles = [secret.encode(), basic, header.encode()]

        def seen_by_others() -> list[str]:
            found = []
            for process in Path("/proc").iterdir():
                if not process.name.isdigit():
                    continue
                for part in ("cmdline", "environ"):
                    try:
                        data = (process / part).read_bytes()
                    except OSError:
                        continue
                    # the command line of `odctl add` itself is the user's
                    found += [f"{process.name} {part}" for needle in needles if needle in data and b"odctl" not in data]
            return found

        assert seen_by_others() == []
        await daemon.kill()
        await daemon.start()
        page.rate = other.rate = None
        for number in (first, second):
            job = await daemon.until_state(number, "completed", "failed")
            assert job["state"] == "completed", job["error"]
            assert await content_of(daemon, number) == content
        assert seen_by_others() == []
        said = daemon.log
        for call in (
            ("show", "1", "2", "--json"), ("ls", "--json"), ("events", "--no-follow", "--since", "0"),
            ("cache", "ls", "--json"), ("logs", "--no-follow"), ("status", "--json"), ("links", "--json"),
        ):  # fmt: skip
            answer = await daemon.odctl(*call)
            said += answer.out + answer.err
        assert [needle for needle in needles if needle.decode() in said] == []

        def left(but: str = "") -> list[str]:
            found = []
            for base in (daemon.folder, daemon.runtime):
                for path in base.rglob("*"):
                    if path.is_file() and not path.is_symlink() and not (but and path.name.startswith(but)):
                        data = path.read_bytes()
                        found += [f"{path.relative_to(base)}: {needle!r}" for needle in needles if needle in data]
            return found

        # the store's own pages are written over, and its log is emptied
        await until(lambda: left() == [])
        await daemon.stop()
        assert left() == []


async def test_two_hundred_torrents_without_seeds_at_once(daemon: Daemon) -> None:
    batch = "\n".join(f"magnet:?xt=urn:btih:{n:040x}" for n in range(1, 201)).encode()
    answers = (await daemon.odctl("add", "--json", "-", stdin=batch)).ok().json
    assert len(answers) == 200
    began = time.monotonic()
    (await daemon.odctl("ls", "--json")).ok()
    assert time.monotonic() - began < 10
    (await daemon.odctl("rm", *(str(answer["job"]["id"]) for answer in answers))).ok()
    await until(lambda: [path.name for path in daemon.downloads.iterdir()] == [".opendebrid"])
    assert (await daemon.odctl("cache", "ls", "--json")).ok().json == []


async def test_a_large_torrent_file_and_many_names(daemon: Daemon, tmp_path: Path) -> None:
    big = tmp_path / "big.torrent"
    pieces = 52_428_800
    length = pieces // 20 * 16384
    head = f"d4:infod6:lengthi{length}e4:name1:x12:piece lengthi16384e6:pieces{pieces}:"
    big.write_bytes(head.encode() + bytes(pieces) + b"ee")  # valid but for its size
    answer = await daemon.odctl("add", str(big))
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err
    same = torrents.multi(
        "twins",
        [torrents.Content(path=(name,), body=body(100, n)) for n, name in enumerate(["a.txt", "a.txt", "A.txt"])],
    )
    (tmp_path / "same.torrent").write_bytes(same.data)
    number = await daemon.add(str(tmp_path / "same.torrent"), "--paused")
    files = (await daemon.odctl("files", str(number), "--json")).ok().json
    assert len({file["path"] for file in files}) == 3
