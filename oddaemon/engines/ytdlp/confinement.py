"""In the child: what ffmpeg may open, and what is no media at all.

ffmpeg looks at a file's content, not at its name. A "video" that is a playlist in truth makes it open what the playlist
names, files of this machine included, and put their sound and picture into the result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yt_dlp.postprocessor import ffmpeg
from yt_dlp.utils import DownloadError

_FORMATS = (
    "mov", "mp4", "matroska", "webm", "mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "av1", "obu", "ivf", "flv",
    "live_flv", "avi", "asf", "asf_o", "ogg", "mp3", "aac", "loas", "ac3", "eac3", "dts", "truehd", "flac", "wav",
    "w64", "aiff", "caf", "amr", "ape", "tta", "wv", "webvtt", "srt", "ass", "mxf",
)  # fmt: skip
"""ffmpeg's names of containers that name no other files (its "Demuxers" documentation)."""
_HEAD = 4096
_STARTS = (b"#extm3u", b"ffconcat ", b"<mpd", b"<!doctype html", b"<html")


def input_arguments() -> dict[str, list[str]]:
    """The parameter `postprocessor_args`: for each input of each step."""
    known: list[Any] = [step for step in vars(ffmpeg).values() if isinstance(step, type)]
    steps = [step for step in known if issubclass(step, ffmpeg.FFmpegPostProcessor)]
    return {f"{step.pp_key().lower()}+ffmpeg_i": ["-format_whitelist", ",".join(_FORMATS)] for step in steps}


def no_downloads_by_ffmpeg() -> None:
    """yt_dlp asks without parameters whether ffmpeg could fetch an encrypted stream: it would get cookies and address
    as arguments, which every user of the machine can read."""
    ffmpeg.FFmpegPostProcessor._ffmpeg_location.set("/nonexistent")


def require_media(name: str) -> None:
    """Raises DownloadError, and deletes the file, if it is a web page or a playlist: an error page, or a trap."""
    path = Path(name)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(b"<?xml"):
        head = head[head.find(b"?>") + 2 :].lstrip()
    if head.startswith(_STARTS):
        path.unlink()
        raise DownloadError("the origin sent a page or a playlist where media was promised")
