"""host:port, as people write it."""

from __future__ import annotations

import re

_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.%a-z]+)\](?::([0-9]{1,5}))?")
_PLAIN = re.compile(r"([^\s/:@\[\]]+)(?::([0-9]{1,5}))?")


def parse_address(text: str, default_port: int) -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `[2001:db8::1]:port`. Raises ValueError, saying how it is written."""
    found = _BRACKETED.fullmatch(text) or _PLAIN.fullmatch(text)
    port = int(found[2] or default_port) if found else 0
    if not found or not 0 < port < 65536:
        raise ValueError(
            f"{text!r} is no address: give host:port without a scheme, such as nas.example.org:{default_port}"
            f" or [2001:db8::1]:{default_port}"
        )
    return found[1], port
