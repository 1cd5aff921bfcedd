"""The files of a job as folders: one level at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oddaemon.domain.cache import EntryFile
from oddaemon.domain.errors import NotFound
from oddaemon.domain.types import Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderItem:
    """A folder, or a file."""

    name: str
    path: str
    """From the top."""
    size: Bytes | None
    """Of a folder: of all that is in it, as soon as all of it is known."""
    files: int
    """All that are in the folder. 1 of a file."""
    file: EntryFile | None = None


def level(files: Sequence[EntryFile], path: str) -> list[FolderItem]:
    """What lies in the folder: folders first, each by name. An empty path is the top. Raises NotFound for what is no
    folder."""
    folder = path.strip("/")
    prefix = f"{folder}/" if folder else ""
    inside = [file for file in files if file.path.startswith(prefix)]
    if prefix and not inside:
        raise NotFound(f"there is no folder {folder[:200]!r}")
    below: dict[str, list[EntryFile]] = {}
    items: list[FolderItem] = []
    for file in inside:
        name, slash, _ = file.path[len(prefix) :].partition("/")
        if slash:
            below.setdefault(name, []).append(file)
        else:
            items.append(FolderItem(name=name, path=file.path, size=file.size, files=1, file=file))
    folders = [
        FolderItem(name=name, path=prefix + name, size=_sum([file.size for file in found]), files=len(found))
        for name, found in below.items()
    ]
    return [*sorted(folders, key=_order), *sorted(items, key=_order)]


def _order(item: FolderItem) -> tuple[str, str]:
    return item.name.casefold(), item.name


def _sum(sizes: Sequence[Bytes | None]) -> Bytes | None:
    known = [size for size in sizes if size is not None]
    return Bytes(sum(known)) if len(known) == len(sizes) else None
