"""Sources: normal forms are normal, secrets do not show, and no text does worse than InvalidSource."""

from __future__ import annotations

import base64
import contextlib
from urllib.parse import quote, unquote

from hypothesis import given
from hypothesis import strategies as st

from oddaemon.domain.errors import InvalidSource
from oddaemon.domain.source import SourceKind, parse_source
from oddaemon.domain.url import mask_url, normalise_url, parse_url

SEGMENTS = st.text("abz09-._~%/?&=;+ é/..", max_size=20).map(lambda text: text.replace(" ", "%20"))
URLS = st.builds(
    lambda scheme, host, port, path, query: f"{scheme}://{host}{port}/{path}{query}",
    st.sampled_from(["http", "HTTP", "https", "ftp"]),
    st.sampled_from(
        [
            "example.com",
            "EXAMPLE.com",
            "a.b-c.example.",
            "127.0.0.1",
            "[::1]",
            "[2001:DB8::0:1]",
            "bücher.example",
        ]
    ),
    st.sampled_from(["", ":", ":80", ":443", ":21", ":8080"]),
    SEGMENTS,
    SEGMENTS.map(lambda text: f"?{text}" if text else ""),
)
HASHES = st.binary(min_size=20, max_size=20)


@given(URLS)
def test_normal_form_is_idempotent(url: str) -> None:
    normal = normalise_url(url)
    assert normalise_url(normal) == normal


@given(URLS)
def test_normal_form_has_no_dot_segments_and_no_needless_escapes(url: str) -> None:
    normal = normalise_url(url)
    path = parse_url(normal).path
    assert not {".", ".."} & set(path.split("/"))
    for needless in ("%41", "%7E", "%2e", "%2E", "%5f", "%2d"):
        assert needless not in normal


@given(URLS, st.integers(0, 60))
def test_escaping_an_unreserved_character_changes_nothing(url: str, at: int) -> None:
    start = url.index("/", 8)
    i = min(start + at, len(url) - 1)
    if url[i] in "abz09-_~" and "%" not in url[max(0, i - 2) : i + 1]:
        escaped = f"{url[:i]}%{ord(url[i]):02x}{url[i + 1 :]}"
        assert normalise_url(escaped) == normalise_url(url)


@given(URLS)
def test_what_is_normalised_is_what_the_uri_says(url: str) -> None:
    source = parse_source(url)
    assert source.normalised == normalise_url(source.uri)


@given(HASHES, st.booleans())
def test_every_spelling_of_a_hash_is_one_hash(digest: bytes, upper: bool) -> None:
    plain, b32 = digest.hex(), base64.b32encode(digest).decode()
    spellings = [plain, plain.upper(), b32, b32.lower()]
    for spelling in spellings + [f"magnet:?dn=x&xt=urn:btih:{s}" for s in spellings]:
        source = parse_source(spelling)
        assert (source.kind, source.info_hash) == (SourceKind.MAGNET, plain)
        assert parse_source(source.uri) == parse_source(source.uri.replace("urn:btih", "URN%3ABTIH"))


PLAIN = st.text(st.characters(codec="utf-8", min_codepoint=0x21, max_codepoint=0x2FF), min_size=6, max_size=30)


@given(PLAIN, PLAIN, PLAIN)
def test_secrets_do_not_show(username: str, password: str, token: str) -> None:
    with contextlib.suppress(InvalidSource):
        text = "https://{}:{}@example.com/f?a=1&access_token={}".format(
            *(quote(p, safe="") for p in (username, password, token))
        )
        source = parse_source(text)
        assert (source.username, source.password) == (username, password)
        for secret in (username, password, token):
            if secret not in "https://***@example.com/f?a=1&access_token=***":
                assert secret not in unquote(source.shown)
        assert mask_url(text) == source.shown


@given(
    st.text(max_size=120)
    | st.text("magnet:?xturn:btih=&hp/s%0123456789abcdef@[]\\#", max_size=120).map("http:/".__add__)
)
def test_any_text_gives_a_source_or_a_refusal_with_a_place_in_it(text: str) -> None:
    refusal = source = None
    try:
        source = parse_source(text)
    except InvalidSource as error:
        refusal = error
    if refusal is not None:
        assert refusal.position is not None
        assert 0 <= refusal.position <= max(len(text), 1)
        assert refusal.message
        assert refusal.hint
    if source is not None:
        assert source.uri.isascii()
        assert source.uri.isprintable()
        assert " " not in source.uri
