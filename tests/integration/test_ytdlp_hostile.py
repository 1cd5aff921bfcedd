"""What an origin may send to yt-dlp and ffmpeg without getting at anything that is not its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from Cryptodome.Cipher import AES

from oddaemon.domain.failure import FailureCode, Retry
from oddaemon.ports.engine import FillState
from tests.support.media_site import HTML, add_media, add_page, media, padded
from tests.support.origin_server import Origin, Version
from tests.support.wait import until
from tests.support.ytdlp import Bench, processes_in, streams, ytdlp

pytestmark = pytest.mark.real("ffmpeg")

SUBTITLE = b"WEBVTT\n\n00:00.000 --> 00:02.000\nHello\n"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as origin:
        add_media(origin)
        yield origin


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with ytdlp(tmp_path) as bench:
        yield bench


def trap(target: Path, before: bytes = b"") -> bytes:
    """A playlist of one file of this machine."""
    lines = f"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\nfile://{target}\n#EXT-X-ENDLIST\n"
    return before + lines.encode() + b"#" * 100_000


@pytest.mark.parametrize("options", [{}, {"audio-format": "mp3"}], ids=["plain", "converted"])
async def test_a_playlist_in_disguise_opens_no_file_of_this_machine(
    bench: Bench, origin: Origin, options: dict[str, str]
) -> None:
    private = bench.base / "private.ts"
    private.write_bytes(media()["hls/s0.ts"])
    origin.page("/trap.mp4", trap(private), etag='"t"', content_type="video/mp4")
    add_page(origin, "/page", "/trap.mp4")
    request = bench.request(origin.url("/page"), options)
    status = await bench.fetch(request)
    assert status.failure is not None
    assert (status.failure.code, status.failure.retry) == (FailureCode.NO_MEDIA, Retry.LASTING)
    assert not list(request.directory.glob("e00001*"))


async def test_ffmpeg_takes_no_playlist_behind_a_tag(bench: Bench, origin: Origin) -> None:
    """ffmpeg passes over ID3 tags before it looks what a file is; so the look at the first bytes is not enough."""
    private = bench.base / "private.ts"
    private.write_bytes(media()["hls/s0.ts"])
    tag = b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10)
    origin.page("/trap.mp4", trap(private, tag), etag='"t"', content_type="video/mp4")
    add_page(origin, "/page", "/trap.mp4")
    request = bench.request(origin.url("/page"), {"audio-format": "mp3"})
    status = await bench.fetch(request)
    assert status.state is FillState.FAILED
    assert not list(request.directory.glob("*.mp3"))


async def test_subtitles_are_no_way_in_either(bench: Bench, origin: Origin) -> None:
    private = bench.base / "private.ts"
    private.write_bytes(media()["hls/s0.ts"])
    origin.page("/en.vtt", trap(private), content_type="text/vtt")
    track = '<track kind="subtitles" srclang="en" src="/en.vtt">'
    add_page(origin, "/page", "/video.mp4", inside=track)
    request = bench.request(origin.url("/page"), {"subtitles": "en", "embed-subtitles": "true"})
    await bench.fetch(request)
    # ffmpeg may take it for odd subtitles; it must not follow it to the picture and sound of the private file
    for path in request.directory.glob("*.mp4"):
        assert [kind for kind in streams(path) if kind != "subtitle"] == ["video"]


async def test_an_error_page_is_not_the_video(bench: Bench, origin: Origin) -> None:
    origin.page("/v.mp4", b"\n<!DOCTYPE html><html>Too many visitors</html>", content_type=HTML)
    add_page(origin, "/page", "/v.mp4")
    status = await bench.fetch(bench.request(origin.url("/page")))
    assert status.failure is not None
    assert status.failure.code is FailureCode.NO_MEDIA


def encrypted(origin: Origin, method: str = "AES-128") -> None:
    """`/aes/index.m3u8`: the clip's stream, each segment encrypted (RFC 8216 section 4.3.2.4)."""
    key, vector = b"k" * 16, bytes(15) + b"\x01"
    origin.page("/aes/key", key)
    text = media()["hls/index.m3u8"].decode()
    tag = f'#EXT-X-KEY:METHOD={method},URI="key",IV=0x{vector.hex()}\n'
    origin.page("/aes/index.m3u8", text.replace("#EXTINF", tag + "#EXTINF", 1).encode(),
                content_type="application/vnd.apple.mpegurl")  # fmt: skip
    for path, body in media().items():
        if path.startswith("hls/s"):
            missing = 16 - len(body) % 16
            sealed = AES.new(key, AES.MODE_CBC, vector).encrypt(body + bytes([missing]) * missing)
            origin.page(path.replace("hls/", "/aes/"), sealed, content_type="video/mp2t", rate=200_000)


async def test_an_encrypted_stream_shows_neither_address_nor_cookies_among_arguments(
    bench: Bench, origin: Origin
) -> None:
    encrypted(origin)
    cookies = "127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tverysecret\n"
    request = bench.request(origin.url("/aes/index.m3u8?token=t0k"), {"cookies": cookies})
    await bench.engine.add(request)
    seen: set[bytes] = set()

    async def over() -> bool:
        for pid in processes_in(request.directory):
            with contextlib.suppress(OSError):
                seen.add(Path(f"/proc/{pid}/cmdline").read_bytes())
        return (await bench.status(request)).state in (FillState.COMPLETE, FillState.FAILED)

    await until(over, every=0.01, what="the download to end")
    assert (await bench.status(request)).state is FillState.COMPLETE
    assert seen
    assert not [line for line in seen if b"verysecret" in line or b"t0k" in line or b"http" in line]
    (file,) = await bench.engine.list_files(request.replica_id)
    assert streams(request.directory / file.disk_path) == ["audio", "video"]
    plain = bench.request(origin.url("/hls/index.m3u8"))
    (other,) = await bench.complete(plain)
    assert (plain.directory / other.disk_path).read_bytes() == (request.directory / file.disk_path).read_bytes()


async def test_an_encryption_that_is_not_known_is_said_so(bench: Bench, origin: Origin) -> None:
    encrypted(origin, "SAMPLE-AES")
    status = await bench.fetch(bench.request(origin.url("/aes/index.m3u8")))
    assert status.failure is not None
    assert (status.failure.code, status.failure.retry) == (FailureCode.UNSUPPORTED, Retry.LASTING)
    assert "encrypted" in status.failure.message


async def test_two_versions_of_a_stream_are_never_mixed(bench: Bench, origin: Origin) -> None:
    segments = {path: page for path, page in origin.pages.items() if path.startswith("/hls/s")}
    for page in segments.values():
        page.rate = 100_000
    request = bench.request(origin.url("/hls/index.m3u8"))
    await bench.engine.add(request)
    note = request.directory / "e00001.mp4.ytdl"
    await until(lambda: note.exists() and '"index": 1,' not in note.read_text(), what="two fragments")
    await bench.engine.cancel(request.replica_id)
    # the same names, the same number and length of segments: only what is in them differs
    for page in segments.values():
        body = bytearray(page.version.body)
        body[-100:] = bytes(100)
        page.version, page.rate = Version(bytes(body)), None
    (file,) = await bench.complete(request)
    afresh = bench.request(origin.url("/hls/index.m3u8"))
    (right,) = await bench.complete(afresh)
    assert (request.directory / file.disk_path).read_bytes() == (afresh.directory / right.disk_path).read_bytes()


async def test_a_stream_that_is_the_same_goes_on_where_it_was(bench: Bench, origin: Origin) -> None:
    segments = {path: page for path, page in origin.pages.items() if path.startswith("/hls/s")}
    for page in segments.values():
        page.rate = 100_000
    request = bench.request(origin.url("/hls/index.m3u8"))
    await bench.engine.add(request)
    note = request.directory / "e00001.mp4.ytdl"
    await until(lambda: note.exists() and '"index": 1,' not in note.read_text(), what="two fragments")
    await bench.engine.cancel(request.replica_id)
    before = origin.pages["/hls/s0.ts"].gets
    for page in segments.values():
        page.rate = None
    await bench.complete(request)
    assert origin.pages["/hls/s0.ts"].gets == before


async def test_picture_and_sound_of_two_versions_are_never_merged(bench: Bench, origin: Origin) -> None:
    """The picture is there when the download is stopped; before the sound comes, both change."""
    manifest = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT6.0S" minBufferTime="PT2S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011">'
        '<Period><AdaptationSet contentType="video" mimeType="video/mp4"><Representation id="v" bandwidth="400000" '
        'codecs="avc1.42c00c" width="320" height="180"><BaseURL>video.mp4</BaseURL></Representation></AdaptationSet>'
        '<AdaptationSet contentType="audio" mimeType="audio/mp4"><Representation id="a" bandwidth="64000" '
        'codecs="mp4a.40.2"><BaseURL>audio.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>'
    )
    origin.page("/two.mpd", manifest.encode(), content_type="application/dash+xml")
    picture, sound = origin.pages["/video.mp4"], origin.pages["/audio.mp4"]
    picture.version.etag, sound.version.etag, sound.rate = '"v1"', '"a1"', 5_000
    request = bench.request(origin.url("/two.mpd"))
    await bench.engine.add(request)
    await until(lambda: list(request.directory.glob("e00001.fa*.part")), what="the sound to begin")
    assert (request.directory / "e00001.fv.mp4").exists()
    await bench.engine.cancel(request.replica_id)
    before = picture.sent
    picture.version, sound.version = Version(picture.version.body, '"v2"'), Version(sound.version.body, '"a2"')
    sound.rate = None
    (file,) = await bench.complete(request)
    assert picture.sent - before >= len(picture.version.body)
    assert streams(request.directory / file.disk_path) == ["audio", "video"]


async def test_wanting_a_subtitle_is_wanting_its_video(bench: Bench, origin: Origin) -> None:
    origin.page("/second.mp4", padded(200_000), etag='"2"', content_type="video/mp4")
    origin.page("/en.vtt", SUBTITLE, content_type="text/vtt")
    track = '<track kind="subtitles" srclang="en" src="/en.vtt">'
    add_page(origin, "/list", "/clip.mp4", "/second.mp4", inside=track)
    request = bench.request(origin.url("/list"), {"subtitles": "en"}, selection=frozenset({4}))
    files = await bench.complete(request)
    assert [(file.index, file.finished) for file in files] == [(1, False), (2, True), (4, True)]
    nothing = bench.request(origin.url("/list"), {"subtitles": "en"}, selection=frozenset({5}))
    status = await bench.fetch(nothing)
    assert status.failure is not None
    assert status.failure.code is FailureCode.BAD_SELECTION


async def test_titles_and_addresses_of_any_length_fit_into_an_event(bench: Bench, origin: Origin) -> None:
    videos = [f"/clip.mp4?{n}{'y' * 6_000}" for n in range(1500)]
    add_page(origin, "/long", *videos, title="t" * 8_000)
    request = bench.request(origin.url("/long"), selection=frozenset({2}))
    files = await bench.complete(request)
    assert len(files) == 1500
    assert [file.index for file in files if file.finished] == [2]
    found = await asyncio.wait_for(bench.engine.resolve_cache_key(request.source, {}), 60)
    assert found is not None
