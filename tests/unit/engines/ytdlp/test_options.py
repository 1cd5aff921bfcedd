from __future__ import annotations

import pytest

from oddaemon.domain.errors import InvalidOption
from oddaemon.engines.ytdlp.options import SPECS, digest, effective, validate

COOKIES = "# Netscape HTTP Cookie File\n.x.invalid\tTRUE\t/\tFALSE\t0\tname\tvalue\n"


@pytest.mark.parametrize(
    "text",
    [
        "best", "bestvideo+bestaudio/best", "bv*[height<=720][ext=mp4]+ba/b", "137+140", "(mp4/webm)[height<?1080]",
        "bv*.2", "best[vcodec^=avc1]", "best[format_id!*=dash]", "[filesize<50M]", "best[ext='mp4']",
    ],
)  # fmt: skip
def test_selectors_of_one_file_are_taken(text: str) -> None:
    assert validate({"format": f" {text} "}) == {"format": text}


@pytest.mark.parametrize(
    "text",
    [
        "", "-f", "--exec=x", "137,140", "all", "mergeall", "best[url~=(a+)+$]", "best;rm", "best\n", "$(x)", "best/",
        "+best", "(best", "best)", "(((((((best)))))))", "x" * 301, "best[", "best %(id)s", "../x/y",
    ],
)  # fmt: skip
def test_other_selectors_are_refused(text: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        validate({"format": text})
    assert "format" in caught.value.message


@pytest.mark.parametrize(
    ("name", "good", "normal"),
    [
        ("subtitles", "en, de,en", "en,de"),
        ("playlist-items", "1-3,07", "1-3,7"),
        ("audio-quality", "128k", "128K"),
        ("audio-quality", "0", "0"),
        ("referer", "https://x.invalid/a", "https://x.invalid/a"),
        ("cookies", COOKIES.replace("\n", "\r\n"), COOKIES),
        ("audio-only", "true", "true"),
    ],
)
def test_normal_forms(name: str, good: str, normal: str) -> None:
    assert validate({name: good}) == {name: normal}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("subtitles", "all"), ("subtitles", ".*"), ("subtitles", "../en"), ("playlist-items", "3-1"),
        ("playlist-items", "0"), ("playlist-items", "::2"), ("playlist-items", "1-99999"), ("audio-quality", "11"),
        ("audio-quality", "9999K"), ("audio-format", "exe"), ("referer", "file:///etc/passwd"), ("user-agent", "ü"),
        ("user-agent", "a\r\nHost: b"), ("cookies", "not cookies"), ("cookies", COOKIES + "\x00"), ("cookies", ""),
        ("cookies", COOKIES + ("#" * 300_000)), ("password", "alone"), ("no-playlist", "yes"), ("username", ""),
    ],
)  # fmt: skip
def test_bad_values_are_refused_without_repeating_them(name: str, bad: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        validate({name: bad})
    assert caught.value.field == name
    assert len(bad) < 4 or bad not in caught.value.message + caught.value.hint


def test_secrets_and_what_changes_bytes() -> None:
    assert {spec.name for spec in SPECS if spec.secret} == {"cookies", "username", "password"}
    for spec in SPECS:
        assert not (spec.secret and spec.changes_bytes)


def test_what_is_the_same_download() -> None:
    default = "bestvideo+bestaudio/best"
    plain = effective({}, default)
    assert plain == effective({"format": default, "audio-only": "false", "referer": "http://x/"}, default)
    assert plain == effective({"audio-quality": "5"}, default)
    assert plain != effective({}, "best")
    mp3 = effective({"audio-format": "mp3"}, default)
    assert mp3 == effective({"audio-format": "mp3", "audio-only": "true"}, default)
    assert mp3["format"] == "bestaudio/best"
    assert digest(plain) != digest(mp3)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
