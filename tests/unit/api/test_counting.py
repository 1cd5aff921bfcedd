"""How many values a JSON text holds, without reading it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.api.rest import counting
from oddaemon.api.rest.counting import holds_more

VALUES = st.recursive(
    st.none() | st.integers() | st.text('ab\\"/[]{},:é\n', max_size=12),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text('k",[{\\', max_size=4), inner, max_size=5),
    max_leaves=30,
)


def count(value: Any) -> int:
    """Members and items; an empty object or list counts as one."""
    if not isinstance(value, dict | list):
        return 0
    items = list(value.values()) if isinstance(value, dict) else value
    return max(len(items), 1) + sum(map(count, items))


@given(VALUES, st.booleans(), st.sampled_from([2, 3, 7, 1 << 16]))
def test_what_stands_in_a_string_does_not_count(value: Any, ascii_only: bool, step: int) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_STEP", step)
        assert holds_more(data, count(value) - 1)
        assert not holds_more(data, count(value))


@pytest.mark.parametrize("data", [b"[" * 100, b'{"a":' * 100, b'["",' + b"1," * 100, b'["\\\\",' + b"1," * 100])
def test_what_never_ends_counts_too(data: bytes) -> None:
    assert holds_more(data, 99)


@given(st.text('"\\,[x', max_size=40))
def test_anything_is_counted_to_an_end(text: str) -> None:
    holds_more(text.encode(), 3)


def test_strings_with_nothing_between_them_are_left_to_the_parser() -> None:
    assert not holds_more(b'"a""b""c"' + b"," * 10, 5)
