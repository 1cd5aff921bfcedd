"""Where a request comes from and whom it is for: addresses behind proxies, hosts that are ours, origins that may ask.

A page of anywhere can have a browser send requests to 127.0.0.1, and with a name that it points there afterwards (DNS
rebinding) it can read the answers. Against that: the Host has to be one of ours, and an Origin our own. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

from oddaemon.domain.proxies import Proxies, address_of, plain_address

_PORT = re.compile(r"[0-9]{1,5}")

LOCAL = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")


@dataclass(frozen=True, kw_only=True)
class EdgePolicy:
    """Who may ask, by the settings."""

    names: Collection[str] = ()
    """The machine's own."""
    allowed_hosts: Sequence[str] = ()
    """Other names by which it is reached; `*.example.org`: the names below; `*`: any."""
    trusted_proxies: Sequence[str] = ()
    """Addresses and networks whose X-Forwarded headers count."""
    cors_origins: Sequence[str] = ()
    """Origins whose pages may ask; `*`: any."""

    @cached_property
    def proxies(self) -> Proxies:
        return Proxies(self.trusted_proxies)

    @cached_property
    def _hosts(self) -> frozenset[str]:
        names = (*LOCAL, *self.names, *self.allowed_hosts)
        return frozenset(name.lower().rstrip(".") for name in names if name)

    def is_ours(self, host: str) -> bool:
        """Whether a Host header, with or without its port, names this server. An address always does: to have a browser
        ask for one, a page has to name it, and then its Origin gives it away."""
        name = host_name(host)
        if not name:
            return False
        if address_of(name) is not None or name in self._hosts or "*" in self._hosts:
            return True
        return any(f"*.{parent}" in self._hosts for parent in _parents(name))

    def may_ask(self, origin: str) -> bool:
        """Whether pages of this foreign origin may ask."""
        return "*" in self.cors_origins or origin.lower() in {known.lower() for known in self.cors_origins}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request as its sender meant it."""

    address: str
    host: str
    scheme: str


def sent(policy: EdgePolicy, peer: str, scheme: str, headers: Mapping[str, str], all_of: Callable[[str], Sequence[str]]) -> Sent:  # noqa: E501  # fmt: skip
    """`peer` is the address at the other end, `all_of` gives every header of a name. What proxies that are not trusted
    say is passed over, and so is what they were told by others."""
    host = headers.get("Host", "")
    if not policy.proxies.trusts(peer):
        return Sent(address=plain_address(peer), host=host, scheme=scheme)
    told = _last(all_of("X-Forwarded-Proto")).lower()
    return Sent(
        address=policy.proxies.client(peer, all_of("X-Forwarded-For")),
        host=_last(all_of("X-Forwarded-Host")) or host,
        scheme=told if told in ("http", "https") else scheme,
    )


def host_name(host: str) -> str:
    """`Name:8080` → `name`, `[::1]:8080` → `::1`; empty for what is no host."""
    text = host.strip().lower()
    if text.startswith("["):
        name, closed, rest = text[1:].partition("]")
        return name if closed and (not rest or rest.startswith(":")) else ""
    name, _, port = text.partition(":")
    # an interface after `%` belongs in brackets; elsewhere it would make an address of any name
    return name.rstrip(".") if "%" not in name and (not port or _PORT.fullmatch(port)) else ""


def same_origin(origin: str, host: str) -> bool:
    """Whether a page of this origin came from this host. The scheme is left out: behind a proxy it may not be known."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.hostname != host_name(host):
        return False
    ours = host.rpartition(":")[2] if not host.endswith("]") and ":" in host else ""
    defaults = {"http": 80, "https": 443}
    return (port or defaults[parts.scheme]) == (int(ours) if _PORT.fullmatch(ours) else defaults[parts.scheme])


def _last(values: Sequence[str]) -> str:
    return values[-1].rpartition(",")[2].strip() if values else ""


def _parents(name: str) -> Sequence[str]:
    labels = name.split(".")
    return [".".join(labels[number:]) for number in range(1, len(labels))]
