"""The filter language: what it understands, and where it says that it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.domain.errors import InvalidFilter
from oddaemon.domain.query import (
    CACHE_SORT_FIELDS,
    JOB_FILTER_FIELDS,
    MAX_ALTERNATIVES,
    MAX_LENGTH,
    MAX_TERMS,
    SortKey,
    Term,
    alternatives,
    parse_filter,
    parse_sort,
)


def test_terms_stand_where_they_stand() -> None:
    assert parse_filter("  state=active   user=ann ") == (
        Term(field="state", value="active", position=2),
        Term(field="user", value="ann", position=17),
    )
    assert parse_filter("") == parse_filter(" \t\n") == ()


def test_fields_are_read_in_any_case() -> None:
    assert parse_filter("State=queued")[0].field == "state"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("name=a,b", ("a", "b")),
        ("name=a,b,a", ("a", "b")),
        ('name="a b"', ("a b",)),
        ("name='a b,c'", ("a b,c",)),
        ('name="a, b",c', ("a, b", "c")),
        (r"name=a\,b", ("a,b",)),
        (r"name=a\ b", ("a b",)),
        (r"name=a\\b", (r"a\b",)),
        (r'name="say \"hi\""', ('say "hi"',)),
        (r"name='a\b'", (r"a\b",)),
        ("name=it's", ("it's",)),
        ("name=a=b", ("a=b",)),
        ("name=日本,🎬", ("日本", "🎬")),
        ("name=a\\", ("a\\",)),
        ("name=a,", ("a", "")),
    ],
)
def test_values(text: str, values: tuple[str, ...]) -> None:
    (term,) = parse_filter(text)
    assert alternatives(term) == values


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("state", 0),
        ("id=1 linux", 5),
        ("state!=active", 5),
        ("id=1 size>5", 9),
        ("name~x", 4),
        ("name==x", 4),
        ("id=1 colour=red", 5),
        ("id=1 name=", 10),
        ('id=1 name="open', 10),
        ("=x", 0),
        ("(state=active)", 0),
    ],
)
def test_errors_point_at_the_column(text: str, position: int) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_filter(text)
    assert caught.value.position == position
    assert caught.value.field == "filter"


def test_an_unknown_field_is_answered_with_the_nearest() -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_filter("stat=active")
    assert "'stat'" in caught.value.message
    assert "did you mean state?" in caught.value.hint
    assert all(field in caught.value.hint for field in JOB_FILTER_FIELDS)
    with pytest.raises(InvalidFilter) as caught:
        parse_filter("zzz=1", ("key", "name"))
    assert caught.value.hint == "fields: key, name"


def test_what_is_shown_of_a_field_is_short_and_harmless() -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_sort("\x1b[31m" + "x" * 500)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 100


def test_limits() -> None:
    assert len(parse_filter("id=1 " * MAX_TERMS)) == MAX_TERMS
    for text in ("id=1 " * (MAX_TERMS + 1), "name=" + "x" * MAX_LENGTH):
        with pytest.raises(InvalidFilter):
            parse_filter(text)
    (term,) = parse_filter("id=" + ",".join(str(number) for number in range(MAX_ALTERNATIVES + 1)))
    with pytest.raises(InvalidFilter):
        alternatives(term)


def test_sort_orders() -> None:
    assert parse_sort("!size, name,!name") == (SortKey(field="size", descending=True), SortKey(field="name"))
    assert parse_sort("") == parse_sort("  ") == ()


def test_names_of_the_json_interface_are_understood() -> None:
    assert parse_sort("!created_at,eta_s") == (SortKey(field="created", descending=True), SortKey(field="eta"))
    assert [term.field for term in parse_filter("tags=tv cache_key=k")] == ["tag", "key"]
    assert parse_sort("last_used_at", CACHE_SORT_FIELDS) == (SortKey(field="last_used"),)
    with pytest.raises(InvalidFilter, match="eta_s"):
        parse_sort("eta_s", CACHE_SORT_FIELDS)


@pytest.mark.parametrize(("text", "position"), [("nme", 0), ("name,,size", 5), ("name, !sise", 6), (",", 0), ("!", 0)])
def test_sort_errors_point_at_the_column(text: str, position: int) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_sort(text)
    assert caught.value.position == position
    assert caught.value.field == "sort"


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_filter, parse_sort):
        column = 0
        try:
            parse(text)
        except InvalidFilter as error:
            column = error.position
        assert 0 <= column <= len(text)


@given(st.lists(st.text(min_size=1).filter(lambda value: "\\" not in value), min_size=1, max_size=5, unique=True))
def test_a_quoted_value_comes_back(values: list[str]) -> None:
    quoted = ",".join('"' + value.replace('"', '\\"') + '"' for value in values)
    (term,) = parse_filter("name=" + quoted)
    assert alternatives(term) == tuple(values)
