from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.app.masking import MASK, Masker


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("got https://maya:hunter2@host/x", "hunter2"),
        ("got https://onlytoken@host/x", "onlytoken"),
        ("ftp://u:p@ssword@host/", "ssword"),
        ("GET /x?a=1&token=abc123&b=2", "abc123"),
        ("GET /x?access_token=abc123", "abc123"),
        ("GET /x?X-Amz-Signature=deadbeef01", "deadbeef01"),
        ("http://127.0.0.1:8081/d/AbCdEfGhIjKlMnOpQrStUv.WxYz/film.mkv", "AbCdEfGhIjKlMnOpQrStUv"),
        ("udp://tracker.example/0123456789abcdef0123456789abcdef/announce", "0123456789abcdef"),
        ("magnet:?xt=urn:btih:aa&tr=https%3A%2F%2Ft.example%2Fannounce%3Fpasskey%3Dsesame99%26x%3D1", "sesame99"),
        ("Authorization: Bearer abcdef123456", "abcdef123456"),
        ("Authorization: Basic bWF5YTpodW50ZXIy", "bWF5YTpodW50ZXIy"),
        ("aria2 said: token:registered-secret", "registered-secret"),
        (f"no such key: odk_{'0' * 32}_{'k' * 43}", "k" * 43),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJlLW9m", "eyJzdWIiOiJhbm4ifQ"),
        (f"invite=odi_{'0' * 32}_{'-' * 43}", "-" * 43),
    ],
)
def test_credentials_in_text_are_masked(text: str, gone: str) -> None:
    shown = Masker(["registered-secret"]).text(text)
    assert gone not in shown
    assert MASK in shown


@pytest.mark.parametrize(
    "text", ["https://host/path?page=2&q=a", "job 128 completed", "a@b.example wrote", "/d/short", "C:/d/x", "50 %"]
)
def test_ordinary_text_stays(text: str) -> None:
    assert Masker().text(text) == text


@pytest.mark.parametrize(
    "name", ["password", "rpc_secret", "Authorization", "cookie", "api-key", "auth_token", "credentials", "private_key"]
)
def test_facts_are_masked_by_their_name(name: str) -> None:
    assert Masker().value(name, "anything at all") == MASK
    assert Masker().value("outer", {name: "anything"}) == {name: MASK}


def test_secrets_inside_nested_facts_are_masked() -> None:
    masker = Masker()
    masker.add("later-secret", "abc")
    shown = json.dumps(masker.value("fact", {"a": ["x later-secret", {"b": ("later-secret",)}], "c": b"later-secret"}))
    assert "later-secret" not in shown
    assert masker.text("abc") == "abc"  # too short to be told apart from text


@given(st.text())
def test_no_text_can_forge_a_line(text: str) -> None:
    shown = Masker().text(text)
    assert len(shown.splitlines()) <= 1
    assert all(ord(character) >= 32 and not 127 <= ord(character) < 160 for character in shown)
    shown.encode()


@pytest.mark.parametrize(
    "piece",
    [
        "://" + "a:" * 50_000, "://a" * 30_000, "?token" * 30_000, "/d/" + "a" * 200_000, "%3A%2F%2F" * 30_000,
        "/a" * 90_000, "eyJ-" * 50_000, "eyJhbGciOiJ." * 20_000, "odk_" * 50_000,
    ],
)  # fmt: skip
def test_masking_takes_time_in_proportion_to_the_text(piece: str) -> None:
    started = time.process_time()
    Masker(["secret-value"]).text(piece)
    assert time.process_time() - started < 2
