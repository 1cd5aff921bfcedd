"""Media pages: yt-dlp, one child process a replica. Exposes PLUGIN. `yt_dlp` itself is imported by the child alone."""

from __future__ import annotations

from oddaemon.engines.ytdlp.plugin import PLUGIN

__all__ = ["PLUGIN"]
