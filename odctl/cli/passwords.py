"""Passwords: asked for without an echo, or read from stdin. Never arguments: those are for everybody to see."""

from __future__ import annotations

import sys

from odctl.cli.context import Invocation
from odctl.client.errors import OdctlError, UsageError

MAX_BYTES = 4096
"""Of stdin that are read for a password."""


def ask(run: Invocation, prompt: str, flag: str) -> str:
    """Asks at the terminal. Raises UsageError naming `flag` where nobody can be asked."""
    if not run.interactive:
        raise UsageError(f"{prompt.lower()}: there is no terminal to ask at", hint=f"give it on stdin with {flag}")
    import getpass

    try:
        found = getpass.getpass(f"{prompt}: ")
    except EOFError:
        found = ""
    if not found:
        raise OdctlError("no password was given: nothing was changed", code="CANCELLED")
    return found


def ask_new(run: Invocation, prompt: str, flag: str) -> str:
    """Asks twice."""
    found = ask(run, prompt, flag)
    if ask(run, f"{prompt}, again", flag) != found:
        raise OdctlError("the two passwords differ: nothing was changed", code="CANCELLED")
    return found


def lines(flag: str, count: int = 1) -> list[str]:
    """So many lines of stdin. Raises UsageError."""
    if sys.stdin.isatty():
        raise UsageError(
            f"{flag}: stdin is a terminal, where everybody could read along", hint="leave it out to be asked"
        )
    try:
        text = sys.stdin.buffer.read(MAX_BYTES).decode()
    except ValueError as error:
        raise UsageError(f"{flag}: stdin is not UTF-8") from error
    found = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    wanted = "a password" if count == 1 else "the old password and, on the next line, the new one"
    if len(found) > count:
        raise UsageError(f"{flag}: stdin holds more than {wanted}")
    if len(found) < count or not all(found):
        raise UsageError(f"{flag}: stdin does not hold {wanted}")
    return found
