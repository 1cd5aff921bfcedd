"""One replica as its child's events tell it: what there is, how far it is, how it ended. Sans I/O.

yt_dlp counts from 0 to 100 % once for each format that is merged; here they add up to one progress. The child has read
pages that nobody vouches for, so every field of an event is checked for its type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from oddaemon.domain.failure import Failure, FailureCode
from oddaemon.domain.files import content_type_of, display_name
from oddaemon.domain.types import Bytes, BytesPerSecond, ReplicaId, Seconds
from oddaemon.engines.ytdlp.failures import clean, failure_of
from oddaemon.engines.ytdlp.selection import selected_entries
from oddaemon.ports.engine import FillFile, FillState, FillStatus

RESOLVING, DOWNLOADING, POSTPROCESSING = "resolving", "downloading", "postprocessing"
_DISK_NAME = re.compile(r"e\d{5,6}(?:\.[A-Za-z0-9_-]{1,64}){0,4}")
_STEM_BYTES = 200
"""Of UTF-8, so that a name with its number and extension fits any file system that it is saved to."""


@dataclass(slots=True)
class _Format:
    done: int = 0
    total: int | None = None


@dataclass(slots=True)
class _Written:
    """A finished file."""

    disk_path: str
    size: int
    language: str | None


@dataclass(slots=True)
class _Entry:
    index: int
    title: str = ""
    extension: str = ""
    formats: dict[str, _Format] = field(default_factory=dict)
    written: list[_Written] = field(default_factory=list)
    failed: str | None = None

    @property
    def done(self) -> int:
        if self.written:
            return sum(file.size for file in self.written)
        return sum(part.done for part in self.formats.values())

    @property
    def total(self) -> int | None:
        if self.written:
            return self.done
        sizes = [part.total for part in self.formats.values()]
        known = [size for size in sizes if size is not None]
        return sum(known) if sizes and len(known) == len(sizes) else None


class Progress:
    """`apply` the child's events in order; `status` and `files` answer at any time."""

    def __init__(self, replica_id: ReplicaId, selection: frozenset[int] | None, languages: tuple[str, ...]) -> None:
        self._replica_id = replica_id
        self._selection = selection
        self._languages = languages
        self._entries: dict[int, _Entry] = {}
        self._several = False
        self._title: str | None = None
        self._rate = 0
        self._engine_state = RESOLVING
        self._revision = 0
        self.complete = False
        self.failure: Failure | None = None

    @property
    def over(self) -> bool:
        return self.complete or self.failure is not None

    def apply(self, event: Mapping[str, Any]) -> None:
        """An unknown event is passed over, as is a field of the wrong type."""
        if self.over:
            return
        kind = event.get("event")
        if kind == "list":
            self._list(event)
        elif kind == "complete":
            self._end()
        elif kind == "failed":
            problem = event.get("problem")
            self.fail(failure_of(problem if isinstance(problem, dict) else {}))
        elif (index := _count(event.get("index"))) is not None:
            entry = self._entries.setdefault(index, _Entry(index=index))
            if kind == "plan":
                self._plan(entry, event)
            elif kind == "progress":
                self._progress(entry, event)
            elif kind == "post":
                self._engine_state, self._rate = POSTPROCESSING, 0
            elif kind == "entry":
                self._entry(entry, event)

    def fail(self, failure: Failure) -> None:
        if not self.over:
            self.failure = failure
            self._rate = 0

    def _list(self, event: Mapping[str, Any]) -> None:
        self._several = True
        self._title = _text(event.get("title")) or self._title
        rows = event.get("entries")
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, list) and len(row) == 2 and (index := _count(row[0])) is not None:
                self._entries.setdefault(index, _Entry(index=index)).title = _text(row[1]) or ""
        self._revision += 1

    def _plan(self, entry: _Entry, event: Mapping[str, Any]) -> None:
        entry.title = _text(event.get("title")) or entry.title
        entry.extension = _extension(event.get("extension"))
        entry.formats = {}
        rows = event.get("formats")
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, list) and len(row) == 2:
                entry.formats[str(row[0])] = _Format(total=_count(row[1]))
        self._engine_state = DOWNLOADING
        self._revision += 1

    def _progress(self, entry: _Entry, event: Mapping[str, Any]) -> None:
        part = entry.formats.setdefault(str(event.get("format")), _Format())
        part.done = _count(event.get("done")) or 0
        part.total = _count(event.get("total")) or part.total
        if part.total is not None:
            part.total = max(part.total, part.done)
        self._rate = _count(event.get("rate")) or 0
        self._engine_state = DOWNLOADING

    def _entry(self, entry: _Entry, event: Mapping[str, Any]) -> None:
        self._revision += 1
        self._rate = 0
        failed = _text(event.get("failed"))
        if failed:
            entry.failed, entry.formats = clean(failed), {}
            return
        entry.title = _text(event.get("title")) or entry.title
        rows = event.get("files")
        for row in rows if isinstance(rows, list) else ():
            name, size = (row.get("name"), _count(row.get("size"))) if isinstance(row, dict) else (None, None)
            if isinstance(name, str) and _DISK_NAME.fullmatch(name) and size is not None:
                entry.written.append(_Written(name, size, _text(row.get("lang"))))

    def _end(self) -> None:
        if any(entry.written for entry in self._entries.values()):
            self.complete = True
            self._rate = 0
            return
        reason = next((entry.failed for entry in self._entries.values() if entry.failed), None)
        message = f"none of its entries can be had: {reason}" if reason else "yt-dlp ended without a single file"
        if self._selection is not None and not self._wanted():
            self.fail(Failure(code=FailureCode.BAD_SELECTION, message="the selection names none of its entries"))
        else:
            self.fail(Failure(code=FailureCode.NO_FILES, message=message))

    def _wanted(self) -> list[_Entry]:
        """In index order."""
        chosen, wanted = [self._entries[index] for index in sorted(self._entries)], self._wanted_indices()
        return [entry for entry in chosen if wanted is None or entry.index in wanted]

    def _wanted_indices(self) -> Set[int] | None:
        return selected_entries(self._selection, max(self._entries, default=0), len(self._languages))

    def status(self) -> FillStatus:
        wanted = self._wanted()
        done = sum(entry.done for entry in wanted)
        totals = [entry.total for entry in wanted if entry.failed is None]
        total = sum(size or 0 for size in totals) if totals and None not in totals else None
        if self.complete:
            total = done
        left = None if total is None else max(total - done, 0)
        state = FillState.FAILED if self.failure else FillState.COMPLETE if self.complete else FillState.ACTIVE
        return FillStatus(
            replica_id=self._replica_id,
            state=state,
            engine_state=None if self.over else self._engine_state,
            name=self.name,
            total=None if total is None else Bytes(total),
            done=Bytes(done),
            rate_down=BytesPerSecond(self._rate),
            eta=Seconds(left / self._rate) if left is not None and self._rate else None,
            files_rev=self._revision,
            failure=self.failure,
        )

    @property
    def name(self) -> str | None:
        if self._title:
            return display_name(self._title)
        if self._several or not self._entries:
            return None
        return self._path(next(iter(self._entries.values())))

    def files(self) -> list[FillFile]:
        """Entries by their number; the subtitles of entry i of n are i + n, i + 2n, … by the order of the languages,
        so that no index depends on what was found when."""
        found: list[FillFile] = []
        span, wanted = max(self._entries, default=0), self._wanted_indices()
        for entry in self._entries.values():
            selected = wanted is None or entry.index in wanted
            media = next((file for file in entry.written if file.language is None), None)
            path = self._path(entry)
            found.append(
                FillFile(
                    index=entry.index,
                    path=path,
                    disk_path=media.disk_path if media else f"e{entry.index:05d}" + _dotted(entry.extension),
                    size=Bytes(media.size) if media else None,
                    done=Bytes(media.size if media else entry.done),
                    finished=media is not None,
                    selected=selected,
                    failed=entry.failed,
                    content_type=content_type_of(path),
                )
            )
            found += [self._subtitle(entry, file, span, selected) for file in entry.written if file.language]
        return sorted(found, key=lambda file: file.index)

    def _subtitle(self, entry: _Entry, file: _Written, span: int, selected: bool) -> FillFile:
        language = file.language or ""
        place = self._languages.index(language) if language in self._languages else len(self._languages)
        extension = file.disk_path.rpartition(".")[2]
        path = f"{self._stem(entry)}.{language}.{extension}"
        return FillFile(
            index=entry.index + span * (place + 1), path=path, disk_path=file.disk_path, size=Bytes(file.size),
            done=Bytes(file.size), finished=True, selected=selected, content_type=content_type_of(path),
        )  # fmt: skip

    def _path(self, entry: _Entry) -> str:
        media = next((file for file in entry.written if file.language is None), None)
        extension = media.disk_path.rpartition(".")[2] if media else entry.extension
        return self._stem(entry) + _dotted(extension)

    def _stem(self, entry: _Entry) -> str:
        title = shown_title(entry.title)
        return f"{entry.index:03d} - {title}" if self._several else title


def shown_title(title: str) -> str:
    """A title as the name of one file: no separators, controls or bidirectional marks, at most 200 bytes."""
    name = display_name(title.replace("\\", "_").replace("\n", " ").replace("\t", " "), default="video")
    cut = name.encode("utf-8", "replace")[:_STEM_BYTES].decode("utf-8", "ignore").strip()
    return cut.lstrip(".") or "video"


def _dotted(extension: str) -> str:
    return f".{extension}" if extension else ""


def _extension(value: object) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9]{1,8}", value) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 60 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
