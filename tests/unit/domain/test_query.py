"""Sort orders: what they understand, and where they say that they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.domain.errors import InvalidFilter
from oddaemon.domain.query import CACHE_SORT_FIELDS, SortKey, parse_sort
from oddaemon.domain.words import MAX_LENGTH


def test_what_is_shown_of_a_field_is_short_and_harmless() -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_sort("\x1b[31m" + "x" * 500)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 100


def test_sort_orders() -> None:
    assert parse_sort("!size, name,!name") == (SortKey(field="size", descending=True), SortKey(field="name"))
    assert parse_sort("") == parse_sort("  ") == ()


def test_names_of_the_json_interface_are_understood() -> None:
    assert parse_sort("!created_at,eta_s") == (SortKey(field="created", descending=True), SortKey(field="eta"))
    assert parse_sort("last_used_at", CACHE_SORT_FIELDS) == (SortKey(field="last_used"),)
    with pytest.raises(InvalidFilter, match="eta_s"):
        parse_sort("eta_s", CACHE_SORT_FIELDS)


@pytest.mark.parametrize(("text", "position"), [("nme", 0), ("name,,size", 5), ("name, !sise", 6), (",", 0), ("!", 0)])
def test_sort_errors_point_at_the_column(text: str, position: int) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_sort(text)
    assert caught.value.position == position
    assert caught.value.field == "sort"


@pytest.mark.parametrize("text", ["-size", "name,-size", "-size_", "+size"])
def test_whoever_writes_downwards_otherwise_is_told_how(text: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_sort(text)
    assert ("'!size'" in caught.value.hint) == (not text.endswith("_"))


def test_an_order_is_not_too_long() -> None:
    with pytest.raises(InvalidFilter):
        parse_sort("x" * (MAX_LENGTH + 1))


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    column = 0
    try:
        parse_sort(text)
    except InvalidFilter as error:
        column = error.position
    assert 0 <= column <= len(text)
