"""Builds torrent files for tests: v1, hybrid, v2-only, private, and hostile ones. Has its own encoder on purpose."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PIECE = 16 * 1024
BLOCK = 16 * 1024


def bencode(value: object) -> bytes:
    """BEP 3."""
    if isinstance(value, bool):
        raise TypeError("a torrent has no booleans")
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, (list, tuple)):
        return b"l" + b"".join(bencode(item) for item in value) + b"e"
    if isinstance(value, dict):
        raw = {k.encode() if isinstance(k, str) else k: v for k, v in value.items()}
        return b"d" + b"".join(bencode(k) + bencode(raw[k]) for k in sorted(raw)) + b"e"
    raise TypeError(f"cannot bencode {type(value)}")


@dataclass(frozen=True, slots=True)
class Content:
    """One file of a torrent; `path` as the list of names below the torrent's own name."""

    path: tuple[str | bytes, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Torrent:
    data: bytes
    info_hash: str
    """40 hex digits of the v1 info-hash."""
    name: str
    files: tuple[Content, ...]
    """Empty paths: a single-file torrent."""

    @property
    def magnet(self) -> str:
        return f"magnet:?xt=urn:btih:{self.info_hash}"

    def magnet_with(self, *trackers: str) -> str:
        return self.magnet + "".join(f"&tr={tracker}" for tracker in trackers)

    def write_to(self, directory: Path) -> None:
        """Lays the content out as a seeder expects it. Only for harmless names."""
        for file in self.files:
            target = directory.joinpath(self.name, *(str(part) for part in file.path))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.body)


def single(
    name: str | bytes, body: bytes, *, tracker: str | None = None, private: bool = False, piece: int = PIECE
) -> Torrent:
    info: dict[str, object] = {"name": name, "length": len(body), "piece length": piece, "pieces": _pieces(body, piece)}
    return _wrap(info, (Content((), body),), tracker, private)


def multi(
    name: str | bytes,
    files: Sequence[Content],
    *,
    tracker: str | None = None,
    private: bool = False,
    piece: int = PIECE,
    extra: dict[str, object] | None = None,
) -> Torrent:
    info: dict[str, object] = {
        "name": name,
        "files": [{"length": len(f.body), "path": list(f.path)} for f in files],
        "piece length": piece,
        "pieces": _pieces(b"".join(f.body for f in files), piece),
        **(extra or {}),
    }
    return _wrap(info, tuple(files), tracker, private)


def hybrid(name: str, body: bytes, *, tracker: str | None = None) -> Torrent:
    """v1 and v2 in one info dictionary (BEP 52)."""
    info: dict[str, object] = {
        "name": name,
        "length": len(body),
        "piece length": PIECE,
        "pieces": _pieces(body, PIECE),
        "meta version": 2,
        "file tree": {name: {"": {"length": len(body), "pieces root": _merkle(body)}}},
    }
    return _wrap(info, (Content((), body),), tracker, private=False)


def v2_only(name: str, body: bytes, *, tracker: str | None = None) -> Torrent:
    info: dict[str, object] = {
        "name": name,
        "piece length": PIECE,
        "meta version": 2,
        "file tree": {name: {"": {"length": len(body), "pieces root": _merkle(body)}}},
    }
    return _wrap(info, (Content((), body),), tracker, private=False)


def _wrap(info: dict[str, object], files: tuple[Content, ...], tracker: str | None, private: bool) -> Torrent:
    if private:
        info["private"] = 1
    root: dict[str, object] = {"info": info}
    if tracker:
        root["announce"] = tracker
    name = info["name"]
    shown = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    digest = hashlib.sha1(bencode(info), usedforsecurity=False).hexdigest()
    return Torrent(bencode(root), digest, shown, files)


def _pieces(body: bytes, piece: int) -> bytes:
    return b"".join(
        hashlib.sha1(body[at : at + piece], usedforsecurity=False).digest() for at in range(0, len(body), piece)
    )


def _merkle(body: bytes) -> bytes:
    """The root of a file's tree of block hashes (BEP 52), padded with zero hashes to a power of two."""
    layer = [hashlib.sha256(body[at : at + BLOCK]).digest() for at in range(0, len(body), BLOCK)] or [bytes(32)]
    while len(layer) & (len(layer) - 1):
        layer.append(bytes(32))
    while len(layer) > 1:
        layer = [hashlib.sha256(layer[i] + layer[i + 1]).digest() for i in range(0, len(layer), 2)]
    return layer[0]
