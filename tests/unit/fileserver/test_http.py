"""The request parser raises nothing but its refusal, in linear time, and reads what it accepts one way only."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.fileserver.http import MAX_HEAD_BYTES, RefusedRequest, parse_head

GOOD = b"GET /d/x HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n"


def test_fields_are_found_whatever_their_case_and_padding() -> None:
    request = parse_head(b"GET /d/t/n?q HTTP/1.1\r\nhOST:a\r\nRANGE:\t bytes=0-1 \t\r\nA: 1\r\na: 2\r\n\r\n")
    assert (request.method, request.path) == ("GET", "/d/t/n")
    assert request.fields == {"host": "a", "range": "bytes=0-1", "a": "1, 2"}
    assert request.keep_alive


@given(st.binary(max_size=300))
def test_nothing_else_is_raised(data: bytes) -> None:
    for head in (data, data + b"\r\n\r\n", b"GET / HTTP/1.1\r\n" + data + b"\r\n\r\n"):
        try:
            parse_head(head)
        except RefusedRequest as refused:
            assert 400 <= refused.status < 600  # noqa: PT017 - some data is a request


@given(st.integers(0, len(GOOD) - 1), st.sampled_from([b"\0", b"\r", b"\n", b"\x0b", b"\x7f"]))
def test_no_control_character_gets_through(place: int, character: bytes) -> None:
    head = GOOD[:place] + character + GOOD[place:]
    try:
        request = parse_head(head)
    except RefusedRequest:
        return
    raise AssertionError(f"{head!r} was read as {request}")


@pytest.mark.parametrize("filling", [b"a", b" ", b"\t", b":", b"\r\n", b"a:", b"a: b\r\n", b"\xff", b"\r", b"a:\t"])
def test_no_head_takes_long(filling: bytes) -> None:
    began = time.process_time()
    with pytest.raises(RefusedRequest):
        parse_head(b"GET / HTTP/1.1\r\n" + filling * (MAX_HEAD_BYTES // len(filling)) + b"\0\r\n\r\n")
    assert time.process_time() - began < 2
