"""What a media download survives: kills at any moment, origins that change, drop or lie, a daemon that dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from oddaemon.domain.failure import FailureCode, Retry
from oddaemon.ports.engine import FillState
from tests.support.media_site import add_media, add_page, ffmpeg_program, padded
from tests.support.origin_server import Origin, Version
from tests.support.wait import until
from tests.support.ytdlp import Bench, processes_in, streams, ytdlp

pytestmark = pytest.mark.real("ffmpeg")

SIZE = 2_000_000
SLOW_FFMPEG = """#!/bin/sh
case " $* " in
  *" -version "*|*" -bsfs "*) exec {real} "$@" ;;
esac
touch {mark}
while [ -e {hold} ]; do sleep 0.05; done
exec {real} "$@"
"""


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as origin:
        add_media(origin)
        yield origin


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with ytdlp(tmp_path) as bench:
        yield bench


class SlowMerge:
    """An ffmpeg that begins its work and waits for as long as `hold` exists."""

    def __init__(self, base: Path) -> None:
        self.mark, self.hold = base / "merging", base / "hold"
        self.hold.touch()
        self.program = base / "ffmpeg"
        self.program.write_text(SLOW_FFMPEG.format(real=ffmpeg_program(), mark=self.mark, hold=self.hold))
        self.program.chmod(0o755)


@pytest.fixture
def slow_merge(bench: Bench, tmp_path: Path) -> SlowMerge:
    (tmp_path / "bin").mkdir()
    merge = SlowMerge(tmp_path / "bin")
    bench.engine._ffmpeg = str(merge.program)
    return merge


async def test_killed_while_downloading_it_goes_on(bench: Bench, origin: Origin) -> None:
    body = padded(SIZE)
    page = origin.page("/big.mp4", body, etag='"b"', content_type="video/mp4", rate=600_000)
    request = bench.request(origin.url("/big.mp4"))
    await bench.engine.add(request)
    await bench.bytes_came(request, SIZE // 2)
    os.kill(bench.pid(request), signal.SIGKILL)
    status = await bench.ended(request)
    assert status.failure is not None
    assert (status.failure.code, status.failure.retry) == (FailureCode.ENGINE, Retry.PASSING)
    assert "SIGKILL" in status.failure.message
    page.rate = None
    origin.requests.clear()
    (file,) = await bench.complete(request)
    assert (request.directory / file.disk_path).read_bytes() == body
    (resumed,) = [r.headers for r in origin.requests if r.headers.get("range", "bytes=0-") != "bytes=0-"]
    assert int(resumed["range"].removeprefix("bytes=").removesuffix("-")) > SIZE // 4
    assert resumed["if-range"] == '"b"'


async def test_killed_while_merging_it_goes_on_without_fetching_again(
    bench: Bench, origin: Origin, slow_merge: SlowMerge
) -> None:
    request = bench.request(origin.url("/dash/manifest.mpd"))
    await bench.engine.add(request)
    await until(slow_merge.mark.exists, what="ffmpeg to begin")
    status = await bench.status(request)
    assert status.engine_state == "postprocessing"
    assert len(processes_in(request.directory)) >= 2
    os.kill(bench.pid(request), signal.SIGKILL)
    assert (await bench.ended(request)).state is FillState.FAILED
    assert processes_in(request.directory) == []
    slow_merge.hold.unlink()
    chunks = [page for path, page in origin.pages.items() if path.startswith("/dash/chunk")]
    before = sum(page.sent for page in chunks)
    (file,) = await bench.complete(request)
    assert streams(request.directory / file.disk_path) == ["audio", "video"]
    assert sum(page.sent for page in chunks) == before


async def test_a_cancelled_merge_leaves_no_process(bench: Bench, origin: Origin, slow_merge: SlowMerge) -> None:
    request = bench.request(origin.url("/dash/manifest.mpd"))
    await bench.engine.add(request)
    await until(slow_merge.mark.exists, what="ffmpeg to begin")
    await asyncio.wait_for(bench.engine.cancel(request.replica_id), 60)
    assert processes_in(request.directory) == []
    slow_merge.hold.unlink()
    (file,) = await bench.complete(request)
    assert streams(request.directory / file.disk_path) == ["audio", "video"]


async def test_a_stream_killed_at_any_moment_is_never_mixed_up(bench: Bench, origin: Origin) -> None:
    whole = bench.request(origin.url("/hls/index.m3u8"))
    (file,) = await bench.complete(whole)
    right = (whole.directory / file.disk_path).read_bytes()
    for path, page in origin.pages.items():
        if path.startswith("/hls/s"):
            page.rate = 150_000
    request = bench.request(origin.url("/hls/index.m3u8"))
    for kill in range(4):
        await bench.engine.add(request)
        await bench.bytes_came(request, 1 + kill * 20_000)
        with suppress(ProcessLookupError, AssertionError):
            os.kill(bench.pid(request), signal.SIGKILL)
        await bench.ended(request)
    (file,) = await bench.complete(request)
    assert (request.directory / file.disk_path).read_bytes() == right


async def test_a_fragment_written_but_not_noted_is_not_written_twice(bench: Bench, origin: Origin) -> None:
    whole = bench.request(origin.url("/hls/index.m3u8"))
    (file,) = await bench.complete(whole)
    right = (whole.directory / file.disk_path).read_bytes()
    for path, page in origin.pages.items():
        if path.startswith("/hls/s"):
            page.rate = 100_000
    request = bench.request(origin.url("/hls/index.m3u8"))
    await bench.engine.add(request)
    part = request.directory / "e00001.mp4.part"
    await until(lambda: part.exists() and part.stat().st_size > 0, what="the first fragment")
    await bench.engine.cancel(request.replica_id)
    with part.open("ab") as stream:
        stream.write(b"x" * 1000)
    (file,) = await bench.complete(request)
    assert (request.directory / file.disk_path).read_bytes() == right


@pytest.mark.parametrize("validator", ["etag", "last_modified", "length"])
async def test_two_versions_are_never_mixed(bench: Bench, origin: Origin, validator: str) -> None:
    old, new = padded(SIZE), padded(SIZE + (1000 if validator == "length" else 0), seed=9)
    page = origin.page("/v.mp4", old, content_type="video/mp4", rate=600_000)
    versions = {
        "etag": ('"1"', '"2"'),
        "last_modified": ("Mon, 02 Jan 2023 00:00:00 GMT", "Tue, 03 Jan 2023 00:00:00 GMT"),
    }
    before, after = versions.get(validator, (None, None))
    if before is not None:
        setattr(page.version, validator, before)
    request = bench.request(origin.url("/v.mp4"))
    await bench.engine.add(request)
    await bench.bytes_came(request, SIZE // 2)
    await bench.engine.cancel(request.replica_id)
    page.version, page.rate = Version(new), None
    if after is not None:
        setattr(page.version, validator, after)
    (file,) = await bench.complete(request)
    assert (request.directory / file.disk_path).read_bytes() == new


async def test_a_connection_that_drops_is_taken_up_again(bench: Bench, origin: Origin) -> None:
    body = padded(SIZE)
    origin.page("/d.mp4", body, etag='"d"', content_type="video/mp4", drop_every=700_000)
    request = bench.request(origin.url("/d.mp4"))
    (file,) = await bench.complete(request)
    assert (request.directory / file.disk_path).read_bytes() == body


async def test_less_than_declared_is_never_complete(bench: Bench, origin: Origin) -> None:
    origin.page("/short.mp4", padded(300_000), content_type="video/mp4", length=400_000, ranges=False)
    status = await bench.fetch(bench.request(origin.url("/short.mp4")))
    assert status.state is FillState.FAILED
    assert status.failure is not None
    assert status.failure.retry is Retry.PASSING


async def test_a_missing_fragment_is_no_hole(bench: Bench, origin: Origin) -> None:
    origin.pages["/hls/s2.ts"].status = 404
    status = await bench.fetch(bench.request(origin.url("/hls/index.m3u8")))
    assert status.failure is not None
    assert (status.failure.code, status.failure.retry) == (FailureCode.ORIGIN_GONE, Retry.LASTING)


async def test_a_passing_failure_of_an_entry_is_tried_again_a_few_times(bench: Bench, origin: Origin) -> None:
    origin.page("/busy.mp4", b"", status=503, content_type="video/mp4")
    add_page(origin, "/list", "/clip.mp4", "/busy.mp4")
    request = bench.request(origin.url("/list"))
    for _ in range(2):
        status = await bench.fetch(request)
        assert status.failure is not None
        assert status.failure.code is FailureCode.ORIGIN_BUSY
    sent = origin.pages["/clip.mp4"].sent
    files = await bench.complete(request)
    assert [file.finished for file in files] == [True, False]
    assert "503" in (files[1].failed or "")
    assert origin.pages["/clip.mp4"].sent == sent


DAEMON = """
import asyncio, sys
from pathlib import Path
from tests.support.ytdlp import Bench
async def main():
    bench = Bench(Path(sys.argv[1]))
    await bench.engine.start()
    bench.engine._ffmpeg = sys.argv[3]
    request = bench.request(sys.argv[2])
    await bench.engine.add(request)
    await bench.engine.claims("http://x.invalid/")
    print(request.directory, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_nothing_outlives_the_daemon(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    merge = SlowMerge(tmp_path / "bin")
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DAEMON, str(tmp_path), origin.url("/dash/manifest.mpd"), str(merge.program),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert daemon.stdout is not None
        directory = Path((await asyncio.wait_for(daemon.stdout.readline(), 60)).decode().strip())
        await until(merge.mark.exists, what="ffmpeg to begin")
        assert len(processes_in(directory)) >= 2
        assert processes_in(tmp_path / "state" / "home")
    finally:
        daemon.kill()
        await daemon.wait()
    await until(lambda: not processes_in(directory), what="the fill's processes to end")
    await until(lambda: not processes_in(tmp_path / "state" / "home"), what="the helper to end")


async def test_the_helper_is_restarted_when_it_dies(bench: Bench) -> None:
    url = "https://www.youtube.com/watch?v=BaW_jenozKc"
    assert await bench.engine.claims(url)
    (first,) = processes_in(bench.base / "state" / "home")
    assert not await bench.engine.claims("https://example.invalid/page.html")
    assert processes_in(bench.base / "state" / "home") == [first]
    os.kill(first, signal.SIGKILL)
    assert await bench.engine.claims(url)
    assert processes_in(bench.base / "state" / "home") != [first]
