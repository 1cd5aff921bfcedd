"""What to clean up of the cache, as one line, and a plan of it as lines. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from odctl import text as words
from odctl.client.errors import UsageError

HINT = "older=30d  free=100G  node=NAME  verify"
MOST = 200
"""Entries of a plan that are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    older_s: float = 0.0
    until_free: int = 0
    node: str = ""
    verify: bool = False


def wish(line: str) -> Wish:
    """What the line asks for. Raises UsageError."""
    older, free, node, verify = 0.0, 0, "", False
    for term in line.split():
        name, _, value = term.partition("=")
        if name == "older" and value:
            older = words.parse_duration(value, "older")
        elif name == "free" and value:
            free = words.parse_size(value, "free")
        elif name == "node" and value:
            node = value
        elif term == "verify":
            verify = True
        else:
            raise UsageError(f"{words.clean(term)!r} cannot be read", hint=f"as in: {HINT}")
    if not (older or free or verify):
        raise UsageError("nothing to go by was given", hint="older=30d, free=100G or verify")
    return Wish(older_s=older, until_free=free, node=node, verify=verify)


def plan(found: Mapping[str, Any]) -> Iterator[str]:
    """What would go, and what stays although it was meant."""
    going = [item for item in found["items"] if item["failure"] is None]
    staying = [item for item in found["items"] if item["failure"] is not None]
    for item in going[:MOST]:
        yield f"{words.size(item['freed_bytes']):>10}  {name_of(item['entry'])}"
    if len(going) > MOST:
        yield f"and {len(going) - MOST} more"
    for item in staying[:MOST]:
        yield f"stays: {item['failure'].message}"


def name_of(entry: Mapping[str, Any] | None) -> str:
    return "?" if entry is None else entry["name"] or entry["key"]


def entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"
