"""Files as folders."""

from __future__ import annotations

import pytest

from oddaemon.domain.cache import EntryFile
from oddaemon.domain.errors import NotFound
from oddaemon.domain.types import Bytes
from oddaemon.services.folders import level


def files(*paths: str, size: int | None = 10) -> list[EntryFile]:
    known = None if size is None else Bytes(size)
    return [EntryFile(index=n, path=path, disk_path=path, size=known) for n, path in enumerate(paths, 1)]


SHOW = files("show/S02/E01.mkv", "show/S01/E01.mkv", "show/S01/E02.mkv", "show/b.nfo", "show/A.nfo", "showreel.mp4")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("", [("show", 50, 5), ("showreel.mp4", 10, 1)]),
        ("show", [("S01", 20, 2), ("S02", 10, 1), ("A.nfo", 10, 1), ("b.nfo", 10, 1)]),
        ("/show/S01/", [("E01.mkv", 10, 1), ("E02.mkv", 10, 1)]),
    ],
)
def test_folders_come_first_with_what_is_in_them(path: str, names: list[tuple[str, int, int]]) -> None:
    assert [(item.name, item.size, item.files) for item in level(SHOW, path)] == names


def test_a_path_leads_on() -> None:
    [folder] = level(SHOW[:3], "")
    assert [item.path for item in level(SHOW, folder.path)][:2] == ["show/S01", "show/S02"]


def test_the_size_of_a_folder_is_told_when_all_of_it_is_known() -> None:
    [folder] = level([*files("a/b"), *files("a/c", size=None)], "")
    assert (folder.size, folder.files) == (None, 2)


@pytest.mark.parametrize("path", ["sho", "show/b.nfo", "..", "show/S03"])
def test_what_is_no_folder_is_not_found(path: str) -> None:
    with pytest.raises(NotFound):
        level(SHOW, path)
    assert level([], "") == []
