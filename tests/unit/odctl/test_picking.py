"""Picking files: what is shown, what an answer means, and how it is asked again."""

from __future__ import annotations

import io

import pytest

from odctl.cli.picking import ask_for_files, pick_files, tree_lines
from odctl.client.errors import OdctlError
from odctl.client.models import File
from odctl.selecting import compact

PATHS = ("S01/E01.mkv", "S01/E02.mkv", "S01/subs/E01.srt", "readme.txt", "\x1b[31mred.mkv")


def file(index: int, path: str) -> File:
    return File(
        job=0, index=index, path=path, size=index * 1000, done=0, progress=0.0, selected=True, priority=0,
        content_type=None, sha256=None, ready=False, error=None,
    )  # fmt: skip


FILES = [file(index, path) for index, path in enumerate(PATHS, start=1)]


def answered(*answers: str) -> tuple[str | None, str]:
    """The selection, and everything that was said."""
    err, left = io.StringIO(), iter([f"{answer}\n" for answer in answers])
    wanted = ask_for_files(FILES, err, lambda: next(left, ""))
    return None if wanted is None else compact(frozenset(wanted), FILES), err.getvalue()


@pytest.mark.parametrize(
    ("answer", "selection"),
    [
        ("", "all"), ("all", "all"), ("1,3-4", "1,3-4"), ("4, 3 ,1", "1,3-4"), ("*.mkv", "1-2,5"), ("s01", "1-3"),
        ("largest", "5"), ("E01.*", "1,3"), ("1-5", "all"), ("S01/subs,4", "3-4"),
    ],
)  # fmt: skip
def test_an_answer_becomes_numbers(answer: str, selection: str) -> None:
    assert answered(answer)[0] == selection


def test_an_answer_that_names_nothing_is_asked_again() -> None:
    selection, said = answered("9", "*.iso", ",", "2")
    assert selection == "2"
    assert "'9' names no file" in said
    assert "'*.iso' names no file" in said
    assert said.count("which (") == 4


@pytest.mark.parametrize("answers", [(), ("q",), ("9", "Q")])
def test_leaving_adds_nothing(answers: tuple[str, ...]) -> None:
    assert answered(*answers)[0] is None


def test_one_file_is_not_asked_about() -> None:
    err = io.StringIO()
    assert pick_files(FILES[:1], "S01", err, what_if_left="nothing was added") == "all"
    assert err.getvalue() == ""


def test_leaving_is_told_with_what_came_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("q\n"))
    with pytest.raises(OdctlError, match="nothing was added"):
        pick_files(FILES, "S01", io.StringIO(), what_if_left="nothing was added")


def test_the_tree_goes_by_folders_and_steers_no_terminal() -> None:
    lines = list(tree_lines(FILES))
    assert "\x1b" not in "".join(lines)
    assert [line.split()[0] for line in lines if not line.endswith("/")] == ["5", "1", "2", "3", "4"]
    assert [line.strip() for line in lines if line.endswith("/")] == ["S01/", "subs/"]


def test_files_that_nobody_was_shown_stay_wanted() -> None:
    assert compact(frozenset({1, 3, 5}), FILES, total=9) == "1,3,5-9"
    assert compact(frozenset({1, 3}), FILES, total=9) == "1,3,6-9"
    assert compact(frozenset({1, 2, 3, 4, 5}), FILES, total=9) == "all"
