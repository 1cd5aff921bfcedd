"""Sources: what is taken, what is refused, where and with which words."""

from __future__ import annotations

import pytest

from oddaemon.domain.cache import hash_key, url_key
from oddaemon.domain.errors import InvalidSource
from oddaemon.domain.source import SourceKind, parse_source
from oddaemon.domain.types import EngineName
from oddaemon.domain.url import mask_tracker, mask_url, normalise_url

HASH = "0123456789abcdef0123456789abcdef01234567"


def refusal(text: str) -> InvalidSource:
    with pytest.raises(InvalidSource) as caught:
        parse_source(text)
    return caught.value


def test_magnet_keeps_the_hash_and_usable_trackers_only() -> None:
    source = parse_source(
        f"MAGNET:?xt=urn:btih:{HASH.upper()}&xt=urn:btmh:1220{'0' * 64}&dn=A+name%20here&tr=http%3A%2F%2Ft%2Fa"
        "&tr.1=udp://u:6969/announce&tr=wss://w/&tr=file:///etc/passwd&tr=http://t/a&ws=http://evil/&x.pe=10.0.0.1:1&so=0"
    )
    assert source.kind is SourceKind.MAGNET
    assert source.info_hash == HASH
    assert source.name == "A name here"
    assert source.trackers == ("http://t/a", "udp://u:6969/announce")
    assert source.uri == f"magnet:?xt=urn:btih:{HASH}&tr=http%3A%2F%2Ft%2Fa&tr=udp%3A%2F%2Fu%3A6969%2Fannounce"


def test_magnet_out_of_html() -> None:
    assert parse_source(f"magnet:?xt=urn:btih:{HASH}&amp;tr=http://t/a").trackers == ("http://t/a",)


def test_tracker_secrets_are_masked() -> None:
    source = parse_source(
        f"magnet:?xt=urn:btih:{HASH}&tr=http%3A%2F%2Ft%2FPASSKEYabcdef0123456%2Fannounce%3Fpasskey%3DX1Y2"
    )
    assert "PASSKEYabcdef0123456" in source.uri
    assert "PASSKEYabcdef0123456" not in source.shown
    assert "X1Y2" not in source.shown
    assert HASH in source.shown


def test_url() -> None:
    source = parse_source("  HTTPS://User:p%40ss@Example.COM:443/a/%7Eb/../c%2fd?Token=abc&b=1#top\n")
    assert (source.kind, source.scheme) == (SourceKind.URL, "https")
    assert source.uri == "https://example.com/a/%7Eb/../c%2fd?Token=abc&b=1#top"
    assert (source.username, source.password) == ("User", "p@ss")
    assert source.shown == "https://***@example.com/a/%7Eb/../c%2fd?Token=***&b=1#top"
    assert source.normalised == "https://example.com/a/c%2Fd?Token=abc&b=1"
    assert source.name == "c_d"


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("HTTP://EXAMPLE.com", "http://example.com/"),
        ("http://example.com:80/", "http://example.com/"),
        ("http://example.com:/", "http://example.com/"),
        ("http://example.com:443/", "http://example.com:443/"),
        ("ftp://example.com:21/x", "ftp://example.com/x"),
        ("http://e/a/./b/../c", "http://e/a/c"),
        ("http://e/../../x", "http://e/x"),
        ("http://e/a/..", "http://e/"),
        ("http://e/a/%2e%2E/b", "http://e/b"),
        ("http://e/a//b/", "http://e/a//b/"),
        ("http://e/%7euser", "http://e/~user"),
        ("http://e/%c3%a9", "http://e/%C3%A9"),
        ("http://e/é", "http://e/%C3%A9"),
        ("http://e/a%2fb", "http://e/a%2Fb"),
        ("http://e/?B=2&a=1", "http://e/?B=2&a=1"),
        ("http://e?x", "http://e/?x"),
        ("http://e/?", "http://e/?"),
        ("http://e/?a[]=1", "http://e/?a[]=1"),
        ("http://e/x#frag", "http://e/x"),
        ("http://u:p@e/x", "http://e/x"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://BÜCHER.example/", "http://xn--bcher-kva.example/"),
        ("http://ex%61mple.com/", "http://example.com/"),
        ("http://[2001:DB8:0:0::1]:8080/", "http://[2001:db8::1]:8080/"),
        ("http://e/100%", "http://e/100%25"),
        ("http://e/<a>|{b}", "http://e/%3Ca%3E%7C%7Bb%7D"),
    ],
)
def test_normal_form(given: str, normal: str) -> None:
    assert normalise_url(given) == normal


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 0, "empty"),
        (" \n", 0, "empty"),
        ("hello", 0, "no scheme"),
        ("--exec=rm", 0, "looks like an option"),
        ("-", 0, "looks like an option"),
        ("file:///etc/passwd", 0, "file:"),
        ("FILE:///etc/passwd", 0, "file:"),
        ("unix:/run/x", 0, "unix:"),
        ("gopher://x/", 0, "gopher:"),
        ("data:text/plain,x", 0, "data:"),
        ("/etc/passwd", 0, "no scheme"),
        ("../x.torrent", 0, "no scheme"),
        ("example.com/x", 0, "no scheme"),
        ("example.com:80/x", 0, "no scheme"),
        ("http:/x", 5, "//"),
        ("http://", 7, "no host"),
        ("http:///x", 7, "no host"),
        ("http://u@/x", 9, "no host"),
        ("http://e x/", 8, "blank"),
        ("http://e/\r\nHost: y", 9, "control character"),
        ("http://e/\0", 9, "control character"),
        ("http://e/\x7f", 9, "control character"),
        ("http://e/\u202e", 9, "control character"),
        ("  http://e/a b", 12, "blank"),
        ("http://e:0/", 9, "port"),
        ("http://e:65536/", 9, "port"),
        ("http://e:8o/", 9, "port"),
        ("http://e:٣/", 9, "port"),
        ("http://[::1/", 7, "no end"),
        ("http://[::1]x/", 7, "no end"),
        ("http://[::g]/", 8, "IPv6"),
        ("http://[fe80::1%25eth0]/", 8, "IPv6"),
        ("http://a..b/", 7, "host name"),
        ("http://-a.example/", 7, "host name"),
        ("http://a_b!c/", 7, "host name"),
        ("http://" + "a" * 64 + ".example/", 7, "host name"),
        ("http://" + "a." * 200 + "example/", 7, "longer"),
        ("http://a\\@b/", 8, "backslash"),
        ("http://u%0d:p@e/", 7, "user name"),
        ("ftp://e/%0D%0ADELE%20x", 7, "ftp path"),
        ("http://e/" + "a" * 100_000, 8192, "100009 characters"),
        ("magnet:", 7, "'?'"),
        ("magnet:?dn=x", 12, "no info-hash"),
        (f"magnet:?xt=urn:sha1:{HASH}", 60, "no info-hash"),
        ("magnet:?xt=urn:btih:", 11, "info-hash"),
        (f"magnet:?dn=x&xt=urn:btih:{HASH}0", 16, "41 characters"),
        (f"magnet:?xt=urn:btih:{HASH}&xt=urn:btih:{HASH[::-1]}", 64, "two different"),
        (f"magnet:?xt=urn:btmh:1220{'0' * 64}", 11, "v2-only"),
        ("0" * 64, 0, "v2-only"),
        (HASH[:39], 0, "no scheme"),
        (f"magnet:?xt=urn:btih:{HASH}&dn=a b", 65, "blanks"),
        (f"magnet:?xt=urn:btih:{HASH}&tr=http://t/%0a", 64, "control character"),
        ("magnet:?" + "x" * 100_000, 65536, "100008 characters"),
    ],
)
def test_refused(text: str, position: int, words: str) -> None:
    error = refusal(text)
    assert (error.position, words in error.message) == (position, True), error.message
    assert error.hint


def test_smuggled_instructions_are_dropped() -> None:
    assert parse_source("https://e/v#__youtubedl_smuggle=%7B%7D").uri == "https://e/v"
    assert parse_source("https://e/v#%5F_youtubedl_smuggle=%7B%7D").uri == "https://e/v"


@pytest.mark.parametrize(
    "name",
    ["token", "access_token", "X-Amz-Signature", "sig", "key", "api_key", "password", "auth", "passkey"],
)
def test_secret_parameters(name: str) -> None:
    assert mask_url(f"http://e/?a=1&{name}=S3CRET&b=2") == f"http://e/?a=1&{name}=***&b=2"


def test_ordinary_parameters_stay() -> None:
    url = "http://e/?keyword=x&page=2&id=5&empty_token="
    assert mask_url(url) == url
    assert mask_tracker("http://t/announce") == "http://t/announce"


def test_names_are_one_line_for_people() -> None:
    magnet = f"magnet:?xt=urn:btih:{HASH}&dn="
    assert parse_source(magnet + "a%0Ab%1B%5B31m%E2%80%AEc").name == "ab[31mc"
    assert parse_source(magnet + "%20%0A").name is None
    assert parse_source("http://e/a%2F..%2Fb").name == "a_.._b"
    assert parse_source("http://e/").name is None


def test_keys() -> None:
    aria2, ytdlp = EngineName("aria2"), EngineName("ytdlp")
    assert hash_key(aria2, HASH).full == f"aria2:hash:{HASH}"
    plain = url_key(aria2, normalise_url("http://E:80/x")).full
    assert plain == url_key(aria2, "http://e/x").full
    assert plain.startswith("aria2:url:")
    assert len(plain) == len("aria2:url:") + 64
    assert url_key(ytdlp, "http://e/x", "abc").full.endswith(":abc")
