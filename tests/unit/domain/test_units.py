from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.domain.units import parse_duration, parse_size, show_duration, show_size, split_list


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1GB", 2**30), ("1 GiB", 2**30), ("10G", 10 * 2**30), ("512k", 512 * 2**10), ("1.5MB", 3 * 2**19),
        ("0", 0), ("7", 7), (7, 7), ("3b", 3), ("2TB", 2**41),
    ],
)  # fmt: skip
def test_sizes_count_in_steps_of_1024(text: object, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    "text", ["", "GB", "-1", "1XB", "1GB2", "1e400", "nan", "9" * 400, True, None, [], float("inf"), -1, "8EB", "²"]
)
def test_what_is_not_a_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"size|number"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("60m", 3600.0), ("7d", 604800.0), ("2h30m", 9000.0), ("500ms", 0.5), ("1w", 604800.0), ("90", 90.0),
        (90, 90.0), ("1.5h", 5400.0), ("1h 30m", 5400.0), ("0", 0.0),
    ],
)  # fmt: skip
def test_durations(text: object, expected: float) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "m", "-5s", "5x", "1h30", "5 s x", "1e9", True, None, float("nan"), "999999d"])
def test_what_is_not_a_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=2**62))
def test_a_shown_size_reads_back(size: int) -> None:
    assert parse_size(show_size(size)) == size


@given(st.integers(min_value=0, max_value=10**8))
def test_a_shown_duration_reads_back(seconds: int) -> None:
    assert parse_duration(show_duration(seconds)) == pytest.approx(seconds, rel=1e-5)


def test_lists_come_as_text_with_commas_or_as_lists() -> None:
    assert split_list("a, b,,c ") == ("a", "b", "c")
    assert split_list(["a", "b"]) == ("a", "b")
