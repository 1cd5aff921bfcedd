"""Where ffmpeg is: on PATH, else the one that the extra `opendebrid[ffmpeg]` brings along."""

from __future__ import annotations

import shutil
from pathlib import Path


def find_ffmpeg() -> str | None:
    """Its path; None if there is none. Blocks: the package looks for its file and may run it."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        path = str(get_ffmpeg_exe())
    except (ImportError, RuntimeError, OSError):
        return None
    return path if Path(path).is_file() else None
