"""An entry's files, made of what a source or an engine calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from oddaemon.domain.cache import EntryFile
from oddaemon.domain.files import SafeRelativePath, content_type_of, display_path
from oddaemon.domain.types import Bytes
from oddaemon.ports.engine import FillFile


def distinct_paths(files: Sequence[EntryFile]) -> list[EntryFile]:
    """Names that differ only in case or in normal form stay as they are; equal names get their index added."""
    seen: set[str] = set()
    result: list[EntryFile] = []
    for file in files:
        path = file.path
        if path in seen:
            stem, dot, extension = path.rpartition(".")
            path = f"{stem} ({file.index}).{extension}" if dot and "/" not in extension else f"{path} ({file.index})"
        seen.add(path)
        result.append(replace(file, path=path))
    return result


def reported_files(reported: Sequence[FillFile], known: Mapping[int, EntryFile]) -> list[EntryFile]:
    """An engine's files for the store; `known` are those that it has. Raises InvalidArgument as `entry_file` does."""
    return distinct_paths([entry_file(file, known.get(file.index)) for file in reported])


def entry_file(file: FillFile, known: EntryFile | None) -> EntryFile:
    """An engine's file for the store. Its path is for people only; its place on disk has to be a safe relative path.
    Raises InvalidArgument for an engine that names an unsafe place."""
    disk_path = str(SafeRelativePath.parse(file.disk_path)) if file.disk_path else ""
    path = display_path(file.path)
    if known is not None and known.disk_path == disk_path and known.ready:
        return replace(known, failed=file.failed)
    return EntryFile(
        index=file.index,
        path=path,
        disk_path=disk_path,
        size=file.size,
        content_type=file.content_type or content_type_of(path),
        failed=file.failed,
    )


def total_size(files: Sequence[EntryFile]) -> Bytes:
    return Bytes(sum(file.size or 0 for file in files))
