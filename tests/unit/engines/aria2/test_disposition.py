from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.engines.aria2.disposition import display_name, filename_of


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (None, None),
        ("", None),
        ("attachment", None),
        ("attachment; filename=plain.bin", "plain.bin"),
        ('attachment; filename="with blank.bin"', "with blank.bin"),
        ('inline; FILENAME="a;b.bin"; x=y', "a;b.bin"),
        (r'attachment; filename="a\"b\\c"', "c"),
        ("attachment; filename*=UTF-8''%e2%82%ac%20rates.txt", "€ rates.txt"),
        ("attachment; filename*=iso-8859-1'en'%A3.txt; filename=x", "£.txt"),
        ("attachment; filename=\"fallback\"; filename*=UTF-8''%ff%fe", "fallback"),
        ("attachment; filename*=UTF-16''x; filename=y", "y"),
        ('attachment; filename="../../../etc/passwd"', "passwd"),
        ("attachment; filename*=UTF-8''..%2F..%2Fx", "x"),
        ('attachment; filename="C:\\\\dir\\\\file.exe"', "file.exe"),
        ("attachment; filename*=UTF-8''a%0D%0Ab%00c%E2%80%AEd", "a\ufffd\ufffdb\ufffdc\ufffdd"),
        ('attachment; filename=".."', None),
        ('attachment; filename="/"', None),
        ("naïve", None),
        ('x; filename="\udcc3\udca9.txt"', "é.txt"),
        ('x; filename="\udce9.txt"', "é.txt"),
    ],
)
def test_names(header: str | None, name: str | None) -> None:
    assert filename_of(header) == name


def test_a_long_name_is_cut_and_keeps_its_extension() -> None:
    assert display_name("n" * 400 + ".mkv") == "n" * 251 + ".mkv"
    cut = display_name("ü" * 400 + ".mkv")
    assert cut is not None
    assert len(cut.encode()) <= 255
    assert cut.endswith("ü.mkv")


@given(st.text())
def test_whatever_comes_the_name_is_one_harmless_part(text: str) -> None:
    for header in (text, f'attachment; filename="{text}"', f"attachment; filename*=UTF-8''{text}"):
        name = filename_of(header)
        if name is not None:
            assert name not in ("", ".", "..")
            assert "/" not in name
            assert "\\" not in name
            assert not any(ord(c) < 32 for c in name)
            assert len(name.encode()) <= 255
