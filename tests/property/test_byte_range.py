"""Range fields: examples from RFC 9110 section 14, and what holds for every field."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.domain.byte_range import MAX_RANGES, ByteRange, parse_range

SIZE = 10_000


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-499", [(0, 500)]),
        ("bytes=500-999", [(500, 1000)]),
        ("bytes=-500", [(9500, 10_000)]),
        ("bytes=9500-", [(9500, 10_000)]),
        ("bytes=0-0,-1", [(0, 1), (9999, 10_000)]),
        ("bytes=0-999,4500-5499,-1000", [(0, 1000), (4500, 5500), (9000, 10_000)]),
        ("bytes=500-600,601-999", [(500, 1000)]),
        ("bytes=500-700,601-999", [(500, 1000)]),
        ("bytes=5000-5999,0-99", [(5000, 6000), (0, 100)]),  # the order asked for
        ("bytes=-1,0-0,0-9998", [(0, 10_000)]),
        ("bytes=0-99999999999999999999999999999", [(0, SIZE)]),
        ("bytes=-99999", [(0, SIZE)]),
        ("Bytes = 1-2", [(1, 3)]),
        ("bytes= 1-2 , ,\t5-6", [(1, 3), (5, 7)]),
        ("bytes=0-0,20000-", [(0, 1)]),  # what exists is sent
        ("bytes=10000-", []),
        ("bytes=99999999999999999999-", []),
        ("bytes=-0", []),
    ],
)
def test_what_is_understood(header: str, expected: list[tuple[int, int]]) -> None:
    assert parse_range(header, SIZE) == tuple(ByteRange(*pair) for pair in expected)


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=-", "bytes=,", "bytes=5-1", "bytes=a-b", "bytes=1", "bytes=1-2-3", "bytes=--1",
     "bytes=+1-2", "bytes=0x1-2", "bytes=١-٢", "lines=1-2", "bytes 1-2", "bytes=1-2;3-4", "bytes=1 -2",
     "bytes=0-1,oops", "bytes=" + ",".join(["0-1"] * (MAX_RANGES + 1)), "bytes=" + "," * 10_000],
)  # fmt: skip
def test_what_is_ignored(header: str) -> None:
    assert parse_range(header, SIZE) is None


def test_no_field() -> None:
    assert parse_range(None, SIZE) is None


def test_of_an_empty_file_nothing_exists() -> None:
    assert parse_range("bytes=0-", 0) == ()
    assert parse_range("bytes=-5", 0) == ()


specs = st.one_of(
    st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    st.integers(0, 300).map(lambda first: f"{first}-"),
    st.integers(0, 300).map(lambda length: f"-{length}"),
)


def _meant(spec: str, size: int) -> set[int]:
    first, _, last = spec.partition("-")
    if not first:
        return set(range(max(size - int(last), 0), size))
    return set(range(int(first), min(int(last) + 1, size) if last else size))


@given(st.lists(specs, min_size=1, max_size=20), st.integers(0, 256))
def test_exactly_the_bytes_that_were_asked_for_each_once(parts: list[str], size: int) -> None:
    found = parse_range("bytes=" + ",".join(parts), size)
    assert found is not None
    sent = [position for one in found for position in range(one.start, one.stop)]
    assert len(sent) == len(set(sent)) <= size
    assert set(sent) == set[int]().union(*(_meant(part, size) for part in parts))
    for one in found:
        assert 0 <= one.start < one.stop <= size
        assert one.content_range(size) == f"bytes {one.start}-{one.stop - 1}/{size}"
    # a gap stays between any two
    edges = sorted((one.start, one.stop) for one in found)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(edges))


@given(st.text(max_size=200), st.integers(0, 1000))
def test_nothing_raises(header: str, size: int) -> None:
    for text in (header, f"bytes={header}"):
        for one in parse_range(text, size) or ():
            assert 0 <= one.start < one.stop <= size
