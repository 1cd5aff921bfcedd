"""The section `[engines.aria2]` of the settings."""

from __future__ import annotations

from dataclasses import dataclass

from oddaemon.domain.types import BytesPerSecond, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Aria2Settings:
    """The program is looked up on PATH; its RPC address and secret are made anew at each start."""

    enabled: bool = True
    """Whether this node offers the engine."""
    max_concurrent: int = 5
    """Downloads that may run at the same time."""
    connections_per_server: int = 4
    """Connections that one http or ftp download opens, 1 to 16; the option `connections` of a download wins."""
    max_rate_down: BytesPerSecond = BytesPerSecond(0)
    """Bytes per second of all downloads together; 0: no limit."""
    max_rate_up: BytesPerSecond = BytesPerSecond(0)
    """Bytes per second of all uploads together; 0: no limit."""
    listen_ports: str = "6881-6999"
    """Ports for peers and DHT, such as `6881-6999` or `6881,6883`."""
    dht: bool = True
    """Find peers without a tracker. Never used for private torrents."""
    lpd: bool = True
    """Find peers in the local network. Never used for private torrents."""
    pex: bool = True
    """Learn peers from peers. Never used for private torrents."""
    stall_timeout: Seconds = Seconds(30)
    """Time without a byte after which an http or ftp connection counts as hung."""
    ca_certificate: str = ""
    """A file with the certificate authorities to trust, in PEM form, in place of the system's; empty: the system's."""
