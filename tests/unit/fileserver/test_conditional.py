"""HTTP dates and entity tags (RFC 9110 sections 5.6.7, 8.8.3, 13.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.fileserver.conditional import Validators, Verdict, evaluate, http_date, parse_date, range_applies

OURS = Validators('"abc"', 784_111_777)
EXAMPLE = 784_111_777  # the RFC's own: Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_all_three_forms_of_a_date(text: str) -> None:
    assert parse_date(text) == EXAMPLE


def test_a_year_of_two_digits_is_at_most_50_years_ahead() -> None:
    now = EXAMPLE + 32 * 365.25 * 86_400  # 2026
    assert parse_date("Sunday, 06-Nov-77 08:49:37 GMT", now) == parse_date("Sun, 06 Nov 1977 08:49:37 GMT")
    assert parse_date("Sunday, 06-Nov-75 08:49:37 GMT", now) == parse_date("Sun, 06 Nov 2075 08:49:37 GMT")


@pytest.mark.parametrize(
    "text",
    ["", "x", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 31 Feb 1994 08:49:37 GMT",
     "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Xxx 1994 08:49:37 GMT",
     "Sun, 06 Nov 0000 08:49:37 GMT", "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, ٠٦ Nov 1994 08:49:37 GMT", "784111777"],
)  # fmt: skip
def test_what_is_no_date(text: str) -> None:
    assert parse_date(text) is None


@given(st.integers(0, 4_102_444_800))
def test_dates_come_back(seconds: int) -> None:
    assert parse_date(http_date(seconds)) == seconds


@given(st.text(max_size=60))
def test_nothing_raises(text: str) -> None:
    parse_date(text)
    for field in ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since"):
        evaluate({field: text}, OURS)
    range_applies(text, OURS, EXAMPLE)


@pytest.mark.parametrize(
    ("field", "matches"),
    [('"abc"', True), ('"x","abc"', True), (' "x" , "abc" ', True), ('"x", W/"y","abc"', True), ("*", True),
     ('"ab"', False), ("abc", False), ('"abc', False), ('"abc" "x"', False), ('"a,b","abc"', True), ("", False)],
)  # fmt: skip
def test_lists_of_tags(field: str, matches: bool) -> None:
    assert evaluate({"if-match": field}, OURS) is (Verdict.PROCEED if matches else Verdict.FAILED)
    assert evaluate({"if-none-match": field}, OURS) is (Verdict.NOT_MODIFIED if matches else Verdict.PROCEED)


def test_long_lists_take_linear_time() -> None:
    evaluate({"if-none-match": '"x",' * 4000 + "!"}, OURS)
    evaluate({"if-none-match": "," * 16_000}, OURS)
    evaluate({"if-none-match": " \t" * 8000 + "x"}, OURS)


def test_a_date_is_a_strong_validator_only_when_it_is_old_enough() -> None:
    date = http_date(OURS.modified)
    assert range_applies(date, OURS, OURS.modified + 10)
    assert not range_applies(date, OURS, OURS.modified + 0.5)
