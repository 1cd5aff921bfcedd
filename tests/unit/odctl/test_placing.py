"""Names from outside: nothing leaves the folder, nothing meets another file."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odctl.client.placing import MAX_COMPONENT, open_parent, place

HOSTILE = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.sampled_from(
            ["..", "", "/", "../../etc/passwd", "/etc/passwd", "a/../../b", "A", "a", "a/b", "é", "e\u0301"]
        ),
    ),
    max_size=12,
)


@given(HOSTILE)
def test_places_are_relative_clean_and_different(paths: list[str]) -> None:
    found = place(paths)
    assert len(found) == len(paths)
    keys = [unicodedata.normalize("NFC", unicodedata.normalize("NFC", one).casefold()) for one in found]
    assert len(set(keys)) == len(keys)
    for one in found:
        parts = one.split("/")
        assert not one.startswith("/")
        assert not {"", ".", ".."} & set(parts)
        assert all(len(os.fsencode(part)) <= MAX_COMPONENT for part in parts)
        assert not any(ord(character) < 32 for character in one)
    folders = {unicodedata.normalize("NFC", "/".join(one.split("/")[:depth]).casefold()) for one in found
               for depth in range(1, len(one.split("/")))}  # fmt: skip
    assert not folders & set(keys)


def test_names_that_differ_only_in_case_or_normal_form_get_numbers() -> None:
    assert place(["a/X.mkv", "a/x.MKV", "A/x.mkv"]) == ["a/X.mkv", "a/x (2).MKV", "a/x (3).mkv"]
    assert place(["é", "e\u0301"]) == ["é", "e\u0301 (2)"]


def test_a_file_makes_room_for_a_folder_of_its_name() -> None:
    assert place(["a", "a/b"]) == ["a (2)", "a/b"]


def test_long_names_are_cut_and_keep_their_extension() -> None:
    first, second = place(["x" * 300 + ".mkv", "x" * 301 + ".mkv"])
    assert first != second
    assert first.endswith(".mkv")
    assert len(os.fsencode(first)) <= MAX_COMPONENT


def test_partial_files_of_others_are_not_met() -> None:
    found = place(["a", "a.part", "a.part.meta"])
    assert not any(one.endswith((".part", ".part.meta")) for one in found)
    assert len(set(found)) == 3


def test_flat_drops_folders() -> None:
    assert place(["a/x", "b/x"], flat=True) == ["x", "x (2)"]


def test_no_symlink_is_followed_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to(outside)
    with pytest.raises(OSError, match="a"), open_parent(str(root), "a/b"):
        raise AssertionError("opened")
    with open_parent(str(root), "c/d/e") as (descriptor, name):
        assert name == "e"
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
    assert (root / "c/d/e").exists()
    assert not list(outside.iterdir())
