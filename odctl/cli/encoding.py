"""What a terminal that is not UTF-8 gets for characters that it has not. Standard library only."""

from __future__ import annotations

import codecs
from typing import TextIO

ERRORS = "odctl.readable"
LOOK_ALIKES = {"✓": "v", "✗": "x", "·": ".", "…": "~", "→": "->", "≥": ">="}
"""Of our own signs. Those in tables are one column wide, too."""


def tolerate(stream: TextIO) -> None:
    """Nothing that is written there can fail for its characters: a name with half a surrogate pair must not end the
    command."""
    codecs.register_error(ERRORS, _readable)
    stream.reconfigure(errors=ERRORS)  # type: ignore[attr-defined]


def _readable(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    alike = LOOK_ALIKES.get(error.object[error.start])
    if alike is None:
        # of the others it is told which they are
        single = UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason)
        return codecs.backslashreplace_errors(single)
    return alike, error.start + 1
