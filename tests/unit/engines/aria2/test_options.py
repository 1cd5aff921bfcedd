from __future__ import annotations

import pytest

from oddaemon.domain.errors import InvalidOption
from oddaemon.engines.aria2.options import SPECS, header_lines, seed_options, validate

ESCAPES = [
    "dir", "out", "index-out", "gid", "log", "save-session", "save-cookies", "load-cookies", "on-download-complete",
    "conf-path", "input-file", "all-proxy", "http-proxy", "rpc-secret", "private-key", "netrc-path", "interface",
    "allow-overwrite", "follow-torrent", "select-file", "checksum", "pause", "DIR", "split ", "",
]  # fmt: skip


@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_but_the_list_is_taken(name: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        validate({name: "1"})
    assert repr(name) in caught.value.message
    assert "user-agent" in caught.value.hint


@pytest.mark.parametrize("bad", ["x\ndir=/", "x\r\nHost: evil", "x\0", "\x7f", "\x1b[0m", "x\u2028y", "x\x85y"])
@pytest.mark.parametrize("name", [spec.name for spec in SPECS])
def test_a_value_is_one_line_of_text(name: str, bad: str) -> None:
    for value in (bad, f"X-A: {bad}", f'["X-A: {bad}"]', f"http://t.invalid/{bad}"):
        with pytest.raises(InvalidOption):
            validate({name: value})


@pytest.mark.parametrize(
    ("name", "given", "normal"),
    [
        ("split", "016", "16"),
        ("connections", "1", "1"),
        ("seed-ratio", "1.50", "1.5"),
        ("seed-time", "1h30m", "5400s"),
        ("seed-time", "90", "90s"),
        ("header", "X-A:  b", '["X-A: b"]'),
        ("header", '["X-A: b", "Cookie: c=d"]', '["X-A: b", "Cookie: c=d"]'),
        ("trackers", "udp://T.invalid:1,http://u.invalid/a", "udp://t.invalid:1/,http://u.invalid/a"),
    ],
)
def test_normal_forms(name: str, given: str, normal: str) -> None:
    assert validate({name: given}) == {name: normal}
    assert validate({name: normal}) == {name: normal}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("split", "0"), ("split", "17"), ("split", "-1"), ("split", "1.5"), ("split", "٣"),
        ("connections", "999999999999"),
        ("seed-ratio", "0"), ("seed-ratio", "nan"), ("seed-ratio", "inf"), ("seed-ratio", "1e3"), ("seed-ratio", "-1"),
        ("seed-time", "0s"), ("seed-time", "5 years"), ("seed-time", "9999d"), ("header", "no colon"),
        ("header", ": x"),
        ("header", "Host: evil"), ("header", "range: bytes=0-"), ("header", "Accept-Encoding: gzip"), ("header", "[1]"),
        ("header", "[]"), ("header", "[[\"a: b\"]]"), ("trackers", "file:///etc/passwd"), ("trackers", ""),
        ("user-agent", ""), ("user-agent", "x" * 2001), ("referer", "ü"), ("http-password", "only this"),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused_without_repeating_it(name: str, value: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        validate({name: value})
    assert caught.value.field == name
    assert caught.value.hint
    if len(value) > 8:
        assert value not in caught.value.message + caught.value.hint


def test_credentials_are_marked_as_such() -> None:
    secret = {spec.name for spec in SPECS if spec.secret}
    assert {"header", "http-user", "http-password"} <= secret


def test_headers_become_lines() -> None:
    assert header_lines(validate({"header": '["A: b", "C: d"]'})) == ("A: b", "C: d")
    assert header_lines({}) == ()


def test_seeding_is_off_unless_asked_for() -> None:
    assert seed_options({}) == {"seed-time": "0"}
    assert seed_options({"seed-time": "90s"}) == {"seed-ratio": "0.0", "seed-time": "1.500"}
    assert seed_options({"seed-ratio": "2"})["seed-ratio"] == "2"
    assert float(seed_options({"seed-ratio": "2"})["seed-time"]) > 60 * 24 * 365
