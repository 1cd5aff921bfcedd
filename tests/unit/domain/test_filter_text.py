"""The filter language: what it understands, and where it says that it does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.domain.errors import InvalidFilter
from oddaemon.domain.filter_fields import CACHE, EVENTS, JOB_FIELDS, JOBS
from oddaemon.domain.filter_match import Has, Known, matcher
from oddaemon.domain.filter_text import MAX_ALTERNATIVES, MAX_DEPTH, MAX_PATTERNS, MAX_TERMS, MAX_TEXTS, parse_filter
from oddaemon.domain.filter_tree import EVERYTHING, Ago, All, Not, Op, Pattern, Some, Term, Value, settled, terms
from oddaemon.domain.patterns import MAX_PATTERN
from oddaemon.domain.words import MAX_LENGTH

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def a(field: str, *values: Value, op: Op = Op.EQ) -> Term:
    return Term(field=field, op=op, values=values)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", EVERYTHING),
        (" \t\n", EVERYTHING),
        ("State=active", a("state", "active")),
        ("state=ACTIVE,paused", a("state", "active", "paused")),
        ("a b", All((a("name", "a", op=Op.HAS), a("name", "b", op=Op.HAS)))),
        ("id=1|id=2 id=3", Some((a("id", 1), All((a("id", 2), a("id", 3)))))),
        ("(id=1 | id=2) id=3", All((Some((a("id", 1), a("id", 2))), a("id", 3)))),
        ("!id=1 ! (id=2)", All((Not(a("id", 1)), Not(a("id", 2))))),
        ("id!=1", Not(a("id", 1))),
        ("!!id=1", Not(Not(a("id", 1)))),
        ("name!~x", Not(a("name", "x", op=Op.HAS))),
        ("size>=1.5MiB", a("size", 3 * 2**19, op=Op.GE)),
        ("size<10G", a("size", 10 * 2**30, op=Op.LT)),
        ("rate_down<=100k/s", a("rate_down", 102400, op=Op.LE)),
        ("eta>2h30m", a("eta", 9000.0, op=Op.GT)),
        ("progress>50% progress<12.5", All((a("progress", 0.5, op=Op.GT), a("progress", 0.125, op=Op.LT)))),
        ("age>2d", a("age", Ago(172_800), op=Op.GT)),
        ("created<2026-01-31", a("created", datetime(2026, 1, 31, tzinfo=UTC), op=Op.LT)),
        ("hit=yes,no", a("hit", True, False)),
        ("node=''", a("node", None)),
        ("error=origin_gone", a("error", "ORIGIN_GONE")),
        ("name~/a b\\/c\\d/ x", All((a("name", Pattern("a b/c\\d"), op=Op.HAS), a("name", "x", op=Op.HAS)))),
        ("name=foo(1)|(name=(2))", Some((a("name", "foo(1)"), a("name", "(2)")))),
        ("'a | b'", a("name", "a | b", op=Op.HAS)),
        ("'big'", a("name", "big", op=Op.HAS)),
        ("Big", a("name", "Big", op=Op.HAS)),
        ("wow! x:y=1", All((a("name", "wow!", op=Op.HAS), a("name", "x:y=1", op=Op.HAS)))),
        ("active", a("state", "active")),
        ("done", a("state", "completed")),
        *((word, a("state", word)) for word in ("active", "queued", "paused", "completed", "failed", "cancelled")),
        ("failed", a("state", "failed")),
        ("mine", a("user", "@me")),
        ("big", a("size", 10 * 2**30, op=Op.GE)),
        ("stalled", Some((a("quiet", 0.0, op=Op.GT), a("reason", "stalled", "no_seeds")))),
        ("tags=tv cache_key=k eta_s<1m", All((a("tag", "tv"), a("key", "k"), a("eta", 60.0, op=Op.LT)))),
    ],
)  # fmt: skip
def test_what_is_understood(text: str, tree: object) -> None:
    assert parse_filter(text) == tree


def test_terms_know_where_they_stand() -> None:
    tree = parse_filter("  state=active | ( user=ann )")
    assert [term.position for term in terms(tree)] == [2, 19]


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
        (r"name=a\|b", ("a|b",)),
        (r"name=a\\b", (r"a\b",)),
        (r'name="say \"hi\""', ('say "hi"',)),
        (r"name='a\b'", (r"a\b",)),
        ("name=it's", ("it's",)),
        ("name=a=b", ("a=b",)),
        ("name=日本,🎬", ("日本", "🎬")),
        ("name=a\\", ("a\\",)),
        ("name=a,", ("a", None)),
    ],
)
def test_values(text: str, values: tuple[str | None, ...]) -> None:
    (term,) = terms(parse_filter(text))
    assert term.values == values


@pytest.mark.parametrize(
    ("text", "position", "said"),
    [
        ("state<3", 5, "state does not take <"),
        ("id=1 state~x", 10, "state does not take ~"),
        ("name>x", 4, "name does not take >"),
        ("id=1 colour=red", 5, "there is no field 'colour'"),
        ("stat=active", 0, "did you mean state?"),
        ("state=activ", 6, "did you mean active?"),
        ("state=active,nope", 13, "cannot be 'nope'"),
        ("name==x", 4, "did you mean =?"),
        ("size=>5", 4, "did you mean >=?"),
        ("id=1 name=", 10, "needs a value"),
        ('id=1 name="open', 10, "quote is not closed"),
        ("=x", 0, "a field is missing"),
        ("size > 10G", 5, "without spaces"),
        ("size>10X", 5, "a size such as 10G"),
        ("size>1,2", 7, "one value"),
        ("size>''", 5, "not known"),
        ("age=2d", 4, "a moment"),
        ("age>soon", 4, "an age such as"),
        ("progress>101%", 9, "percentage"),
        ("priority=high", 9, "a whole number"),
        ("id=x", 3, "a number or a UUID"),
        ("id<01980000-0000-7000-8000-000000000000", 3, "cannot be"),
        ("hit=maybe", 4, "true or false"),
        ("name~''", 5, "empty text"),
        ("name~/(/", 5, "no regular expression"),
        ("name~/(?=a)/", 5, "look-around"),
        ("name~/x", 5, "not closed"),
        ("name~//", 5, "is empty"),
        ("(id=1", 0, "not closed"),
        ("id=1)", 4, "was not opened"),
        ("id=1 |", 6, "a term is missing"),
        ("| id=1", 0, "a term is missing"),
        ("id=1 || id=2", 6, "a term is missing"),
        ("()", 1, "a term is missing"),
        ("id=1 !", 5, "negates"),
        ("id=1 AND id=2", 5, "AND is written a space"),
        ("id=1 \0", 5, "in no name"),
        ("id=1 \ud800", 5, "in no name"),
    ],
)
def test_errors_point_at_the_column(text: str, position: int, said: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_filter(text)
    assert caught.value.position == caught.value.details["position"] == position
    assert caught.value.field == "filter"
    assert caught.value.details.get("text") == (text if text.isprintable() else None)
    assert said in f"{caught.value.message}; {caught.value.hint}"


def test_an_unknown_field_is_answered_with_all_that_there_are() -> None:
    for vocabulary in (JOBS, CACHE, EVENTS):
        with pytest.raises(InvalidFilter) as caught:
            parse_filter("zzz=1", vocabulary)
        assert caught.value.hint == "fields: " + ", ".join(vocabulary.fields)


def test_what_is_shown_of_a_text_is_short_and_harmless() -> None:
    for text in ("state=\x1b[31m" + "x" * 500, "name~/\x1b(/", "x" * 500 + "=1"):
        with pytest.raises(InvalidFilter) as caught:
            parse_filter(text)
        assert caught.value.message.isprintable()
        assert len(caught.value.message) < 120


@pytest.mark.parametrize(
    ("most", "too_much"),
    [
        ("id=1 " * MAX_TERMS, "id=1 " * (MAX_TERMS + 1)),
        ("name=" + "x" * (MAX_LENGTH - 5), "name=" + "x" * MAX_LENGTH),
        ("id=" + ",".join(map(str, range(MAX_ALTERNATIVES))), "id=" + ",".join(map(str, range(MAX_ALTERNATIVES + 1)))),
        ("(" * MAX_DEPTH + "id=1" + ")" * MAX_DEPTH, "(" * (MAX_DEPTH + 1) + "id=1" + ")" * (MAX_DEPTH + 1)),
        ("!" * MAX_DEPTH + "id=1", "!" * (MAX_DEPTH + 1) + "id=1"),
        ("name~" + ",".join(map(str, range(MAX_TEXTS))), "name~" + ",".join(map(str, range(MAX_TEXTS + 1)))),
        ("word " * MAX_TEXTS, "word " * MAX_TEXTS + "name!~word"),
        ("name~/a/ " * MAX_PATTERNS, "name~/a/ " * (MAX_PATTERNS + 1)),
        (f"name~/{'a' * MAX_PATTERN}/", f"name~/{'a' * (MAX_PATTERN + 1)}/"),
        ("name~/(a{10}){10}/", "name~/((a{100}){100}){100}/"),
    ],
)
def test_limits(most: str, too_much: str) -> None:
    parse_filter(most)
    with pytest.raises(InvalidFilter):
        parse_filter(too_much)


def test_no_regular_expression_takes_long() -> None:
    """Each of these takes an engine that backtracks longer than a test may take."""
    for pattern in ("(a*)*b", "(a|a)+$", "(a+a+)+y", "(.*)*(.*)*(.*)*x"):
        hostile = matcher(parse_filter(f"name~/{pattern}/"))
        assert not hostile(thing(name="a" * 4000 + "!"))


def thing(**values: Known) -> Has:
    return values.get


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("name=x node!=nas", True),
        ("!name=x", False),
        ("size>1", False),
        ("!size>1", True),
        ("size=''", True),
        ("tag=tv tag=film !tag=x", True),
        ("tag~IL", True),
        ("tag=''", False),
        ("user=''", True),
        ("mine", False),
        ("age>1d age<3d created<2026-05-03", True),
        ("id=1 | nothing", False),
        ("id=1 | x", True),
    ],
)
def test_a_tree_can_be_evaluated_here(text: str, holds: bool) -> None:
    tree = settled(parse_filter(text), now=NOW, me="ann")
    when = NOW - timedelta(days=2)
    assert matcher(tree)(thing(name="x", tag=("tv", "film"), user="", age=when, created=when, id=2)) is holds


@given(st.text(max_size=60) | st.text("ab=!<>~|()'\"\\/ ,1", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    column = 0
    try:
        parse_filter(text)
    except InvalidFilter as error:
        column = error.position
    assert 0 <= column <= len(text)


VALUES = st.text(min_size=1).filter(lambda value: "\0" not in value)


@given(st.lists(VALUES, min_size=1, max_size=5, unique=True))
def test_a_quoted_value_comes_back(values: list[str]) -> None:
    quoted = ",".join('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values)
    assert parse_filter("name=" + quoted) == a("name", *values)


def test_every_field_has_an_operator_that_works() -> None:
    for name, field in JOB_FIELDS.items():
        value = field.choices[0] if field.choices else "'' " if Op.LT not in field.kind.ops else "1"
        value = "true" if name == "hit" else value
        sign = "<" if Op.LT in field.kind.ops else "="
        assert [term.field for term in terms(parse_filter(f"{name}{sign}{value}"))] == [name]
