"""`-w [SECS]` of lists that keep themselves current."""

from __future__ import annotations

from typing import Annotated

import typer

from odctl.client.errors import UsageError
from odctl.text import parse_duration

OPTIONAL = {"watch": r"\d[\d.]*(ms|s|m)?"}
"""Its value may be left out; see odctl.cli.hoist."""
FASTEST, SLOWEST = 0.1, 60.0
"""Seconds between two looks, as the daemon takes them."""

WatchOpt = Annotated[
    str | None,
    typer.Option("--watch", "-w", metavar="[SECS]", help="Keep the list current, looking every so often (0.5)."),
]


def seconds(text: str) -> float:
    """Between two looks; 0: nobody said. Raises UsageError."""
    if not text:
        return 0
    found = parse_duration(text, "--watch")
    if not FASTEST <= found <= SLOWEST:
        raise UsageError(f"--watch takes {FASTEST:g} to {SLOWEST:g} seconds")
    return found
