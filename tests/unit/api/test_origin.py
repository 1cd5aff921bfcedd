"""Where a request comes from and whom it is for."""

from __future__ import annotations

import pytest

from oddaemon.api.rest.origin import EdgePolicy, host_name, same_origin, sent

HOME = EdgePolicy(names=("nas", "nas.local"), allowed_hosts=("Files.example.org", "*.home.arpa"))


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:8080", "LOCALHOST", "localhost.", "127.0.0.1:1", "[::1]:8080", "[::1]", "192.168.1.20",
        "nas", "NAS.local:80", "files.example.org", "a.home.arpa", "a.b.home.arpa:443", "[::ffff:127.0.0.1]",
    ],
)  # fmt: skip
def test_our_own_names_are_ours(host: str) -> None:
    assert HOME.is_ours(host)


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.example", "evil.example:8080", "localhost.evil.example", "nas.evil.example", "127.0.0.1.nip.io",
        "home.arpa", "xhome.arpa", "localhost:80:80", "localhost:x", "[::1", "[::1]x", "127.1", "0x7f.0.0.1",
        "2130706433", "evil@localhost", "files.example.org.evil.example", "localhost/x", "localhost evil", " ",
        "127.0.0.1%00.evil.example", "1.2.3.4%evil.example", "localhost:²", "localhost:" + "9" * 5000,
    ],
)  # fmt: skip
def test_a_foreign_name_is_not(host: str) -> None:
    assert not HOME.is_ours(host)


def test_any_name_when_the_operator_says_so() -> None:
    assert EdgePolicy(allowed_hosts=("*",)).is_ours("what.ever")
    assert not EdgePolicy(allowed_hosts=("*",)).is_ours("a b:c")


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost:8080", "localhost:8080", True), ("http://localhost", "localhost", True),
        ("http://localhost:80", "localhost", True), ("https://nas.example.org", "nas.example.org", True),
        ("https://nas.example.org", "NAS.example.org:443", True), ("http://[::1]:8080", "[::1]:8080", True),
        ("http://[::1]", "[::1]", True), ("http://localhost:8081", "localhost:8080", False),
        ("http://evil.example", "localhost:8080", False), ("null", "localhost", False), ("", "localhost", False),
        ("file://", "localhost", False), ("http://localhost:8080.evil.example", "localhost:8080", False),
        ("http://localhost:99999", "localhost", False), ("ws://localhost", "localhost", False),
        ("http://localhost", "localhost:8080", False), ("http://[::1", "[::1]", False),
        ("http://localhost", "localhost:²", False), ("http://localhost", "localhost:" + "9" * 5000, False),
    ],
)  # fmt: skip
def test_an_origin_is_ours_or_not(origin: str, host: str, same: bool) -> None:
    assert same_origin(origin, host) is same


PROXIED = EdgePolicy(trusted_proxies=("10.0.0.0/8", "::1"))
SAID = {"Host": "inner:8080", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "od.example.org"}


def told(peer: str, policy: EdgePolicy = PROXIED, **headers: str) -> tuple[str, str, str]:
    given = SAID | {name.replace("_", "-"): value for name, value in headers.items()}
    found = sent(policy, peer, "http", given, lambda name: [given[name]] if name in given else [])
    return found.address, found.host, found.scheme


def test_a_stranger_s_forwarded_headers_are_passed_over() -> None:
    assert told("203.0.113.9", X_Forwarded_For="127.0.0.1") == ("203.0.113.9", "inner:8080", "http")
    assert told("127.0.0.1", EdgePolicy(), X_Forwarded_For="8.8.8.8") == ("127.0.0.1", "inner:8080", "http")


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        ("203.0.113.9", "203.0.113.9"), ("127.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("127.0.0.1, 203.0.113.9, 10.2.2.2", "203.0.113.9"), ("10.3.3.3, 10.2.2.2", "10.3.3.3"),
        ("203.0.113.9:4711", "203.0.113.9"), ("[2001:db8::1]:4711", "2001:db8::1"), ("2001:db8::1", "2001:db8::1"),
        ("unknown", "10.1.1.1"), ("", "10.1.1.1"), ("203.0.113.9, nonsense, 10.2.2.2", "10.2.2.2"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
    ],
)  # fmt: skip
def test_a_trusted_proxy_s_client_is_the_last_that_no_proxy_vouches_for(chain: str, address: str) -> None:
    assert told("10.1.1.1", X_Forwarded_For=chain) == (address, "od.example.org", "https")


def test_only_the_nearest_proxy_s_word_counts() -> None:
    assert told("::1", X_Forwarded_Host="evil.example, od.example.org", X_Forwarded_Proto="http, https") == (
        "::1", "od.example.org", "https"
    )  # fmt: skip
    assert told("::ffff:10.1.1.1", X_Forwarded_Proto="gopher") == ("10.1.1.1", "od.example.org", "http")


@pytest.mark.parametrize("text", ["", "[", "[]", "::", "a:b:c", "%", "[::1]%", "\x00", "é" * 300])
def test_nothing_a_client_sends_raises(text: str) -> None:
    for look in (host_name, PROXIED.is_ours, PROXIED.proxies.trusts, PROXIED.may_ask):
        look(text)
    same_origin(text, text)
    told("10.1.1.1", X_Forwarded_For=text, X_Forwarded_Host=text, X_Forwarded_Proto=text)


def test_origins_that_may_ask() -> None:
    policy = EdgePolicy(cors_origins=("https://app.example.org",))
    assert policy.may_ask("https://APP.example.org")
    for origin in ("http://app.example.org", "https://app.example.org:444", "https://app.example.org.evil", "null", ""):
        assert not policy.may_ask(origin)
    assert EdgePolicy(cors_origins=("*",)).may_ask("https://what.ever")
