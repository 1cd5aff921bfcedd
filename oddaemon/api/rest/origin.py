"""Where a request comes from and whom it is for: addresses behind proxies, hosts that are ours, origins that may ask.

A page of anywhere can have a browser send requests to 127.0.0.1, and with a name that it points there afterwards (DNS
rebinding) it can read the answers. Against that: the Host has to be one of ours, and an Origin our own. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

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
    def _networks(self) -> Sequence[Network]:
        return [ip_network(text, strict=False) for text in self.trusted_proxies]

    @cached_property
    def _hosts(self) -> frozenset[str]:
        names = (*LOCAL, *self.names, *self.allowed_hosts)
        return frozenset(name.lower().rstrip(".") for name in names if name)

    def trusts(self, address: str) -> bool:
        found = _address(address)
        return found is not None and any(found in network for network in self._networks)

    def is_ours(self, host: str) -> bool:
        """Whether a Host header, with or without its port, names this server. An address always does: to have a browser
        ask for one, a page has to name it, and then its Origin gives it away."""
        name = host_name(host)
        if not name:
            return False
        if _address(name) is not None or name in self._hosts or "*" in self._hosts:
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
    if not policy.trusts(peer):
        return Sent(address=plain_address(peer), host=host, scheme=scheme)
    address = peer
    hops = [hop.strip() for value in all_of("X-Forwarded-For") for hop in value.split(",")]
    while hops and policy.trusts(address):
        hop = _without_port(hops.pop())
        if _address(hop) is None:
            break
        address = hop
    told = _last(all_of("X-Forwarded-Proto")).lower()
    return Sent(
        address=plain_address(address),
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


def plain_address(text: str) -> str:
    """An IPv4 address that came over IPv6 as it is written elsewhere; `%` and an interface go."""
    found = _address(text)
    return text if found is None else str(found)


@lru_cache(maxsize=1024)
def _address(text: str) -> Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _last(values: Sequence[str]) -> str:
    return values[-1].rpartition(",")[2].strip() if values else ""


def _parents(name: str) -> Sequence[str]:
    labels = name.split(".")
    return [".".join(labels[number:]) for number in range(1, len(labels))]
