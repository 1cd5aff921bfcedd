"""What is written down of an exception that nobody expected: where it came from, never what was in the variables."""

from __future__ import annotations

import os
import re
import time
import traceback
from collections.abc import Iterable

from odctl.config import state_dir

SECRETS = (
    re.compile(r"\bod[a-z]_[0-9A-Za-z_-]{16,}"),
    re.compile(r"\beyJ[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*"),
    re.compile(r"(?<=/d/)[^\s'\"]+"),
    # a password may hold slashes, blanks and @
    re.compile(r"(?<=://)[^'\"\n]*(?=@)"),
    re.compile(r"(?<=\?)[^\s'\"]+"),
    re.compile(r"(?i)(?<=bearer )\S+"),
    re.compile(r"(?i)(?<=basic )\S+"),
    re.compile(r"(?i)(?:(?<=password=)|(?<=password )|(?<=token=)|(?<=cookie: ))\S+"),
    # as trackers have it, between the address and the word announce
    re.compile(r"(?<=/)[0-9A-Za-z]{16,}(?=/)"),
)
"""API keys and invitations, tokens of a login, signed links, names and passwords in addresses, what a URL asks for,
headers, passkeys."""


def masked(text: str) -> str:
    """Without what would let somebody in who reads it."""
    for secret in SECRETS:
        text = secret.sub("***", text)
    return text


def crash_file(error: BaseException, told: Iterable[str] = ()) -> str:
    """Writes the traceback, and what was going on before; says where, or how to find out without the file."""
    path = state_dir() / f"odctl-crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    text = "".join(traceback.format_exception(error)) + "".join(f"\n{line}" for line in told)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", errors="backslashreplace") as stream:
            stream.write(masked(text))
    except OSError:
        return "run it again with --debug to see where"
    return f"this is a bug; the details are in {path}"
