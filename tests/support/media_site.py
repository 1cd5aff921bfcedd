"""A site on 127.0.0.1 with small real media, made by ffmpeg when a test first needs them.

Pages are added to an `Origin`, whose scripts (slow, failing, changing) therefore work on them too.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.origin_server import Origin, Page

HTML = "text/html; charset=utf-8"


def ffmpeg_program() -> str:
    """The one on PATH, else the one that the extra opendebrid[ffmpeg] brings: `make test` installs it then."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    import imageio_ffmpeg

    program: str = imageio_ffmpeg.get_ffmpeg_exe()
    return program


def _ffmpeg(*arguments: str, cwd: Path) -> None:
    subprocess.run(
        [ffmpeg_program(), "-nostdin", "-loglevel", "error", "-y", *arguments], cwd=cwd, check=True, timeout=50,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@functools.cache
def media() -> dict[str, bytes]:
    """`clip.mp4` (picture and sound), `hls/…` and `dash/…` (picture and sound apart), by path."""
    with tempfile.TemporaryDirectory(prefix="media") as directory:
        base = Path(directory)
        _ffmpeg(
            "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=15:duration=6",
            "-f", "lavfi", "-i", "sine=frequency=440:duration=6",
            "-c:v", "libx264", "-preset", "ultrafast", "-g", "15", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "64k",
            "-movflags", "+faststart", "clip.mp4",
            cwd=base,
        )  # fmt: skip
        (base / "hls").mkdir()
        _ffmpeg(
            "-i", "clip.mp4", "-c", "copy", "-hls_time", "1", "-hls_playlist_type", "vod",
            "-hls_segment_filename", "hls/s%d.ts", "hls/index.m3u8",
            cwd=base,
        )  # fmt: skip
        (base / "dash").mkdir()
        _ffmpeg(
            "-i", "clip.mp4", "-c", "copy", "-f", "dash", "-seg_duration", "1", "-use_template", "1",
            "-use_timeline", "0", "-adaptation_sets", "id=0,streams=v id=1,streams=a", "dash/manifest.mpd",
            cwd=base,
        )  # fmt: skip
        for kind, selected in (("video", "0:v"), ("audio", "0:a")):
            _ffmpeg("-i", "clip.mp4", "-map", selected, "-c", "copy", f"{kind}.mp4", cwd=base)
        return {str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()}


_TYPES = {
    ".mp4": "video/mp4",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".ts": "video/mp2t",
    ".mpd": "application/dash+xml",
    ".m4s": "video/iso.segment",
    ".vtt": "text/vtt",
}


def add_media(origin: Origin) -> None:
    """Everything of `media()` under its own path, with an ETag."""
    for path, body in media().items():
        kind = _TYPES.get(Path(path).suffix, "application/octet-stream")
        origin.page(f"/{path}", body, etag=f'"{path}"', content_type=kind)


def add_page(origin: Origin, path: str, *videos: str, title: str = "A page", head: str = "", inside: str = "") -> Page:
    """An HTML page with one <video> for each of `videos`."""
    tags = "\n".join(f'<video src="{video}">{inside}</video>' for video in videos)
    text = f"<!doctype html><html><head><title>{title}</title>{head}</head><body>{tags}</body></html>"
    return origin.page(path, text.encode(), content_type=HTML)


def padded(size: int, seed: int = 0) -> bytes:
    """A clip of at least `size` bytes: a `free` box at its end (ISO/IEC 14496-12 section 8.1.2), which players skip."""
    clip = media()["clip.mp4"]
    missing = max(size - len(clip), 8)
    block = bytes((seed + n * 7) % 256 for n in range(4096))
    return clip + missing.to_bytes(4, "big") + b"free" + (block * (missing // 4096 + 1))[: missing - 8]
