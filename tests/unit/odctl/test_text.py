"""Words for people, and what they write."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odctl import text
from odctl.client.errors import UsageError

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
STEERING = {
    *range(32),
    *range(127, 160),
    0x2028,
    0x2029,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    0x200E,
    0x200F,
}


@given(st.text())
def test_clean_text_cannot_steer_a_terminal(value: str) -> None:
    found = text.clean(value)
    assert not STEERING & {ord(character) for character in found}
    found.encode()


@given(st.integers(0, 2**60))
def test_exact_figures_are_read_back_as_they_were(value: int) -> None:
    assert text.parse_size(text.exact_size(value), "x") == value
    assert text.parse_duration(text.exact_duration(value % 10**8), "x") == value % 10**8


def test_exact_figures_take_the_largest_unit() -> None:
    assert [text.exact_size(value) for value in (0, 1000, 1024, 1 << 30)] == ["0", "1000", "1KiB", "1GiB"]
    assert [text.exact_duration(value) for value in (0, 0.5, 90, 18000, 604800)] == ["0", "0.5s", "90s", "5h", "7d"]


def test_what_is_replaced_can_still_be_seen() -> None:
    assert text.clean("a\x1b[31m\u202eb\nc") == "a\\x1b[31m\\u202eb\\x0ac"
    assert text.clean("[bold]日本 👨‍👩‍👧") == "[bold]日本 👨‍👩‍👧"


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [("10", 10), ("1k", 1024), ("1.5M", 1572864), ("4GiB", 4 << 30), ("2MB/s", 2 << 20), (" 7 B ", 7)],
)
def test_sizes(given_text: str, expected: int) -> None:
    assert text.parse_size(given_text, "--x") == expected


@pytest.mark.parametrize("wrong", ["", "x", "-1", "1X", "1.2.3", "nan", "٣"])
def test_wrong_sizes_name_the_option(wrong: str) -> None:
    with pytest.raises(UsageError, match="--x"):
        text.parse_size(wrong, "--x")


@pytest.mark.parametrize(
    ("given_text", "expected"), [("90", 90), ("1.5h", 5400), ("2h30m", 9000), ("250ms", 0.25), ("1d", 86400)]
)
def test_durations(given_text: str, expected: float) -> None:
    assert text.parse_duration(given_text, "--x") == expected


@pytest.mark.parametrize("wrong", ["", "h", "1x", "-5", "inf", "nan", "2h x"])
def test_wrong_durations_name_the_option(wrong: str) -> None:
    with pytest.raises(UsageError, match="--x"):
        text.parse_duration(wrong, "--x")


def test_times_are_dates_or_how_long_ago() -> None:
    assert text.parse_time("2026-01-01T00:00:00Z", "--x", NOW) == datetime(2026, 1, 1, tzinfo=UTC)
    assert text.parse_time("2h", "--x", NOW) == datetime(2026, 1, 31, 10, tzinfo=UTC)
    with pytest.raises(UsageError, match="--x"):
        text.parse_time("yesterday-ish", "--x", NOW)


def test_a_file_that_lacks_a_byte_is_not_at_a_hundred_per_cent() -> None:
    assert text.percent(0.99999) == "99.9%"
    assert text.percent(1.0) == "100%"


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (0, "0 B"), (1023, "1023 B"), (1 << 20, "1.0 MiB"), (10**12, "931 GiB")]
)
def test_sizes_are_shown_in_binary_units(value: int | None, shown: str) -> None:
    assert text.size(value) == shown
