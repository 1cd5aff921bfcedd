"""Takes secrets that were read out of this process's environment."""

from __future__ import annotations

import ctypes
import os
import sys


def take_out(variable: str) -> None:
    """No child inherits it, and on Linux /proc/PID/environ has zeros in its place. To be called before there are
    threads: the C library's environment is everybody's."""
    if variable not in os.environ:
        return
    if sys.platform == "linux":
        _blank(variable.encode())
    del os.environ[variable]


def _blank(variable: bytes) -> None:
    """Forgetting a variable leaves the text where the kernel put it, which is what /proc shows."""
    find = ctypes.CDLL(None).getenv
    find.argtypes, find.restype = [ctypes.c_char_p], ctypes.c_void_p
    place = find(variable)
    if place:
        ctypes.memset(place, 0, len(ctypes.string_at(place)))
