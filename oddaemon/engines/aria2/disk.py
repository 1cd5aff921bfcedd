"""What lies in a replica's directory: names on disk, what an earlier attempt left, clearing it. Blocking.

Names on disk are short, plain and ours; what the origin calls a file is only ever shown. So names of 300 bytes, names
that differ only in case, `CON`, line ends and `..` mean nothing here.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from oddaemon.domain.torrent import TorrentInfo
from oddaemon.engines.aria2.control import is_whole

_EXTENSION = re.compile(r"\.([0-9A-Za-z]{1,8})$")
_CONTROL = ".aria2"
"""aria2 keeps beside a file which parts of it are there, from before its first byte until after its last."""


def disk_name_of_url(name: str | None) -> str:
    """Follows from the source alone, so that it is the same in every attempt."""
    return "file" + _extension(name or "")


def disk_names_of_torrent(info: TorrentInfo) -> dict[int, str]:
    return {file.index: f"{file.index:05d}{_extension(file.path)}" for file in info.files}


def _extension(name: str) -> str:
    found = _EXTENSION.search(name)
    extension = found[0].lower() if found else ""
    return "" if extension == _CONTROL else extension


def size_of(path: Path) -> int | None:
    """None: there is no such regular file."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def sizes_of(directory: Path, names: Mapping[int, str]) -> dict[int, int]:
    """Of those that exist."""
    found = {index: size_of(directory / name) for index, name in names.items()}
    return {index: size for index, size in found.items() if size is not None}


def has_control_file(directory: Path) -> bool:
    with os.scandir(directory) as entries:
        return any(entry.name.endswith(_CONTROL) for entry in entries)


def control_is_whole(directory: Path) -> bool:
    """Whether there is a control file, and every one can be read to its end."""
    with os.scandir(directory) as entries:
        paths = [Path(entry.path) for entry in entries if entry.name.endswith(_CONTROL)]
    return bool(paths) and all(is_whole(path.read_bytes()) for path in paths)


def read_control(file: Path) -> bytes | None:
    """The control file of `file`, if it is there and whole."""
    try:
        data = _control_of(file).read_bytes()
    except OSError:
        return None
    return data if is_whole(data) else None


def write_control(file: Path, data: bytes) -> None:
    """Whole or not at all."""
    new = file.with_name(file.name + ".new")
    try:
        new.write_bytes(data)
        new.replace(_control_of(file))
    finally:
        new.unlink(missing_ok=True)


def _control_of(file: Path) -> Path:
    return file.with_name(file.name + _CONTROL)


def has_newer_bytes(directory: Path, names: Iterable[str]) -> bool:
    """Whether files were written after aria2 last noted what is there: it was killed, and more is there than noted."""
    with os.scandir(directory) as entries:
        noted = [e.stat(follow_symlinks=False).st_mtime_ns for e in entries if e.name.endswith(_CONTROL)]
    written = [(directory / name).lstat().st_mtime_ns for name in names]
    return bool(noted and written) and max(written) > max(noted)


def drop_control_files(directory: Path) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(_CONTROL) and not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)


def is_empty(directory: Path) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is None


def clear(directory: Path) -> None:
    """Removes everything in the directory, following no link, and keeps the directory."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)


def make_empty_files(directory: Path, names: Iterable[str]) -> None:
    """aria2 may leave out files of no bytes."""
    for name in names:
        os.close(os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
