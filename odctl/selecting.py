"""Which files are meant: by numbers and ranges, globs, folders, `all` and `largest`. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

from odctl.client.errors import UsageError
from odctl.client.models import File

ALL, LARGEST = "all", "largest"
_RANGE = re.compile(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?", re.ASCII)


def chosen(spec: str, files: Sequence[File]) -> frozenset[int]:
    """The indices that the answer names. Raises UsageError for a part that names no file."""
    known = {file.index for file in files}
    found: set[int] = set()
    for part in (piece.strip() for piece in spec.split(",")):
        if not part:
            continue
        numbers = _RANGE.fullmatch(part)
        if part.lower() == ALL:
            named = known
        elif part.lower() == LARGEST:
            named = {max(files, key=lambda file: file.size or 0).index}
        elif numbers is not None:
            first, last = int(numbers[1]), int(numbers[2] or numbers[1])
            named = {index for index in known if first <= index <= last}
        else:
            named = {file.index for file in files if matches(file.path, part) or _is_below(file.path, part)}
        if not named:
            raise UsageError(f"{part!r} names no file here")
        found |= named
    if not found:
        raise UsageError("the answer names no file")
    return frozenset(found)


def matches(path: str, glob: str) -> bool:
    """The glob fits the path or its last part; upper and lower case are the same."""
    pattern, whole = glob.lower(), path.lower()
    return fnmatch.fnmatchcase(whole, pattern) or fnmatch.fnmatchcase(whole.rsplit("/", 1)[-1], pattern)


def _is_below(path: str, folder: str) -> bool:
    return path.lower().startswith(folder.lower().rstrip("/") + "/")


def compact(wanted: frozenset[int], files: Sequence[File], total: int = 0) -> str:
    """Numbers and ranges, in order; `all` for all. Where `files` are the first of `total`, nobody could say anything
    against the others: they are wanted, too."""
    if wanted >= {file.index for file in files}:
        return ALL
    runs: list[list[int]] = []
    for index in [*sorted(wanted), *range(len(files) + 1, total + 1)]:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
