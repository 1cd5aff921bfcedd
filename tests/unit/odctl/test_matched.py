"""What of a name stands out under a filter."""

from __future__ import annotations

import pytest

from odctl.dashboard import matched
from odctl.dashboard.matched import needles, pieces
from oddaemon.domain.filter_fields import JOBS


@pytest.mark.parametrize(("filter", "expected"), [
    ("", ()),
    ("linux", ("linux",)),
    ("LinuX name~S02E", ("linux", "s02e")),
    ('name~"two words" state=active', ("two words",)),
    ('"two words"', ("two words",)),
    ("!linux (bsd | mac)", ("bsd", "mac")),
    ("name~/re+/ rate_down<100k active problems", ()),
    ("!name~x", ()),
    ("paused | queued | completed | cancelled", ()),
])  # fmt: skip
def test_the_parts_of_names_that_a_filter_asks_for(filter: str, expected: tuple[str, ...]) -> None:
    assert needles(filter) == expected


def test_the_words_of_the_filter_language_are_known() -> None:
    assert frozenset(JOBS.shortcuts) == matched._WORDS


@pytest.mark.parametrize("wanted", [(), ("x",), ("a", "aa"), ("name", "am"), ("",)[:0], ("é",)])
@pytest.mark.parametrize("text", ["", "A name aAa", "İstanbul name", "名前 name", "x"])
def test_nothing_is_lost_or_added(text: str, wanted: tuple[str, ...]) -> None:
    told = list(pieces(text, wanted, "name", "match"))
    assert "".join(part for part, _ in told) == text
    assert all(part.lower() in wanted for part, style in told if style == "match")


def test_every_place_is_found_in_any_case() -> None:
    assert [part for part, style in pieces("Linux linux LIN", ("lin",), "name", "match") if style == "match"] == [
        "Lin", "lin", "LIN",
    ]  # fmt: skip
