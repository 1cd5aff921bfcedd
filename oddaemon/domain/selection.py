"""Which files of an entry a job wants: `all`, `none`, `largest`, `1,3-5`, `*.mkv`, and these joined with
commas.

A part that is neither a keyword nor a number is a name: it matches a file whose path or base name is the
same, or lies in the folder of that name, or fits it as a glob; upper and lower case are the same, `*` crosses
slashes, and a comma that belongs to a name is written `\\,`. No I/O.
"""

from __future__ import annotations

import fnmatch
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence

from oddaemon.domain.cache import EntryFile
from oddaemon.domain.errors import InvalidSelection

ALL, NONE, LARGEST = "all", "none", "largest"
MAX_LENGTH = 65_536
"""Characters."""
MAX_PARTS = 10_000
MAX_LOOKS = 400_000
"""Names times files: half a second. The last one may go beyond."""
_MAX_INDEX_DIGITS = 9
_RANGE = re.compile(r"(\d+)(?:\s*-\s*(\d+))?", re.ASCII)
_SPLIT = re.compile(r"(?<!\\),")
_HINT = "give all, none, largest, numbers as in 1,3-5, or names and globs as in *.mkv"


def normalise(spec: str) -> str:
    """The selection in the form that is stored: parts trimmed, keywords in lower case, nothing twice; empty
    is `all`.

    Raises InvalidSelection naming the part that cannot be read. Whether the files exist is `select`'s to say.
    """
    if len(spec) > MAX_LENGTH:
        raise _invalid(f"the selection is longer than {MAX_LENGTH} characters")
    parts = [_normal_part(part) for piece in _SPLIT.split(spec) if (part := piece.strip())]
    if len(parts) > MAX_PARTS:
        raise _invalid(f"the selection has more than {MAX_PARTS} parts")
    if not parts:
        if spec.strip():
            raise _invalid("the selection holds nothing but commas")
        return ALL
    if ALL in parts:
        return ALL
    unique = list(dict.fromkeys(parts))
    return ",".join([part for part in unique if part != NONE] or [NONE])


def select(spec: str, files: Sequence[EntryFile]) -> frozenset[int]:
    """The indices of the files that `spec` names. Raises InvalidSelection for a number, a range or a name
    with no file behind it, and for more names than can be looked for among so many files."""
    known = _Known(files)
    chosen: set[int] = set()
    for part in _SPLIT.split(normalise(spec)):
        chosen |= _select_part(part, known)
    return frozenset(chosen)


def edit(spec: str, files: Sequence[EntryFile], change: str) -> str:
    """The selection after `change`: `+SPEC` adds to it, `-SPEC` takes from it, anything else replaces it.

    With files that are known the answer names them by number (or is `all` or `none`). Raises
    InvalidSelection, also for `-SPEC` while the files are not known.
    """
    change = change.strip()
    if not change.startswith(("+", "-")):
        replaced = normalise(change)
        if files:
            select(replaced, files)
        return replaced
    sign, changed = change[0], change[1:]
    if not changed.strip():
        raise _invalid(f"nothing follows the {sign}")
    if not files:
        if sign == "-":
            raise _invalid("the files are not known yet, so none can be taken away")
        return normalise(changed if spec == NONE else f"{spec or ALL},{changed}")
    before, other = select(spec, files), select(changed, files)
    return compact(before | other if sign == "+" else before - other, files)


def compact(chosen: Iterable[int], files: Sequence[EntryFile]) -> str:
    """The shortest form of a set of indices: `all`, `none`, or numbers and ranges in order."""
    wanted = sorted(set(chosen))
    if not wanted:
        return NONE
    if {file.index for file in files} <= set(wanted):
        return ALL
    runs: list[list[int]] = []
    for index in wanted:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a path fits one name or glob."""
    plain = pattern.replace("\\,", ",").casefold()
    folder = plain.rstrip("/") + "/"
    # fnmatch's expression keeps to linear time on repeated stars (Python issue 40480)
    glob = re.compile(fnmatch.translate(plain))

    def fits(path: str) -> bool:
        folded = path.casefold()
        base = folded.rpartition("/")[2]
        return (
            folded == plain
            or base == plain
            or folded.startswith(folder)
            or glob.match(folded) is not None
            or glob.match(base) is not None
        )

    return fits


def _normal_part(part: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in part):
        raise _invalid("the selection has a control character")
    if part.lower() in {ALL, NONE, LARGEST}:
        return part.lower()
    match = _RANGE.fullmatch(part)
    if match is None:
        if part.startswith(("+", "-")) and part[1:].strip().isdecimal():
            raise _invalid(f"{part!r} is neither a file nor a range")
        return part
    first, last = match.group(1), match.group(2) or match.group(1)
    if max(len(first), len(last)) > _MAX_INDEX_DIGITS:
        raise _invalid(f"{part[:40]!r} is too large a number for a file")
    low, high = int(first), int(last)
    if low < 1:
        raise _invalid("files are counted from 1")
    if high < low:
        raise _invalid(f"the range {part!r} ends before it begins")
    return str(low) if low == high else f"{low}-{high}"


class _Known:
    """The files, ready to be asked for many parts."""

    def __init__(self, files: Sequence[EntryFile]) -> None:
        self.files = files
        self._indices = sorted(file.index for file in files)
        self._looks = MAX_LOOKS

    def between(self, low: int, high: int) -> set[int]:
        found = self._indices[bisect_left(self._indices, low) : bisect_right(self._indices, high)]
        self._count(len(found) // 16)
        return set(found)

    def named(self, part: str) -> set[int]:
        self._count(len(self.files))
        fits = matcher(part)
        return {file.index for file in self.files if fits(file.path)}

    def _count(self, looks: int) -> None:
        if self._looks < 0:
            raise _invalid(f"these are too many names and ranges to look for among {len(self.files)} files")
        self._looks -= looks


def _select_part(part: str, known: _Known) -> set[int]:
    files = known.files
    if part == NONE:
        return set()
    if part == ALL:
        return {file.index for file in files}
    if part == LARGEST:
        if not files:
            raise _invalid("there are no files to choose the largest of")
        return {max(files, key=lambda file: (-1 if file.size is None else file.size, -file.index)).index}
    if match := _RANGE.fullmatch(part):
        found = known.between(int(match.group(1)), int(match.group(2) or match.group(1)))
        # a file may be called by nothing but digits
        if not found and not (found := known.named(part)):
            raise _invalid(f"there is no file {part}; {_existing(files)}")
        return found
    if not (found := known.named(part)):
        raise _invalid(f"no file matches {part!r}")
    return found


def _existing(files: Sequence[EntryFile]) -> str:
    if not files:
        return "there are no files"
    indices = [file.index for file in files]
    return f"the files are numbered {min(indices)} to {max(indices)}"


def _invalid(message: str) -> InvalidSelection:
    return InvalidSelection(message, field="files", hint=_HINT)
