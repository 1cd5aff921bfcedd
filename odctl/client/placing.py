"""Where a file of a job goes below a folder of the user's: names from outside made harmless. Standard library only."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

MAX_COMPONENT = 240
"""Bytes of one name: 255 is the limit of common file systems, and partial files have a longer name."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\u200e\u200f\u061c]")
PART, META = ".part", ".part.meta"


def place(paths: Sequence[str], *, flat: bool = False) -> list[str]:
    """A relative path for each of `paths`, in their order: without `..`, roots, controls or over-long parts, and no two
    that a file system which ignores case or normal form would take for one, nor a file where another needs a folder."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    wanted = [_parts(path)[-1:] if flat else _parts(path) for path in paths]
    for parts in wanted:
        for depth in range(1, len(parts)):
            key = _key("/".join(parts[:depth]))
            folders.setdefault(key, "/".join(parts[:depth]))
    found = []
    for parts in wanted:
        # folders that are one folder to the file system are spelt as the first of them
        parent = folders.get(_key("/".join(parts[:-1])), "")
        name, number = parts[-1], 2
        while _key(_join(parent, name)) in taken or _key(_join(parent, name)) in folders or _reserved(name):
            name = _numbered(parts[-1], number)
            number += 1
        taken.add(_key(_join(parent, name)))
        found.append(_join(parent, name))
    return found


def _join(parent: str, name: str) -> str:
    return f"{parent}/{name}" if parent else name


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _reserved(name: str) -> bool:
    """Would meet another file's partial state."""
    return name.endswith((PART, META))


def _parts(path: str) -> list[str]:
    parts = [_component(part) for part in path.split("/") if part not in ("", ".")]
    return parts or ["file"]


def _component(text: str) -> str:
    name = _CONTROL.sub("_", text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    if name in ("", ".", ".."):
        name = "_"
    return _shortened(name)


def _shortened(name: str) -> str:
    raw = name.encode()
    if len(raw) <= MAX_COMPONENT:
        return name
    stem, extension = os.path.splitext(name)
    if len(extension.encode()) > 20:
        stem, extension = name, ""
    mark = "~" + hashlib.sha256(raw).hexdigest()[:8] + extension
    return stem.encode()[: MAX_COMPONENT - len(mark.encode())].decode(errors="ignore") + mark


def _numbered(name: str, number: int) -> str:
    if _reserved(name):
        return _shortened(name + "_") if number == 2 else _shortened(f"{name}_{number - 1}")
    stem, extension = os.path.splitext(name)
    return _shortened(f"{stem} ({number}){extension}")


@contextmanager
def open_parent(root: str, relative: str) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder that `relative` goes into, made if need be, and the last name. No symlink below `root`
    is followed: nothing is ever written outside. Raises OSError."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *folders, name = relative.split("/")
        for folder in folders:
            with suppress(FileExistsError):
                os.mkdir(folder, dir_fd=descriptor)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            below = os.open(folder, flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor, name
    finally:
        os.close(descriptor)
