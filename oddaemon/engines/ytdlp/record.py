"""In the child: what is known of the files in a replica's directory, kept beside them across runs.

Which entries are finished (they are not fetched again), what each file name stands for (so that the bytes of two things
are never mixed), and the validators of partial files (RFC 9110 section 8.8).
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

NAME = ".ytdlp.json"
_VERSION = 1


@dataclass(slots=True, kw_only=True)
class Entry:
    """One entry: `identity` is what it was when its files were begun."""

    identity: str
    title: str = ""
    files: list[dict[str, Any]] = field(default_factory=list)
    """Of a finished one: `name`, `size` and, for subtitles, `lang`."""
    attempts: int = 0
    """Runs that ended in a passing failure of this entry."""


class Record:
    """Belongs to the working directory. An unreadable record is the same as none: everything is fetched anew."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        self.entries: dict[int, Entry] = {}
        self.validators: dict[str, dict[str, Any]] = {}
        """By file name: `etag`, `modified`, `total`."""
        self.listing: list[Any] | None = None
        """Of a run that came to its end: title, whether it is a playlist, and index, identity and title of each."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            self._read()
            return
        self.entries, self.validators, self.listing = {}, {}, None
        for path in Path().iterdir():
            if stem_number(path.name) is not None:
                path.unlink(missing_ok=True)

    def _read(self) -> None:
        found = json.loads(Path(NAME).read_text())
        if found["version"] != _VERSION or found["digest"] != self.digest:
            raise ValueError("made by another version or with other options")
        self.entries = {int(index): Entry(**facts) for index, facts in found["entries"].items()}
        self.validators = dict(found["validators"])
        self.listing = found["listing"]

    def save(self) -> None:
        """Replaces the file as one step."""
        document = {
            "version": _VERSION,
            "digest": self.digest,
            "entries": {str(index): asdict(entry) for index, entry in self.entries.items()},
            "validators": self.validators,
            "listing": self.listing,
        }
        new = Path(NAME + ".new")
        new.write_text(json.dumps(document))
        new.replace(NAME)

    def begin(self, index: int, identity: str) -> Entry:
        """The entry, without the bytes of another one that stood there before."""
        known = self.entries.get(index)
        if known is None or known.identity != identity:
            self.clear(index, keep=())
            known = self.entries[index] = Entry(identity=identity)
            self.save()
        return known

    def finished(self, index: int, identity: str) -> bool:
        """Whether all its files are there with their sizes."""
        known = self.entries.get(index)
        if known is None or known.identity != identity or not known.files:
            return False
        return all(size_of(file["name"]) == file["size"] for file in known.files)

    def clear(self, index: int, keep: tuple[str, ...]) -> None:
        """Deletes the entry's files but those to keep."""
        for path in Path().iterdir():
            if stem_number(path.name) == index and path.name not in keep:
                path.unlink(missing_ok=True)
        for name in [name for name in self.validators if stem_number(name) == index]:
            del self.validators[name]


def stem(index: int) -> str:
    """How the names of an entry's files begin: short, safe and ours."""
    return f"e{index:05d}"


def stem_number(name: str) -> int | None:
    """The entry that a file name belongs to; None if it is not one of ours."""
    head = name.partition(".")[0]
    return int(head[1:]) if head[:1] == "e" and len(head) >= 6 and head[1:].isdecimal() else None


def size_of(name: str) -> int | None:
    """Bytes of a regular file of the directory; None if there is none."""
    try:
        status = os.lstat(name)
    except OSError:
        return None
    return status.st_size if os.path.isfile(name) and not os.path.islink(name) else None
