"""In the child: downloads in fragments (HLS, DASH) that can be killed at any instant and go on.

yt_dlp appends a fragment to the partial file and then notes its number in another file. Killed in between it would
append that fragment twice; with the disk full it would note a fragment that is not there; with an unreadable note it
would begin anew at the end of what is there. Here the note holds where the last fragment begins and what it was: to go
on, that one is fetched again, and only if it is the same as before does the rest belong to the same version. (The
fragments' addresses prove nothing: many sites sign them anew for each visitor.)
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yt_dlp.downloader.hls import HlsFD
from yt_dlp.utils import DownloadError


class FragmentsChanged(DownloadError):  # type: ignore[misc]
    """The stream is another one than the one that was begun. What was there of it is deleted."""


@functools.cache
def resuming(kind: type[Any]) -> type[Any]:
    """The downloader class, made safe."""
    base = _Hls if issubclass(kind, HlsFD) else kind
    return type(f"Resuming{kind.__name__}", (_Resuming, base), {"FD_NAME": kind.FD_NAME})


class _Hls(HlsFD):  # type: ignore[misc]
    @classmethod
    def can_download(cls, manifest: str, *args: Any, **kwargs: Any) -> bool:
        """As the original, which hands what it cannot do to ffmpeg, with cookies and address among the arguments."""
        able: bool = super().can_download(manifest, *args, **kwargs)
        if not able and not cls._has_drm(manifest):
            raise DownloadError("this stream is encrypted in a way that is not supported")
        return able


@dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    index: int
    """Number of the last fragment."""
    start: int
    """Where in the partial file it begins."""
    sha256: str
    state: dict[str, Any]
    """What the downloader remembered before it."""


class _Resuming:
    """Mixed into a FragmentFD."""

    def _prepare_frag_download(self: Any, ctx: dict[str, Any]) -> None:
        part, note = self._paths(ctx)
        for left in part.parent.glob(part.name + "-Frag*"):
            left.unlink(missing_ok=True)
        known = _read(note, part, ctx.get("total_frags"))
        if known is None:
            part.unlink(missing_ok=True)
            note.unlink(missing_ok=True)
        else:
            os.truncate(part, known.start)
        ctx["known"] = known
        super()._prepare_frag_download(ctx)  # type: ignore[misc]
        ctx["state_before"] = json.dumps(ctx.get("extra_state") or {})

    def _read_ytdl_file(self: Any, ctx: dict[str, Any]) -> None:
        ctx["fragment_index"] = ctx["known"].index - 1
        ctx["extra_state"] = ctx["known"].state

    def _write_ytdl_file(self: Any, ctx: dict[str, Any]) -> None:
        """Nothing is known before the first fragment is there."""

    def _append_fragment(self: Any, ctx: dict[str, Any], frag_content: bytes) -> None:
        stream, found = ctx["dest_stream"], hashlib.sha256(frag_content).hexdigest()
        known, ctx["known"] = ctx["known"], None
        if known is not None and known.sha256 != found:
            stream.close()
            for path in self._paths(ctx):
                path.unlink(missing_ok=True)
            raise FragmentsChanged("the stream changed while it was downloaded")
        start = stream.tell()
        stream.write(frag_content)
        stream.flush()
        if ctx["live"] is not True:
            self._note(ctx, start, found)
        self.try_remove(ctx.pop("fragment_filename_sanitized"))

    def _note(self: Any, ctx: dict[str, Any], start: int, found: str) -> None:
        facts = {
            "fragment_count": ctx.get("total_frags"),
            "index": ctx["fragment_index"],
            "start": start,
            "sha256": found,
            "state": json.loads(ctx["state_before"]),
        }
        ctx["state_before"] = json.dumps(ctx.get("extra_state") or {})
        note = self._paths(ctx)[1]
        new = note.with_name(note.name + ".new")
        new.write_text(json.dumps(facts))
        new.replace(note)

    def _paths(self: Any, ctx: dict[str, Any]) -> tuple[Path, Path]:
        return Path(self.temp_name(ctx["filename"])), Path(self.ytdl_filename(ctx["filename"]))


def _read(note: Path, part: Path, count: int | None) -> _Note | None:
    """None if there is nothing to go on with."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(note.read_text())
        known = _Note(
            index=int(found["index"]), start=int(found["start"]), sha256=str(found["sha256"]),
            state=dict(found["state"]),
        )  # fmt: skip
        if found["fragment_count"] == count and known.index > 1 and 0 < known.start <= part.stat().st_size:
            return known
    return None
