"""What the engine remembers of each replica between its starts, in a private directory outside the downloads.

`<replica>.json`: what the origin said when the bytes on disk were begun, and which files were found complete.
`<replica>.torrent`: the metadata of a magnet. Losing either costs a download begun anew, never a wrong one. Blocking.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oddaemon.domain.types import Bytes, ReplicaId
from oddaemon.engines.aria2.origin import Origin

log = logging.getLogger(__name__)

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    origin: Origin | None = None
    """Of the bytes on disk."""
    finished: Mapping[int, int] = field(default_factory=dict)
    """Size of each file that was complete and checked, by index."""
    seeded: bool = False
    """Has been uploaded as long as was asked for."""


class Memory:
    def __init__(self, base: Path) -> None:
        self._base = base

    def open(self) -> None:
        """Makes the directory, and clears what a metadata phase left."""
        self._base.mkdir(mode=0o700, exist_ok=True)
        for entry in self._base.glob("*.meta"):
            shutil.rmtree(entry, ignore_errors=True)

    def load(self, replica: ReplicaId) -> Remembered:
        """Nothing, if there is nothing or it cannot be read."""
        try:
            data = json.loads(self._json(replica).read_text(encoding="utf-8"))
            if data["version"] != _VERSION:
                return Remembered()
            origin = data["origin"]
            return Remembered(
                origin=None if origin is None else _origin_from(origin),
                finished={int(index): int(size) for index, size in data["finished"].items()},
                seeded=data["seeded"] is True,
            )
        except FileNotFoundError:
            return Remembered()
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            log.warning("memory is unreadable", extra={"action": "aria2.memory", "replica": str(replica)})
            return Remembered()

    def save(self, replica: ReplicaId, what: Remembered) -> None:
        origin = what.origin
        data = {
            "version": _VERSION,
            "origin": None if origin is None else {
                "length": origin.length, "etag": origin.etag, "last_modified": origin.last_modified,
                "encoding": origin.encoding, "name": origin.name, "content_type": origin.content_type,
            },
            "finished": {str(index): size for index, size in what.finished.items()},
            "seeded": what.seeded,
        }  # fmt: skip
        _replace(self._json(replica), json.dumps(data).encode("utf-8", "surrogatepass"))

    def load_torrent(self, replica: ReplicaId) -> bytes | None:
        try:
            return self._torrent(replica).read_bytes()
        except OSError:
            return None

    def save_torrent(self, replica: ReplicaId, data: bytes) -> None:
        _replace(self._torrent(replica), data)

    def meta_directory(self, replica: ReplicaId) -> Path:
        """Made anew and empty, for one metadata phase."""
        path = self._base / f"{replica}.meta"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
        return path

    def meta_path(self, replica: ReplicaId, info_hash: str) -> Path:
        """Where aria2 puts the metadata (option bt-save-metadata)."""
        return self._base / f"{replica}.meta" / f"{info_hash}.torrent"

    def drop_meta_directory(self, replica: ReplicaId) -> None:
        shutil.rmtree(self._base / f"{replica}.meta", ignore_errors=True)

    def forget(self, replica: ReplicaId) -> None:
        """Of its bytes; a magnet's metadata stays."""
        self.drop_meta_directory(replica)
        self._json(replica).unlink(missing_ok=True)

    def forget_torrent(self, replica: ReplicaId) -> None:
        self._torrent(replica).unlink(missing_ok=True)

    def _json(self, replica: ReplicaId) -> Path:
        return self._base / f"{replica}.json"

    def _torrent(self, replica: ReplicaId) -> Path:
        return self._base / f"{replica}.torrent"


def _origin_from(data: Mapping[str, object]) -> Origin:
    length, *texts = (data[key] for key in ("length", "etag", "last_modified", "encoding", "name", "content_type"))
    if not (length is None or isinstance(length, int)) or not all(t is None or isinstance(t, str) for t in texts):
        raise ValueError("not what was written")
    etag, last_modified, encoding, name, content_type = (None if t is None else str(t) for t in texts)
    return Origin(
        length=None if length is None else Bytes(length),
        etag=etag,
        last_modified=last_modified,
        encoding=encoding,
        name=name,
        content_type=content_type,
    )


def _replace(path: Path, data: bytes) -> None:
    """Whole or not at all, and durable."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
