"""Lists of links for players, which nobody else reads and which do not stay behind.

A list is a file in the session's own folder ($XDG_RUNTIME_DIR, gone with the session), or else among the temporary
ones. Whoever uses it holds a lock on it: what nobody holds was left by something that was killed, and goes when the
next one is made.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX, SUFFIX = "odctl-", ".m3u"
YOUNG_SECONDS = 60.0
"""A list that is younger may be one that is not locked yet."""


def make(text: str) -> tuple[int, str]:
    """A descriptor, which is to be kept open by all that use the list, and its path. Sweeps up old ones before."""
    for folder in {_folder(), tempfile.gettempdir()}:
        _sweep(Path(folder))
    try:
        descriptor, path = tempfile.mkstemp(prefix=PREFIX, suffix=SUFFIX, dir=_folder())  # made with mode 0600
    except OSError:
        descriptor, path = tempfile.mkstemp(prefix=PREFIX, suffix=SUFFIX)
    with suppress(OSError):  # a disk without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with os.fdopen(os.dup(descriptor), "w", encoding="utf-8") as stream:
        stream.write(text)
    return descriptor, path


def _folder() -> str:
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    return own if os.path.isabs(own) and os.path.isdir(own) else tempfile.gettempdir()


def _sweep(folder: Path) -> None:
    with suppress(OSError):
        for path in list(folder.glob(f"{PREFIX}*{SUFFIX}")):
            with suppress(OSError):
                _remove_left(path)


def _remove_left(path: Path) -> None:
    """Raises OSError when somebody uses it, or it is none of ours."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.getuid() or time.time() - found.st_mtime < YOUNG_SECONDS:
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(descriptor)
