"""One real node driven by the real command line: real aria2c and yt-dlp, real origins and a real swarm on loopback."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import re
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.support import torrents
from tests.support.aria2 import takes_hybrids
from tests.support.daemons import Daemon
from tests.support.ftp_server import FtpFile, FtpOrigin
from tests.support.origin_server import Origin
from tests.support.swarm import Seeder, Tracker
from tests.support.wait import until


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "od") as running:
        yield running


def body(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


async def fetch(url: str) -> bytes:
    def read() -> bytes:
        with urllib.request.urlopen(url, timeout=20) as answer:
            content: bytes = answer.read()
        return content

    return await asyncio.to_thread(read)


async def test_a_file_over_http_becomes_a_link_and_comes_home(daemon: Daemon, tmp_path: Path) -> None:
    async with Origin() as origin:
        content = body(700_000)
        origin.page("/f/some.iso", content)
        added = await daemon.odctl("add", origin.url("/f/some.iso"), "--wait")
        assert added.code == 0, added.err
        (link,) = (await daemon.odctl("link", "1", "--json")).ok().json
        assert await fetch(link["url"]) == content
        got = (await daemon.odctl("get", "1", "--into", str(tmp_path / "home"), "--json")).ok().json
        assert [item["ok"] for item in got] == [True]
        assert (tmp_path / "home" / "some.iso").read_bytes() == content
        again = (await daemon.odctl("add", "--json", "-e", "aria2", origin.url("/f/some.iso"))).ok().json
        assert again[0]["job"]["cache_hit"] is True
        assert again[0]["job"]["state"] == "completed"
        asked = len(origin.requests)
        await daemon.add(origin.url("/f/some.iso"))
        await daemon.until_state(3, "completed")
        assert len(origin.requests) == asked
    # its origin is gone
    number = await daemon.add(origin.url("/f/some.iso"))
    assert (await daemon.until_state(number, "completed"))["cache_hit"] is True


async def test_a_file_over_ftp(daemon: Daemon) -> None:
    async with FtpOrigin() as origin:
        origin.files["/pub/notes.bin"] = FtpFile(body(200_000))
        number = await daemon.add(origin.url("/pub/notes.bin"))
        job = await daemon.until_state(number, "completed", "failed")
        assert job["state"] == "completed", job["error"]
        assert job["size"] == 200_000


async def test_a_magnet_and_an_upload_of_one_torrent_are_one_download(daemon: Daemon, tmp_path: Path) -> None:
    content = [
        torrents.Content(path=("film.mkv",), body=body(400_000)),
        torrents.Content(path=("extras", "readme.txt"), body=body(30_000, 2)),
    ]
    async with Tracker() as tracker:
        torrent = torrents.multi("A Film", content, tracker=tracker.url)
        seed = tmp_path / "seed"
        seed.mkdir()
        async with Seeder(torrent, seed):
            number = await daemon.add(torrent.magnet_with(tracker.url), "--files", "*.mkv")
            job = await daemon.until_state(number, "completed", "failed")
            assert job["state"] == "completed", job["error"]
            assert (job["files_total"], job["files_selected"], job["size"]) == (2, 1, 400_000)
            (tmp_path / "some.torrent").write_bytes(torrent.data)
            upload = await daemon.add(str(tmp_path / "some.torrent"))
            job = await daemon.until_state(upload, "completed", "failed")
            assert job["state"] == "completed", job["error"]
            assert job["size"] == 430_000
        (entry,) = (await daemon.odctl("cache", "ls", "--json")).ok().json
        assert entry["key"] == f"aria2:hash:{torrent.info_hash}"
        files = (await daemon.odctl("files", str(number), "--json")).ok().json
        assert [(file["path"], file["selected"]) for file in files] == [
            ("film.mkv", True),
            ("extras/readme.txt", False),
        ]
        links = (await daemon.odctl("link", str(upload), "--json")).ok().json
        assert [await fetch(link["url"]) for link in links] == [content[0].body, content[1].body]


async def test_a_torrent_with_odd_names_downloads_lists_and_serves(daemon: Daemon, tmp_path: Path) -> None:
    names = ["x" * 251 + ".mkv", "CON", "con", "quo\"te's.txt", "\U0001f600.txt", "e\u0301.txt", "\u00e9.txt", "-rf;"]
    content = [torrents.Content(path=(name,), body=body(1000 + n, n)) for n, name in enumerate(names)]
    async with Tracker() as tracker:
        torrent = torrents.multi("n" * 255, content, tracker=tracker.url)
        async with Seeder(torrent, tmp_path / "seed"):
            number = await daemon.add(str(_written(tmp_path / "odd.torrent", torrent.data)))
            job = await daemon.until_state(number, "completed", "failed")
            assert job["state"] == "completed", job["error"]
    files = (await daemon.odctl("files", str(number), "--json")).ok().json
    assert [file["path"] for file in files] == names
    links = (await daemon.odctl("link", str(number), "--json")).ok().json
    for link, one, name in zip(links, content, names, strict=True):
        served, told = await asyncio.to_thread(_fetched, link["url"])
        assert served == one.body
        assert told == name
    (archive,) = (await daemon.odctl("link", str(number), "--zip", "--json")).ok().json
    with zipfile.ZipFile(io.BytesIO(await fetch(archive["url"]))) as unpacked:
        assert [unpacked.read(info) for info in unpacked.infolist()] == [one.body for one in content]
        assert [info.filename.rpartition("/")[2] for info in unpacked.infolist()] == names


def _fetched(url: str) -> tuple[bytes, str]:
    """The body, and the name that Content-Disposition tells (RFC 8187)."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        told = answer.headers["Content-Disposition"]
        extended = re.search(r"filename\*=UTF-8''([^;]+)", told)
        plain = re.search(r'filename="([^"\\]*)"', told)
        found = unquote(extended[1]) if extended else plain[1] if plain else ""
        return answer.read(), found


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


NO_SOURCES = {
    "magnet:?dn=nothing": "hash",
    "file:///etc/passwd": "file",
    "--exec=touch /tmp/x": "exec",
    "http://host/\x01": "character",
    "http://h/" + "a" * 100_000: "characters",
    "magnet:?xt=urn:btmh:1220" + "a" * 64: "v2",
    "ftp://": "host",
    "hello": "hello",
}
NO_TORRENTS = [b"", b"d4:info", b"not a torrent", b"d4:infod6:lengthi5e4:name1:ae8:announcee" * 3]


async def test_what_is_no_source_is_refused_with_a_reason(daemon: Daemon, tmp_path: Path) -> None:
    for source, word in NO_SOURCES.items():
        answer = await daemon.odctl("add", "--json", "--", source)
        assert answer.code == 2, (source[:80], answer)
        assert word in answer.out + answer.err, source[:80]
    for data in NO_TORRENTS:
        answer = await daemon.odctl("add", str(_written(tmp_path / "bad.torrent", data)))
        assert answer.code == 2, (data, answer)
        assert len(answer.err.strip().splitlines()) <= 3
    assert (await daemon.odctl("ls", "--json")).ok().json == []


async def test_torrents_that_aria2_cannot_take_are_told_at_once(daemon: Daemon, tmp_path: Path) -> None:
    for path in (("Icon\r",), ("a\nb.txt",), ("..", "..", "evil.txt")):
        torrent = torrents.multi("odd", [torrents.Content(path=path, body=body(999))])
        answer = await daemon.odctl("add", str(_written(tmp_path / "odd.torrent", torrent.data)))
        assert answer.code in (2, 9)
        assert "control characters" in answer.err
    hybrid = torrents.hybrid("h", body(50_000))
    v2 = torrents.v2_only("v", body(50_000))
    first = await daemon.odctl("add", "--paused", str(_written(tmp_path / "h.torrent", hybrid.data)))
    second = await daemon.odctl("add", str(_written(tmp_path / "v.torrent", v2.data)))
    if await takes_hybrids():
        first.ok()
    else:
        assert first.code in (2, 9)
        assert "1.37" in first.err or "hybrid" in first.err
    assert second.code == 2
    assert "v2" in second.err


async def test_kill_9_at_sixty_percent_goes_on_from_the_bytes(daemon: Daemon) -> None:
    async with Origin() as origin:
        content = body(3_000_000)
        page = origin.page("/big.bin", content, etag='"1"', rate=150_000)
        number = await daemon.add(origin.url("/big.bin"), "-e", "aria2")

        async def far_enough() -> bool:
            return bool((await daemon.job(number))["progress"] > 0.55)

        await until(far_enough)
        await daemon.kill()
        sent = page.sent
        await daemon.start()
        job = await daemon.until_state(number, "completed", "failed")
        assert job["state"] == "completed", job["error"]
        again = page.sent - sent
        # the rest, and what came after aria2 last noted what it had, which it does once a second
        assert again < 0.45 * len(content) + 2 * 150_000, f"{again} bytes were sent again"
        (link,) = (await daemon.odctl("link", str(number), "--json")).ok().json
        assert await fetch(link["url"]) == content


async def test_kill_9_at_random_moments_loses_nothing(daemon: Daemon) -> None:
    """Product rule 1: what `add` has answered exists and reaches an end by itself."""
    rng = random.Random(int(os.environ.get("OD_TEST_SEED", "20")))
    async with Origin() as origin:
        accepted: dict[int, bytes] = {}
        for step in range(20):
            content = body(rng.randrange(1, 400_000), step)
            origin.page(f"/{step}.bin", content, rate=rng.choice([None, 200_000]))
            number = await daemon.add(origin.url(f"/{step}.bin"), "-e", "aria2")
            accepted[number] = content
            await asyncio.sleep(rng.random() * 0.4)  # the moment of the kill is what is random here
            await daemon.kill()
            await daemon.start()
        for number, content in accepted.items():
            job = await daemon.until_state(number, "completed", "failed")
            assert job["state"] == "completed", job["error"]
            (link,) = (await daemon.odctl("link", str(number), "--json")).ok().json
            assert await fetch(link["url"]) == content
        jobs = (await daemon.odctl("ls", "--json", "--limit", "100")).ok().json
        assert sorted(job["id"] for job in jobs) == sorted(accepted)


async def test_rm_while_it_runs_leaves_not_one_byte(daemon: Daemon) -> None:
    async with Origin() as origin:
        origin.page("/big.bin", body(2_000_000), rate=20_000)
        number = await daemon.add(origin.url("/big.bin"), "-e", "aria2")
        await daemon.until_state(number, "active")
        (await daemon.odctl("rm", str(number))).ok()
        await until(lambda: [path.name for path in daemon.downloads.iterdir()] == [".opendebrid"])
        assert (await daemon.odctl("show", str(number))).code == 3


async def test_pause_resume_cancel_and_retry(daemon: Daemon) -> None:
    async with Origin() as origin:
        page = origin.page("/big.bin", body(1_500_000), rate=50_000)
        number = await daemon.add(origin.url("/big.bin"), "-e", "aria2")
        await daemon.until_state(number, "active")
        (await daemon.odctl("pause", str(number))).ok()
        job = await daemon.job(number)
        assert (job["state"], job["hold"]) == ("queued", "user")
        paused = (await daemon.odctl("ls", "state=paused", "--json")).ok().json
        assert [found["id"] for found in paused] == [number]
        (await daemon.odctl("resume", str(number))).ok()
        await daemon.until_state(number, "active")
        (await daemon.odctl("cancel", str(number))).ok()
        assert (await daemon.job(number))["state"] == "cancelled"
        page.rate = None
        (await daemon.odctl("retry", str(number))).ok()
        await daemon.until_state(number, "completed")


async def test_get_of_a_job_that_still_runs_says_so_and_names_wait(daemon: Daemon, tmp_path: Path) -> None:
    async with Origin() as origin:
        page = origin.page("/big.bin", body(600_000), rate=10_000)
        number = await daemon.add(origin.url("/big.bin"), "-e", "aria2")
        early = await daemon.odctl("get", str(number), "--into", str(tmp_path / "home"))
        assert early.code == 9
        assert "--wait" in early.err
        page.rate = None
        (await daemon.odctl("get", str(number), "--wait", "--into", str(tmp_path / "home"))).ok()
        assert (tmp_path / "home" / "big.bin").stat().st_size == 600_000


async def test_a_revoked_link_is_dead_within_a_second(daemon: Daemon) -> None:
    async with Origin() as origin:
        origin.page("/a.bin", body(5000))
        number = await daemon.add(origin.url("/a.bin"), "-e", "aria2")
        await daemon.until_state(number, "completed")
        (link,) = (await daemon.odctl("link", str(number), "--json")).ok().json
        assert len(await fetch(link["url"])) == 5000
        (await daemon.odctl("rm", str(number))).ok()
        with pytest.raises(urllib.error.HTTPError) as refused:
            await fetch(link["url"])
        assert refused.value.code == 410
        refused.value.close()


async def test_a_second_daemon_is_kept_out(daemon: Daemon, tmp_path: Path) -> None:
    async def second(**changes: str) -> tuple[int, str]:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "oddaemon", env=daemon.environment | changes, cwd=Path(__file__).parents[2],
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(child.communicate(), 60)
        return child.returncode or 0, out.decode()

    code, said = await second()
    assert code == 69
    assert "already running" in said
    other = Path(daemon.runtime) / "other"
    code, said = await second(OD_PATHS_RUNTIME_DIR=str(other))
    assert code == 69
    assert daemon.process is not None
    assert str(daemon.process.pid) in said
    (await daemon.odctl("status")).ok()


async def test_fifty_adds_at_once_of_one_url(daemon: Daemon) -> None:
    async with Origin() as origin:
        page = origin.page("/same.bin", body(300_000), rate=300_000)
        batch = "\n".join([origin.url("/same.bin")] * 50).encode()
        answers = (await daemon.odctl("add", "-e", "aria2", "--json", "-", stdin=batch)).ok().json
        assert len({answer["job"]["id"] for answer in answers}) == 50
        for answer in answers:
            await daemon.until_state(answer["job"]["id"], "completed")
        assert page.sent < 2 * 300_000
        directories = [path for path in daemon.downloads.iterdir() if path.is_dir()]
        assert len(directories) == 1


async def test_no_secret_is_seen_anywhere(daemon: Daemon) -> None:
    """F21: not in a command line, an environment, a log line or an answer."""
    secret = "hunter2-very-secret"
    async with Origin() as origin:
        origin.page("/a.bin", body(300_000), rate=100_000)
        url = origin.url("/a.bin").replace("http://", f"http://maya:{secret}@")
        number = await daemon.add(url, "-e", "aria2")
        await daemon.until_state(number, "active", "completed")
        assert daemon.process is not None
        rpc = (daemon.folder / "data" / "engines" / "aria2" / "aria2.conf").read_text()
        rpc_secret = next(line.split("=", 1)[1] for line in rpc.splitlines() if line.startswith("rpc-secret="))
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    seen = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                except OSError:
                    continue
                assert rpc_secret.encode() not in seen
                assert secret.encode() not in seen or entry.name == str(os.getpid())
        shown = json.dumps(await daemon.job(number)) + (await daemon.odctl("events", "--no-follow", "--since", "0")).out
        await daemon.until_state(number, "completed")
        assert secret not in shown + daemon.log
        assert rpc_secret not in shown + daemon.log
        store = (daemon.folder / "data" / "opendebrid.db").read_bytes()
        jobs = (await daemon.odctl("show", str(number), "--json")).ok().out
        assert secret not in jobs
        assert b"rpc-secret" not in store
