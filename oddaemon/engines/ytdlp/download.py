"""In the child: the mode `fill`. Downloads what a URL leads to into the working directory, entry by entry."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping, Set
from typing import Any

from yt_dlp.networking.common import HEADRequest
from yt_dlp.networking.exceptions import RequestError
from yt_dlp.utils import ExtractorError, YoutubeDLError

from oddaemon.domain.failure import FailureCode, Retry
from oddaemon.engines.ytdlp.downloader import Downloader
from oddaemon.engines.ytdlp.extraction import Emit, Leaf, follow, is_list, leaves_of, requested, root_of, title_of
from oddaemon.engines.ytdlp.failures import failure_of
from oddaemon.engines.ytdlp.problems import problem_of
from oddaemon.engines.ytdlp.record import Record, size_of, stem
from oddaemon.engines.ytdlp.selection import selected_entries

_EVERY = 0.5
"""Seconds between two events of progress."""
_ATTEMPTS = 3
"""Runs in which a passing failure of one entry of a playlist ends the run; then it counts as failed."""
_FULL = 1 << 20
"""Bytes free below which the disk counts as full when ffmpeg fails without saying why."""
_ABORTING = frozenset({FailureCode.NETWORK, FailureCode.TIMEOUT, FailureCode.NO_SPACE, FailureCode.STORAGE})
"""Failures that the next entry would meet as well."""


def fill(task: Mapping[str, Any], emit: Emit) -> None:
    record = Record(task["digest"])
    with Downloader(task, record) as ydl:
        _Fill(task, emit, record, ydl).run()


class _Fill:
    def __init__(self, task: Mapping[str, Any], emit: Emit, record: Record, ydl: Downloader) -> None:
        self._task = task
        self._emit = emit
        self._record = record
        self._ydl = ydl
        self._index = 0
        self._told = 0.0
        self._untold: Mapping[str, Any] | None = None
        """What the last event of progress left out, for the sake of how few they are."""
        ydl.add_progress_hook(self._progress)
        ydl.add_postprocessor_hook(self._post)

    def run(self) -> None:
        if self._all_there():
            return
        root = root_of(self._ydl, self._task["url"])
        several = is_list(root)
        leaves = leaves_of(self._ydl, root, self._task["options"].get("playlist-items"))
        if not leaves:
            raise ExtractorError("No media found: the playlist is empty", expected=True)
        if several:
            self._list(title_of(root), [(leaf.index, leaf.identity, leaf.title) for leaf in leaves])
        wanted = self._wanted(len(leaves))
        chosen = [leaf for leaf in leaves if wanted is None or leaf.index in wanted]
        held: dict[str, object] | None = None
        for leaf in chosen:
            problem = self._entry(leaf, several)
            if problem is None:
                continue
            failure = failure_of(problem)
            if not several:
                self._emit("failed", problem=problem)
                return
            if failure.retry is Retry.LASTING or self._give_up(leaf, failure.code):
                self._emit("entry", index=leaf.index, failed=failure.message)
                continue
            held = problem
            if failure.code in _ABORTING:
                break
        if held is not None:
            self._emit("failed", problem=held)
            return
        self._finish(title_of(root) if several else None, leaves, several)

    def _finish(self, title: str | None, leaves: list[Leaf], several: bool) -> None:
        # written last: with it the directory is known to be whole without asking anybody
        self._record.listing = [title, several, [[leaf.index, leaf.identity, leaf.title] for leaf in leaves]]
        self._record.save()
        self._emit("complete")

    def _all_there(self) -> bool:
        """Whether an earlier run finished everything that is wanted now; tells it all again."""
        if self._record.listing is None:
            return False
        title, several, entries = self._record.listing
        chosen = self._wanted(len(entries))
        wanted = [row for row in entries if chosen is None or row[0] in chosen]
        if not wanted or not all(self._record.finished(index, identity) for index, identity, _ in wanted):
            return False
        if several:
            self._list(title, entries)
        for index, _, _ in wanted:
            self._tell(index)
        self._emit("complete")
        return True

    def _wanted(self, entries: int) -> Set[int] | None:
        selection = self._task["selection"]
        languages = [part for part in self._task["options"].get("subtitles", "").split(",") if part]
        return selected_entries(None if selection is None else set(selection), entries, len(languages))

    def _list(self, title: str | None, entries: list[Any]) -> None:
        self._emit("list", title=title, entries=[[index, name] for index, _, name in entries])

    def _give_up(self, leaf: Leaf, code: FailureCode) -> bool:
        if code in (FailureCode.NO_SPACE, FailureCode.STORAGE):
            return False
        entry = self._record.begin(leaf.index, leaf.identity)
        entry.attempts += 1
        self._record.save()
        return entry.attempts >= _ATTEMPTS

    def _entry(self, leaf: Leaf, several: bool) -> dict[str, object] | None:
        """Downloads one; None, or what went wrong."""
        if self._record.finished(leaf.index, leaf.identity):
            self._tell(leaf.index)
            return None
        entry = self._record.begin(leaf.index, leaf.identity)
        entry.files = []
        self._index = leaf.index
        self._ydl.write_to(stem(leaf.index))
        try:
            info = follow(self._ydl, dict(leaf.info))
            if several and is_list(info):
                raise ExtractorError("this entry is a list of its own; add its own address", expected=True)
            info = self._ydl.process_ie_result(info, download=False, extra_info=dict(leaf.extra))
            if info.get("is_live"):
                raise ExtractorError("this is a live stream, which has no end", expected=True)
            self._plan(info)
            self._ydl.process_info(info)
            entry.files = self._files_of(info)
        except (YoutubeDLError, OSError) as error:
            if self._untold is not None:  # how far it came decides how often it is tried again
                self._progress({**self._untold, "status": "failed"})
            problem = problem_of(error)
            if problem["errno"] is None and problem["status"] is None and _disk_full():
                problem["errno"] = errno.ENOSPC
            return problem
        entry.title = title_of(info) or leaf.title
        entry.attempts = 0
        self._record.clear(leaf.index, keep=tuple(file["name"] for file in entry.files))
        self._record.save()
        self._tell(leaf.index)
        return None

    def _plan(self, info: dict[str, Any]) -> None:
        """Which formats will be fetched, and how large they are, so that they make one progress."""
        formats = []
        for chosen in requested(info):
            size = chosen.get("filesize") or self._asked_size(chosen) or chosen.get("filesize_approx")
            formats.append([_name(chosen), int(size) if size else None])
        self._emit(
            "plan", index=self._index, title=title_of(info), extension=info.get("ext"), formats=formats,
        )  # fmt: skip

    def _asked_size(self, chosen: Mapping[str, Any]) -> int | None:
        """The origin's own word where the page said nothing."""
        if chosen.get("protocol") not in ("http", "https"):
            return None
        try:
            with self._ydl.urlopen(
                HEADRequest(
                    chosen["url"], headers={**(chosen.get("http_headers") or {}), "Accept-Encoding": "identity"}
                )
            ) as response:
                length = response.headers.get("Content-Length") or ""
        except (RequestError, OSError):
            return None  # the download itself will say what is wrong
        return int(length) if length.isdecimal() and int(length) else None

    def _files_of(self, info: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The file that came of it, and its subtitles. Raises YoutubeDLError when there is none."""
        found = [{"path": info.get("filepath")}]
        found += [
            {"path": facts.get("filepath"), "lang": language}
            for language, facts in sorted((info.get("requested_subtitles") or {}).items())
        ]
        files = []
        here = os.path.realpath(".")
        for file in found:
            path = os.path.realpath(str(file["path"] or ""))
            name = os.path.basename(path)
            size = size_of(name) if os.path.dirname(path) == here else None
            if size is not None and (size or "lang" not in file):
                files.append({"name": name, "size": size, **({"lang": file["lang"]} if "lang" in file else {})})
            elif "lang" not in file:
                raise YoutubeDLError("yt-dlp ended without a file")
        return files

    def _tell(self, index: int) -> None:
        entry = self._record.entries[index]
        self._emit("entry", index=index, title=entry.title, files=entry.files)

    def _progress(self, facts: Mapping[str, Any]) -> None:
        now = time.monotonic()
        if facts["status"] == "downloading" and now - self._told < _EVERY:
            self._untold = facts
            return
        self._told, self._untold = now, None
        info = facts.get("info_dict") or {}
        total = facts.get("total_bytes") or facts.get("total_bytes_estimate")
        done = facts.get("downloaded_bytes") or 0
        self._emit(
            "progress",
            index=self._index,
            format=_name(info),
            done=int(done),
            total=int(total) if total else int(done) if facts["status"] == "finished" else None,
            rate=int(facts.get("speed") or 0) if facts["status"] == "downloading" else 0,
        )

    def _post(self, facts: Mapping[str, Any]) -> None:
        if facts["status"] == "started" and facts["postprocessor"] != "MoveFiles":
            self._emit("post", index=self._index)


def _name(info: Mapping[str, Any]) -> str:
    return str(info.get("format_id") or "0")


def _disk_full() -> bool:
    status = os.statvfs(".")
    return status.f_bavail * status.f_frsize < _FULL
