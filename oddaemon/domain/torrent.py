"""A .torrent file (BEP 3, 12, 19, 27, 47, 52) → what it holds. Sans I/O.

Names are display text: whatever bytes a torrent calls its files are taken, because the names on disk are
chosen by the engine. What does not add up (sizes, pieces, types) is refused: an engine would fail on it
later. Decoding the largest torrent that is taken costs up to a second of CPU: call it in a thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NoReturn

from oddaemon.domain.bencode import Limits, Value, bdecode_document
from oddaemon.domain.errors import InvalidSource
from oddaemon.domain.types import Bytes

MAX_TORRENT_SIZE = Bytes(10 * 1024 * 1024)
MAX_FILES = 100_000
MAX_TRACKERS = 1_000
_MAX_TOTAL = 2**63 - 1
_MAX_PIECE_LENGTH = 2**30
_HINT = "check the file: it has to be the .torrent itself, complete and unchanged"

Version = Literal["v1", "v2", "hybrid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TorrentFile:
    """`index` counts from 1 over all files of the torrent, padding included, as engines count. `path` is
    relative to the torrent's own folder (a single file: its name), joined by `/`, not trusted: it may hold
    `..`, control characters or nothing."""

    index: int
    path: str
    size: Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TorrentInfo:
    info_hash: str | None
    """v1, 40 lower-case hex digits; None for a v2-only torrent."""
    info_hash_v2: str | None
    """64 lower-case hex digits."""
    name: str
    files: tuple[TorrentFile, ...]
    """Without padding files (BEP 47)."""
    private: bool
    trackers: tuple[str, ...]
    """In the order of the tiers, each once; as given."""
    web_seeds: tuple[str, ...]
    version: Version
    is_multi: bool
    """The files lie in a folder of the torrent's name."""
    piece_length: Bytes
    total: Bytes
    """Of `files`: padding is not counted."""


def infohash_of_info(info: bytes) -> str:
    """The v1 info-hash of the raw bytes of an info dictionary."""
    return hashlib.sha1(info, usedforsecurity=False).hexdigest()


def parse_torrent(data: bytes) -> TorrentInfo:
    """What the torrent holds. Raises InvalidSource with the reason and, where there is one, the position."""
    if not data:
        _refuse("the torrent file is empty", position=0)
    if len(data) > MAX_TORRENT_SIZE:
        size, most = len(data) / 2**20, MAX_TORRENT_SIZE // 2**20
        _refuse(f"the torrent file has {size:.1f} MiB; the most that is taken is {most} MiB")
    if data[:1] != b"d":
        what = "a web page" if data.lstrip()[:1] == b"<" else "not bencoded"
        _refuse(f"the torrent file is {what}", position=0)
    try:
        document = bdecode_document(data, limits=Limits(size=MAX_TORRENT_SIZE))
    except InvalidSource as error:
        raise InvalidSource(
            f"the torrent file cannot be read: {error.message}", position=error.position, hint=_HINT
        ) from error
    root, span = document.value, document.span_of(b"info")
    assert isinstance(root, dict)
    info = root.get(b"info")
    if span is None or not isinstance(info, dict):
        _refuse("the torrent file has no info dictionary")
    return _info(root, info, data[span[0] : span[1]])


def _info(root: dict[bytes, Value], info: dict[bytes, Value], raw: bytes) -> TorrentInfo:
    version = _version(info)
    name = _text(info, b"name")
    piece_length = info.get(b"piece length")
    if not isinstance(piece_length, int) or not 0 < piece_length <= _MAX_PIECE_LENGTH:
        _refuse("the torrent's piece length is missing or impossible")
    if version == "v2":
        if piece_length < 16384 or piece_length & (piece_length - 1):
            _refuse("the torrent's piece length is not a power of two of at least 16 KiB, as v2 asks for")
        listed = list(_v2_files(info))
        is_multi = not (len(listed) == 1 and listed[0][0] == name)
    else:
        listed = list(_v1_files(info, name))
        is_multi = b"files" in info
        _check_pieces(info, piece_length, sum(size for _, size, _ in listed))
    files = tuple(
        TorrentFile(index=index, path=path, size=Bytes(size))
        for index, (path, size, padding) in enumerate(listed, 1)
        if not padding
    )
    if not files:
        _refuse("the torrent holds no file")
    return TorrentInfo(
        info_hash=None if version == "v2" else infohash_of_info(raw),
        info_hash_v2=None if version == "v1" else hashlib.sha256(raw).hexdigest(),
        name=name,
        files=files,
        private=info.get(b"private") == 1,
        trackers=tuple(_trackers(root)),
        web_seeds=tuple(_web_seeds(root)),
        version=version,
        is_multi=is_multi,
        piece_length=Bytes(piece_length),
        total=Bytes(sum(file.size for file in files)),
    )


def _version(info: dict[bytes, Value]) -> Version:
    meta = info.get(b"meta version", 1)
    if meta not in (1, 2):
        _refuse("the torrent is of an unknown version")
    has_v1 = b"pieces" in info
    has_v2 = meta == 2 and b"file tree" in info
    if has_v1:
        return "hybrid" if has_v2 else "v1"
    if not has_v2:
        _refuse("the torrent has neither pieces (v1) nor a file tree (v2)")
    return "v2"


def _v1_files(info: dict[bytes, Value], name: str) -> Iterator[tuple[str, int, bool]]:
    """Path, size, whether it is padding."""
    files = info.get(b"files")
    if files is None:
        yield name, _size(info), False
        return
    if b"length" in info:
        _refuse("the torrent says that it is one file and that it is several")
    if not isinstance(files, list) or not files:
        _refuse("the torrent's file list is not a list of files")
    if len(files) > MAX_FILES:
        _refuse(f"the torrent lists {len(files)} files; the most that are taken is {MAX_FILES}")
    for number, file in enumerate(files, 1):
        if not isinstance(file, dict):
            _refuse(f"file {number} of the torrent is not described by a dictionary")
        path = file.get(b"path.utf-8", file.get(b"path"))
        if not isinstance(path, list) or not path:
            _refuse(f"file {number} of the torrent has no name")
        parts = []
        for part in path:
            if not isinstance(part, bytes):
                _refuse(f"the name of file {number} of the torrent is not a string")
            parts.append(_shown(part))
        yield "/".join(parts), _size(file, number), _is_padding(file)


def _v2_files(info: dict[bytes, Value]) -> Iterator[tuple[str, int, bool]]:
    """BEP 52: nested dictionaries; the key of zero length marks a file. In the order of the tree."""
    tree = info.get(b"file tree")
    if not isinstance(tree, dict):
        _refuse("the torrent's file tree is not a dictionary")
    found = 0
    stack: list[tuple[str, dict[bytes, Value]]] = [("", tree)]
    while stack:
        path, node = stack.pop()
        leaf = node.get(b"")
        if leaf is not None and path:
            if not isinstance(leaf, dict) or len(node) != 1:
                _refuse("the torrent's file tree mixes a file with a folder")
            found += 1
            if found > MAX_FILES:
                _refuse(f"the torrent lists more than {MAX_FILES} files")
            size = _size(leaf, found)
            root = leaf.get(b"pieces root")
            if size and not (isinstance(root, bytes) and len(root) == 32):
                _refuse(f"file {found} of the torrent has no hash")
            yield path, size, _is_padding(leaf)
            continue
        for key in sorted(node, reverse=True):
            child = node[key]
            if not isinstance(child, dict):
                _refuse("the torrent's file tree holds something that is no file")
            stack.append((f"{path}/{_shown(key)}" if path else _shown(key), child))


def _check_pieces(info: dict[bytes, Value], piece_length: int, total: int) -> None:
    pieces = info[b"pieces"]
    if not isinstance(pieces, bytes) or len(pieces) % 20:
        _refuse("the torrent's piece hashes are not a whole number of hashes")
    if total > _MAX_TOTAL:
        _refuse("the torrent's files are impossibly large")
    needed = -(-total // piece_length)
    if len(pieces) // 20 != needed:
        _refuse(f"the torrent has {len(pieces) // 20} piece hashes; its files need {needed}")


def _size(of: dict[bytes, Value], number: int = 1) -> int:
    size = of.get(b"length")
    if not isinstance(size, int):
        _refuse(f"file {number} of the torrent has no size")
    if not 0 <= size <= _MAX_TOTAL:
        _refuse(f"file {number} of the torrent has an impossible size ({size})")
    return size


def _is_padding(file: dict[bytes, Value]) -> bool:
    attributes = file.get(b"attr")
    return isinstance(attributes, bytes) and b"p" in attributes


def _text(of: dict[bytes, Value], key: bytes) -> str:
    value = of.get(key + b".utf-8", of.get(key))
    if value is None:
        _refuse(f"the torrent has no {key.decode()}")
    if not isinstance(value, bytes):
        _refuse(f"the torrent's {key.decode()} is not a string")
    return _shown(value)


def _shown(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _trackers(root: dict[bytes, Value]) -> Iterator[str]:
    tiers = root.get(b"announce-list")
    given: list[Value] = [root.get(b"announce", b"")]
    for tier in tiers if isinstance(tiers, list) else []:
        given.extend(tier if isinstance(tier, list) else [tier])
    return _once(given)


def _web_seeds(root: dict[bytes, Value]) -> Iterator[str]:
    given: list[Value] = []
    for key in (b"url-list", b"httpseeds"):
        value = root.get(key, [])
        given.extend(value if isinstance(value, list) else [value])
    return _once(given)


def _once(given: list[Value]) -> Iterator[str]:
    """What is text and not empty, each once, not more than anybody needs."""
    seen: set[bytes] = set()
    for url in given:
        if isinstance(url, bytes) and url and url not in seen and len(seen) < MAX_TRACKERS:
            seen.add(url)
            yield _shown(url)


def _refuse(message: str, *, position: int | None = None) -> NoReturn:
    raise InvalidSource(message, position=position, hint=_HINT)
