"""What yt-dlp makes of pages, streams, playlists and options, on a real site with real media."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from oddaemon.domain.errors import EngineFailed
from oddaemon.domain.failure import FailureCode, Retry
from oddaemon.domain.source import parse_source
from oddaemon.domain.types import Seconds
from oddaemon.ports.engine import FillState, failure_of
from tests.support.media_site import HTML, add_media, add_page, padded
from tests.support.origin_server import Origin
from tests.support.wait import until
from tests.support.ytdlp import Bench, streams, ytdlp

pytestmark = pytest.mark.real("ffmpeg")


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as origin:
        add_media(origin)
        yield origin


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with ytdlp(tmp_path) as bench:
        yield bench


@pytest.mark.parametrize("path", ["/clip.mp4", "/hls/index.m3u8", "/dash/manifest.mpd"])
async def test_picture_and_sound_arrive(bench: Bench, origin: Origin, path: str) -> None:
    request = bench.request(origin.url(path))
    (file,) = await bench.complete(request)
    assert streams(request.directory / file.disk_path) == ["audio", "video"]
    assert {p.name for p in request.directory.iterdir()} == {file.disk_path, ".ytdlp.json"}
    assert file.content_type == "video/mp4"
    assert file.path.endswith(".mp4")


async def test_several_formats_make_one_progress(bench: Bench, origin: Origin) -> None:
    for path in list(origin.pages):
        if path.startswith("/dash/chunk"):
            origin.pages[path].rate = 60_000
    request = bench.request(origin.url("/dash/manifest.mpd"))
    await bench.engine.add(request)
    first = await bench.status(request)
    assert (first.state, first.engine_state) == (FillState.ACTIVE, "resolving")
    seen: list[tuple[int, str | None]] = []

    async def over() -> bool:
        status = await bench.status(request)
        if status.engine_state == "downloading":
            seen.append((status.done, status.engine_state))
        return status.state is FillState.COMPLETE

    await until(over, every=0.1, what="the download to end")
    done = [amount for amount, _ in seen]
    assert len(set(done)) >= 3
    assert done == sorted(done)


async def test_a_playlist_is_one_replica_and_broken_entries_are_listed(bench: Bench, origin: Origin) -> None:
    origin.page("/second.mp4", padded(200_000), etag='"2"', content_type="video/mp4")
    add_page(origin, "/list", "/clip.mp4", "/gone.mp4", "/second.mp4", title="My list")
    request = bench.request(origin.url("/list"))
    files = await bench.complete(request)
    status = await bench.status(request)
    assert [file.index for file in files] == [1, 2, 3]
    assert [file.finished for file in files] == [True, False, True]
    assert "404" in (files[1].failed or "")
    assert files[0].path.startswith("001 - My list")
    assert files[0].path.endswith(".mp4")
    assert status.name == "My list"
    assert status.done == status.total == sum(file.size or 0 for file in files)


async def test_a_playlist_of_nothing_fails(bench: Bench, origin: Origin) -> None:
    add_page(origin, "/list", "/gone.mp4", "/gone-too.mp4")
    status = await bench.fetch(bench.request(origin.url("/list")))
    assert status.failure is not None
    assert (status.failure.code, status.failure.retry) == (FailureCode.NO_FILES, Retry.LASTING)
    assert "404" in status.failure.message


async def test_a_selection_fetches_no_more_than_that_and_grows(bench: Bench, origin: Origin) -> None:
    origin.page("/second.mp4", padded(200_000), etag='"2"', content_type="video/mp4")
    add_page(origin, "/list", "/clip.mp4", "/second.mp4")
    request = bench.request(origin.url("/list"), selection=frozenset({2}))
    files = await bench.complete(request)
    assert [(file.index, file.finished, file.selected) for file in files] == [(1, False, False), (2, True, True)]
    assert origin.pages["/clip.mp4"].sent == 0
    await bench.engine.cancel(request.replica_id)
    before = origin.pages["/second.mp4"].sent
    everything = replace(request, selection=None)
    files = await bench.complete(everything)
    assert all(file.finished for file in files)
    assert origin.pages["/second.mp4"].sent == before


async def test_playlist_items_are_the_list(bench: Bench, origin: Origin) -> None:
    for n in range(1, 5):
        origin.page(f"/{n}.mp4", padded(150_000, n), etag=f'"{n}"', content_type="video/mp4")
    add_page(origin, "/list", *[f"/{n}.mp4" for n in range(1, 5)])
    request = bench.request(origin.url("/list"), {"playlist-items": "2,4"})
    files = await bench.complete(request)
    assert [file.index for file in files] == [1, 2]
    assert (request.directory / files[1].disk_path).read_bytes() == padded(150_000, 4)


async def test_subtitles_lie_beside_or_inside(bench: Bench, origin: Origin) -> None:
    origin.page("/en.vtt", b"WEBVTT\n\n00:00.000 --> 00:02.000\nHello\n", content_type="text/vtt")
    track = '<track kind="subtitles" srclang="en" src="/en.vtt">'
    add_page(origin, "/sub", "/clip.mp4", title="Sub", inside=track)
    request = bench.request(origin.url("/sub"), {"subtitles": "de,en"})
    files = await bench.complete(request)
    assert [(file.index, file.path.rpartition(".")[2]) for file in files] == [(1, "mp4"), (3, "vtt")]
    assert files[1].path.endswith(".en.vtt")
    assert (request.directory / files[1].disk_path).read_bytes().startswith(b"WEBVTT")
    inside = bench.request(origin.url("/sub"), {"subtitles": "en", "embed-subtitles": "true"})
    (file,) = await bench.complete(inside)
    assert streams(inside.directory / file.disk_path) == ["audio", "subtitle", "video"]


async def test_only_the_sound(bench: Bench, origin: Origin) -> None:
    request = bench.request(origin.url("/clip.mp4"), {"audio-format": "mp3", "audio-quality": "64K"})
    (file,) = await bench.complete(request)
    assert file.disk_path == "e00001.mp3"
    assert file.content_type == "audio/mpeg"
    assert streams(request.directory / file.disk_path) == ["audio"]


async def test_a_speed_limit_holds(bench: Bench, origin: Origin) -> None:
    origin.page("/large.mp4", padded(2_000_000), etag='"l"', content_type="video/mp4")
    request = bench.request(origin.url("/large.mp4"), rate=400_000)
    started = time.monotonic()
    await bench.engine.add(request)
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert time.monotonic() - started > 3


HOSTILE = [
    "../../../../tmp/escape", "/etc/passwd", "a\u202egpj.exe", "x" * 400, "emoji 🎬 日本語", "..", "a%(id)s\\..\\b",
]  # fmt: skip


@pytest.mark.parametrize("title", HOSTILE, ids=range(len(HOSTILE)))
async def test_titles_name_nothing_on_disk(bench: Bench, origin: Origin, title: str) -> None:
    add_page(origin, "/hostile", "/clip.mp4", title=title)
    request = bench.request(origin.url("/hostile"))
    (file,) = await bench.complete(request)
    assert file.disk_path == "e00001.mp4"
    assert "/" not in file.path
    assert len(file.path.encode()) <= 210
    assert file.path.isprintable()
    assert {p.name for p in (bench.base / "downloads").iterdir()} == {str(request.replica_id)}


async def test_formats_name_nothing_on_disk(bench: Bench, origin: Origin) -> None:
    manifest = origin.pages["/dash/manifest.mpd"]
    text = manifest.version.body.decode()
    for number, name in (("0", "../../../x" + "y" * 300), ("1", "a b;$(id)")):
        before = f'<Representation id="{number}"'
        assert before in text
        text = text.replace(before, f'<Representation id="{name}"')
    text = re.sub(
        r'<Representation id="([^"]*)"(.*?)init-stream\$RepresentationID\$(.*?)chunk-stream\$RepresentationID\$',
        lambda m: f'<Representation id="{m[1]}"{m[2]}init-stream{0 if ".." in m[1] else 1}{m[3]}'
        f'chunk-stream{0 if ".." in m[1] else 1}',
        text, flags=re.DOTALL,
    )  # fmt: skip
    origin.page("/dash/hostile.mpd", text.encode(), content_type="application/dash+xml")
    request = bench.request(origin.url("/dash/hostile.mpd"))
    (file,) = await bench.complete(request)
    assert file.disk_path == "e00001.mp4"
    assert streams(request.directory / file.disk_path) == ["audio", "video"]
    assert {p.name for p in (bench.base / "downloads").iterdir()} == {str(request.replica_id)}


async def test_without_ffmpeg_nothing_needs_merging(bench: Bench, origin: Origin) -> None:
    bench.engine._ffmpeg = None
    request = bench.request(origin.url("/clip.mp4"))
    (file,) = await bench.complete(request)
    assert (request.directory / file.disk_path).read_bytes() == origin.pages["/clip.mp4"].version.body
    with pytest.raises(EngineFailed) as caught:
        await bench.engine.add(bench.request(origin.url("/clip.mp4"), {"audio-format": "mp3"}))
    failure = failure_of(caught.value)
    assert failure is not None
    assert failure.code is FailureCode.UNSUPPORTED


async def test_a_page_without_media(bench: Bench, origin: Origin) -> None:
    origin.page("/plain", b"<!doctype html><html><body>Nothing here.</body></html>", content_type=HTML)
    status = await bench.fetch(bench.request(origin.url("/plain")))
    assert status.failure is not None
    assert (status.failure.code, status.failure.retry) == (FailureCode.NO_MEDIA, Retry.LASTING)


@pytest.mark.parametrize(
    ("status", "headers", "code", "retry", "wait"),
    [
        (404, {}, FailureCode.ORIGIN_GONE, Retry.LASTING, None),
        (410, {}, FailureCode.ORIGIN_GONE, Retry.LASTING, None),
        (403, {}, FailureCode.ORIGIN_DENIED, Retry.LASTING, None),
        (401, {}, FailureCode.ORIGIN_DENIED, Retry.LASTING, None),
        (429, {"Retry-After": "77"}, FailureCode.ORIGIN_BUSY, Retry.PASSING, 77.0),
        (500, {}, FailureCode.ORIGIN_ERROR, Retry.PASSING, None),
    ],
)
async def test_what_the_origin_says_decides(
    bench: Bench, origin: Origin, status: int, headers: dict[str, str], code: FailureCode, retry: Retry,
    wait: float | None,
) -> None:  # fmt: skip
    origin.page("/bad", b"no", status=status, headers=headers)
    with pytest.raises(EngineFailed) as caught:
        await bench.engine.resolve_cache_key(parse_source(origin.url("/bad")), {})
    failure = failure_of(caught.value)
    assert failure is not None
    assert (failure.code, failure.retry, failure.retry_after) == (code, retry, wait)
    assert str(status) in failure.message


async def test_nobody_listens(bench: Bench, origin: Origin) -> None:
    async with Origin() as other:
        url = other.url("/x.mp4")
    with pytest.raises(EngineFailed) as caught:
        await bench.engine.resolve_cache_key(parse_source(url), {})
    failure = failure_of(caught.value)
    assert failure is not None
    assert (failure.code, failure.retry) == (FailureCode.NETWORK, Retry.PASSING)


async def test_files_of_this_machine_are_never_read(bench: Bench, origin: Origin) -> None:
    secret = bench.base / "secret.mp4"
    secret.write_bytes(padded(100_000))
    origin.page("/moved", b"", redirect=f"file://{secret}", status=302)
    add_page(origin, "/page", f"file://{secret}")
    origin.page(
        "/list.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{secret}\n#EXT-X-ENDLIST\n".encode(),
        content_type="application/vnd.apple.mpegurl",
    )  # fmt: skip
    for path in ("/moved", "/page", "/list.m3u8"):
        request = bench.request(origin.url(path))
        status = await bench.fetch(request)
        assert status.state is FillState.FAILED, path
        assert status.failure is not None
        assert status.failure.retry is Retry.LASTING, status.failure
        assert not [p for p in request.directory.iterdir() if p.suffix == ".mp4"]


async def test_keys_tell_sites_and_formats_apart(bench: Bench, origin: Origin) -> None:
    add_page(origin, "/list", "/clip.mp4", "/video.mp4")

    async def key(path: str, **options: str) -> str:
        given = {name.replace("_", "-"): value for name, value in options.items()}
        found = await bench.engine.resolve_cache_key(parse_source(origin.url(path)), given)
        assert found is not None
        return found.key.full

    plain = await key("/hls/index.m3u8")
    assert plain.startswith("ytdlp:url:")
    origin.pages["/other/index.m3u8"] = origin.pages["/hls/index.m3u8"]
    for n in range(10):
        if f"/hls/s{n}.ts" in origin.pages:
            origin.pages[f"/other/s{n}.ts"] = origin.pages[f"/hls/s{n}.ts"]
    assert await key("/other/index.m3u8") != plain
    assert await key("/hls/index.m3u8", format="bestvideo+bestaudio/best", referer="http://x.invalid/") == plain
    assert await key("/hls/index.m3u8", format="worst") != plain
    before = await key("/list")
    add_page(origin, "/list", "/clip.mp4", "/video.mp4", "/audio.mp4")
    assert await key("/list") != before


async def test_a_probe_shows_formats_and_entries(bench: Bench, origin: Origin) -> None:
    found = await bench.engine.probe(
        parse_source(origin.url("/dash/manifest.mpd")), {}, torrent=None, deadline=Seconds(30)
    )
    assert {bool(f.video_codec) for f in found.formats} == {True, False}
    assert any(f.width == 320 for f in found.formats)
    add_page(origin, "/list", "/clip.mp4", "/video.mp4", title="Two")
    listed = await bench.engine.probe(parse_source(origin.url("/list")), {}, torrent=None, deadline=Seconds(30))
    assert [file.index for file in listed.files] == [1, 2]
    assert listed.name == "Two"


async def test_cookies_and_headers_reach_the_site_and_not_the_disk(bench: Bench, origin: Origin) -> None:
    cookies = "127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tverysecret\n"
    options = {"cookies": cookies, "user-agent": "Mine/1", "referer": "http://from.invalid/"}
    request = bench.request(origin.url("/clip.mp4"), bench.engine.validate_options(options))
    await bench.complete(request)
    seen = [r.headers for r in origin.requests if r.path == "/clip.mp4"]
    assert all(headers.get("cookie") == "session=verysecret" for headers in seen)
    assert {headers.get("user-agent") for headers in seen} == {"Mine/1"}
    assert {headers.get("referer") for headers in seen} == {"http://from.invalid/"}
    for path in bench.base.rglob("*"):
        assert not path.is_file() or b"verysecret" not in path.read_bytes()


async def test_a_password_in_the_url_is_used_and_not_told(bench: Bench, origin: Origin) -> None:
    token = base64.b64encode(b"me:pass word").decode()
    origin.pages["/clip.mp4"].auth = f"Basic {token}"
    url = origin.url("/clip.mp4").replace("http://", "http://me:pass%20word@")
    await bench.complete(bench.request(url))
    origin.pages["/clip.mp4"].auth = "Basic other"
    status = await bench.fetch(bench.request(url))
    assert status.failure is not None
    assert status.failure.code is FailureCode.ORIGIN_DENIED
    assert "pass" not in json.dumps([status.failure.message, status.name])


async def test_the_child_sees_nothing_of_the_daemon(
    bench: Bench, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OD_SECRET", "x")
    origin.page("/slow.mp4", padded(1_000_000), etag='"s"', content_type="video/mp4", rate=200_000)
    request = bench.request(origin.url("/slow.mp4?token=t0k"))
    await bench.engine.add(request)
    await bench.bytes_came(request, 1000)
    process = Path(f"/proc/{bench.pid(request)}")
    names = {entry.partition(b"=")[0] for entry in (process / "environ").read_bytes().split(b"\0") if entry}
    assert names <= {b"PATH", b"LANG", b"HOME"}
    assert b"t0k" not in (process / "cmdline").read_bytes()
    limits = (process / "limits").read_text()
    assert "Max core file size        0" in limits


async def test_the_end_of_a_download_is_news(bench: Bench, origin: Origin) -> None:
    await bench.complete(bench.request(origin.url("/clip.mp4")))
    await until(lambda: bench.news == 1, what="news")
