"""Safe paths cannot leave; shown names cannot deceive; both keep what is merely unusual."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.domain.errors import InvalidArgument
from oddaemon.domain.files import (
    MAX_SHOWN_NAME,
    MAX_SHOWN_PATH,
    SafeRelativePath,
    content_type_of,
    display_name,
    display_path,
    may_be_inline,
)

names = st.text(min_size=1, max_size=40)
hostile = st.lists(
    st.sampled_from(["..", ".", "", "a", "/", "\\", "\0", "\n", "é", "C:", "~", "a\\..\\b"]), max_size=8
).map("/".join)


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "/", "/a", "a/", "a//b", "./a", "a/.", "a/..", "../a", "a/../b", "a\0b", "a\nb", "a\rb", "a\x7fb",
     "a\x85b", "..\\a", "a\\..\\b", "\\\\server\\share", "\\a", "a\\", "C:\\a", "x/C:\\a", "a" * 256, "é" * 128,
     "\ud800", "/".join(["b" * 100] * 41)],
)  # fmt: skip
def test_refused(path: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        SafeRelativePath.parse(path)
    assert raised.value.message.isprintable()


@pytest.mark.parametrize(
    "path",
    ["a", "a/b", "...", "..a", "a..", ".hidden", "~", "-rf", "CON", "a b", "emoji 🎬", "日本語/ファイル", "e\u0301",
     "100%", "a:b", "C:", "a\\b", "a" * 255, "é" * 127, "\udcff", "Icon", "'\"", "$(x)"],
)  # fmt: skip
def test_accepted_as_it_is(path: str) -> None:
    assert str(SafeRelativePath.parse(path)) == path


@given(st.one_of(names, hostile))
def test_what_is_accepted_stays_below_the_base(path: str) -> None:
    try:
        safe = SafeRelativePath.parse(path)
    except InvalidArgument:
        return
    base = Path("/base/replica")
    joined = os.path.normpath(os.path.join(base, str(safe)))
    assert joined.startswith("/base/replica/")
    assert joined == f"/base/replica/{path}"
    assert not os.path.isabs(path.replace("\\", "/"))
    assert ".." not in path.replace("\\", "/").split("/")


@given(st.text(max_size=2000))
def test_a_shown_name_is_one_line_one_component_and_turns_nothing_round(text: str) -> None:
    shown = display_name(text)
    assert 0 < len(shown) <= MAX_SHOWN_NAME
    assert "/" not in shown
    assert shown not in {".", ".."}
    assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
    assert display_name(shown) == shown
    shown.encode()


@given(st.text(max_size=2000))
def test_a_shown_path_is_relative(text: str) -> None:
    shown = display_path(text)
    assert 0 < len(shown) <= MAX_SHOWN_PATH
    assert not shown.startswith("/")
    assert not {"", ".", ".."} & set(shown.split("/"))
    assert not any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in shown)


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("👨‍👩‍👧 family.mkv", "👨‍👩‍👧 family.mkv"),  # joiners hold emoji together
        ("日本語.txt", "日本語.txt"),
        ("e\u0301 NFD", "e\u0301 NFD"),
        ('it\'s "quoted" 100%', 'it\'s "quoted" 100%'),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("Icon\r", "Icon"),
        ("a\x1b[31mred\x07", "a[31mred"),
        ("a/b", "a_b"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("\n", "unnamed"),
    ],
)
def test_shown_names(given_name: str, shown: str) -> None:
    assert display_name(given_name) == shown


def test_a_name_of_300_bytes_is_kept_whole_and_a_very_long_one_keeps_its_extension() -> None:
    assert display_name("é" * 150 + ".mkv") == "é" * 150 + ".mkv"
    long = display_name("x" * 5000 + ".mkv")
    assert len(long) == MAX_SHOWN_NAME
    assert long.endswith("….mkv")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("S01/E01.MKV", "video/x-matroska"), ("a.mp4", "video/mp4"), ("a.ts", "video/mp2t"),
        ("a.srt", "application/x-subrip"), ("a.html", "text/html"),
        ("a.svg", "image/svg+xml"), ("a.tar.gz", "application/gzip"), ("a.txt", "text/plain"),
        ("noextension", "application/octet-stream"), ("a.qqq", "application/octet-stream"),
        (".mkv", "video/x-matroska"),
        ("a.flac", "audio/flac"), ("a.iso", "application/x-iso9660-image"), ("a.txt.Z", "application/octet-stream"),
    ],
)  # fmt: skip
def test_content_types(path: str, expected: str) -> None:
    assert content_type_of(path) == expected


@given(st.text(max_size=100))
def test_content_types_fit_a_header(path: str) -> None:
    found = content_type_of(path)
    assert found.isascii()
    assert found.isprintable()
    assert "/" in found


def test_only_what_cannot_carry_script_is_shown_inline() -> None:
    for safe in ("video/mp4", "audio/flac", "image/png", "text/plain", "text/plain; charset=utf-8"):
        assert may_be_inline(safe)
    for unsafe in ("text/html", "TEXT/HTML; x", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/xml",
                   "text/javascript", "application/pdf", "application/octet-stream", "text/css", ""):  # fmt: skip
        assert not may_be_inline(unsafe)
