"""Selections: the forms that people type, and what holds for all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.domain.cache import EntryFile
from oddaemon.domain.errors import InvalidSelection
from oddaemon.domain.selection import compact, edit, normalise, select
from oddaemon.domain.types import Bytes


def files_of(*paths: str, sizes: list[int | None] | None = None) -> list[EntryFile]:
    known = sizes or list(range(100, 100 + len(paths)))
    return [
        EntryFile(index=index, path=path, disk_path=path, size=None if size is None else Bytes(size))
        for index, (path, size) in enumerate(zip(paths, known, strict=True), 1)
    ]


SHOW = files_of("Show/S01/E01.mkv", "Show/S01/E02.MKV", "Show/S01/E01.srt", "Show/sample/sample.mkv", "Show/a, b.nfo",
                sizes=[500, 900, 1, 20, None])  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "chosen"),
    [
        ("", {1, 2, 3, 4, 5}), ("all", {1, 2, 3, 4, 5}), ("ALL", {1, 2, 3, 4, 5}), ("none", set()), ("largest", {2}),
        ("1", {1}), ("1,3-4", {1, 3, 4}), (" 1 , 3 - 4 ", {1, 3, 4}), ("4-99", {4, 5}), ("1,all", {1, 2, 3, 4, 5}),
        ("none,2", {2}), ("*.mkv", {1, 2, 4}), ("*.MKV", {1, 2, 4}), ("Show/S01/*", {1, 2, 3}), ("show/s01", {1, 2, 3}),
        ("S01/*", set()), ("e01.*", {1, 3}), ("E01.srt", {3}), ("*.srt,largest", {2, 3}), ("show/sample/", {4}),
        (r"a\, b.nfo", {5}), ("E0[12].mkv", {1, 2}), ("e0?.mkv", {1, 2}),
    ],
)  # fmt: skip
def test_what_is_chosen(spec: str, chosen: set[int]) -> None:
    if not chosen and spec != "none":
        with pytest.raises(InvalidSelection):
            select(spec, SHOW)
    else:
        assert select(spec, SHOW) == chosen
        assert select(normalise(spec), SHOW) == chosen


@pytest.mark.parametrize(
    "spec",
    [
        "0",
        "5-2",
        "-1",
        "7",
        "6-9",
        "*.iso",
        "nothing",
        ",",
        "1,,x",
        "a\nb",
        "\0",
        "9" * 30,
        "x" * 70_000,
        "[",
        "1,2,99",
    ],
)
def test_refused_with_the_reason(spec: str) -> None:
    with pytest.raises(InvalidSelection) as raised:
        select(spec, SHOW)
    assert raised.value.field == "files"
    assert raised.value.hint


def test_names_with_brackets_and_digits_can_be_named() -> None:
    odd = files_of("[Group] Show - 01.mkv", "2024", "x")
    assert select("[Group] Show - 01.mkv", odd) == {1}
    assert select("2024", odd) == {2}
    assert select("1", odd) == {1}


def test_largest_takes_the_first_of_equals_and_passes_over_unknown_sizes() -> None:
    assert select("largest", files_of("a", "b", "c", sizes=[None, 5, 5])) == {2}
    with pytest.raises(InvalidSelection):
        select("largest", [])


def test_looking_for_names_is_bounded_and_numbers_are_not() -> None:
    many = files_of(*(f"Episode {number}.mkv" for number in range(1, 10_001)))
    assert len(select(",".join(str(number) for number in range(1, 10_001)), many)) == 10_000
    assert len(select("1-10000,*.mkv,episode 7.mkv", many)) == 10_000
    for endless in ((f"*{n}*" for n in range(5000)), (f"{n}-9999" for n in range(1, 5000))):
        with pytest.raises(InvalidSelection, match="too many names"):
            select(",".join(endless), many)


def test_all_of_nothing_is_nothing() -> None:
    assert select("all", []) == frozenset()


@pytest.mark.parametrize(
    ("spec", "change", "after"),
    [
        ("all", "-*.mkv", "3,5"), ("1-2", "+3", "1-3"), ("1-2", "-1", "2"), ("none", "+all", "all"),
        ("1", "-1", "none"),
        ("1", "4-5", "4-5"), ("1", "*.srt", "*.srt"), ("2-4", "+1,5", "all"), ("1", "none", "none"),
    ],
)  # fmt: skip
def test_edits(spec: str, change: str, after: str) -> None:
    assert edit(spec, SHOW, change) == after


@pytest.mark.parametrize("change", ["+", "-", "+ ", "+99", "-*.iso", "0", "99"])
def test_edits_that_are_refused(change: str) -> None:
    with pytest.raises(InvalidSelection):
        edit("all", SHOW, change)


def test_edits_before_the_files_are_known() -> None:
    assert edit("1-2", [], "+*.srt") == "1-2,*.srt"
    assert edit("none", [], "+3") == "3"
    assert edit("1", [], "largest") == "largest"
    with pytest.raises(InvalidSelection):
        edit("1-2", [], "-1")


part = st.one_of(
    st.integers(1, 30).map(str),
    st.tuples(st.integers(1, 30), st.integers(0, 10)).map(lambda pair: f"{pair[0]}-{pair[0] + pair[1]}"),
    st.sampled_from(["*", "f1*", "all", "none", "largest", "F2"]),
)
twenty = files_of(*(f"f{number}" for number in range(1, 21)))


@given(st.lists(part, min_size=1, max_size=8))
def test_normal_form_is_stable_and_means_the_same(parts: list[str]) -> None:
    spec = ",".join(parts)
    normal = normalise(spec)
    assert normalise(normal) == normal
    try:
        chosen = select(spec, twenty)
    except InvalidSelection:
        with pytest.raises(InvalidSelection):
            select(normal, twenty)
        return
    assert chosen == select(normal, twenty) == select(compact(chosen, twenty), twenty)
    assert chosen <= {file.index for file in twenty}


@given(st.sets(st.integers(1, 20)), st.sets(st.integers(1, 20), min_size=1))
def test_adding_and_taking_are_set_operations(before: set[int], change: set[int]) -> None:
    spec, named = compact(before, twenty), ",".join(map(str, change))
    assert select(edit(spec, twenty, f"+{named}"), twenty) == before | change
    assert select(edit(spec, twenty, f"-{named}"), twenty) == before - change


@given(st.text(max_size=60))
def test_nothing_but_invalid_selection_is_raised(spec: str) -> None:
    for call in (lambda: select(spec, SHOW), lambda: edit("1-2", SHOW, spec), lambda: edit("all", [], spec)):
        try:
            call()
        except InvalidSelection as error:
            assert error.message.isprintable()  # noqa: PT017 - most texts are fine
