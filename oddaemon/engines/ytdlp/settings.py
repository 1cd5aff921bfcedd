"""The section `[engines.ytdlp]`."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_FORMAT = "bestvideo+bestaudio/best"
FORMAT_WITHOUT_FFMPEG = "best"
"""Needs no merging."""


@dataclass(frozen=True, slots=True, kw_only=True)
class YtdlpSettings:
    """Settings of the yt-dlp engine."""

    enabled: bool = True
    """Whether the engine is there at all."""
    max_concurrent: int = 3
    """How many downloads run at a time; each is a process of its own."""
    default_format: str = DEFAULT_FORMAT
    """yt-dlp format selector of downloads that name none. Without ffmpeg it is `best`, which needs no merging."""
