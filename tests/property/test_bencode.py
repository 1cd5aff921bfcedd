"""Bencoding: what is encoded decodes to itself, and no input does worse than InvalidSource."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from oddaemon.domain.bencode import Value, bdecode, bdecode_document, bencode
from oddaemon.domain.errors import InvalidSource
from oddaemon.domain.torrent import parse_torrent

VALUES: st.SearchStrategy[Value] = st.recursive(
    st.integers(-(2**63), 2**63) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.binary(max_size=8), inner, max_size=5),
    max_leaves=30,
)


@given(VALUES)
def test_roundtrip(value: Value) -> None:
    assert bdecode(bencode(value)) == value


@given(VALUES, st.data())
def test_every_cut_is_refused(value: Value, data: st.DataObject) -> None:
    encoded = bencode(value)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with contextlib.suppress(InvalidSource):
        bdecode(encoded[:cut])
        raise AssertionError("a cut document was taken")


@given(st.dictionaries(st.binary(max_size=8), VALUES, max_size=5))
def test_spans_are_the_raw_values(value: dict[bytes, Value]) -> None:
    encoded = bencode(value)
    document = bdecode_document(encoded)
    assert set(document.spans) == set(value)
    for key, (start, end) in document.spans.items():
        assert encoded[start:end] == bencode(value[key])


@given(st.binary(max_size=200) | st.text("dlei0123456789:-", max_size=60).map(str.encode))
def test_any_bytes_give_a_value_or_a_refusal(data: bytes) -> None:
    with contextlib.suppress(InvalidSource):
        bdecode(data)
    with contextlib.suppress(InvalidSource):
        parse_torrent(data)


@given(
    st.dictionaries(
        st.sampled_from([b"name", b"length", b"pieces", b"piece length", b"files", b"file tree", b"meta version"]),
        VALUES,
    )
)
def test_any_info_gives_a_torrent_or_a_refusal(info: dict[bytes, Value]) -> None:
    with contextlib.suppress(InvalidSource):
        parse_torrent(bencode({b"info": info}))
