"""Who asks when reverse proxies stand between: X-Forwarded-For, of trusted ones alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Proxies:
    """Addresses and networks whose X-Forwarded headers count."""

    trusted: Sequence[str] = ()

    @cached_property
    def _networks(self) -> Sequence[Network]:
        return [ip_network(text, strict=False) for text in self.trusted]

    def trusts(self, address: str) -> bool:
        found = address_of(address)
        return found is not None and any(found in network for network in self._networks)

    def client(self, peer: str, forwarded_for: Sequence[str]) -> str:
        """`peer` is the address at the other end, `forwarded_for` every such header, in order. What proxies say that
        are not trusted is passed over, and so is what they were told by others."""
        address = peer
        hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
        while hops and self.trusts(address):
            hop = _without_port(hops.pop())
            if address_of(hop) is None:
                break
            address = hop
        return plain_address(address)


def plain_address(text: str) -> str:
    """An IPv4 address that came over IPv6 as it is written elsewhere; `%` and an interface go."""
    found = address_of(text)
    return text if found is None else str(found)


@lru_cache(maxsize=1024)
def address_of(text: str) -> Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
