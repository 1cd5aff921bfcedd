"""What completion remembers of the daemon: words with a hint, in a file each, brought up to date by a process of its
own. Standard library only: a TAB has to be instant."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from odctl.config import Environment, cache_dir, config_dir

ASK_SECONDS = 0.3
"""For so long a TAB waits for news; what comes later is there for the next one."""
FRESH_SECONDS = 5.0

Words = list[tuple[str, str]]
"""A word and what it stands for."""


def recall(kind: str, about: str = "", host: str = "", context: str = "") -> Words:
    """What is known, at most 5 s old if the daemon answers within 300 ms; else what was known before. `about`: the job
    whose files are meant. `host` and `context`: the values of -H and -c."""
    path = _path(kind, about, host, context)
    if not _fresh(path):
        _refresh([kind, about, host, context])
    try:
        return [(str(word), str(hint)) for word, hint in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return []


def remember(kind: str, about: str, host: str, context: str, words: Sequence[tuple[object, object]]) -> None:
    """Keeps words for `recall`. A folder that cannot be written to means that nothing is remembered."""
    path = _path(kind, about, host, context)
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps([[str(word), str(hint)] for word, hint in words]))
        temporary.replace(path)


@contextmanager
def only_one(kind: str, about: str, host: str, context: str) -> Iterator[bool]:
    """Whether nobody else is asking the same: TABs come faster than answers."""
    path = _path(kind, about, host, context).with_suffix(".lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _fresh(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < FRESH_SECONDS
    except OSError:
        return False


def _refresh(arguments: Sequence[str]) -> None:
    """Starts a process that may take its time, and waits for it only briefly."""
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "odctl.cli.remembering", *arguments], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError:
        return
    try:
        child.wait(ASK_SECONDS)
    except subprocess.TimeoutExpired:
        child.returncode = 0  # it outlives us on purpose: Popen would warn that nobody waited for it


def _path(kind: str, about: str, host: str, context: str) -> Path:
    own = Environment.read()
    asked = "\0".join((host or own.host, context or own.context, _current(), about))
    return cache_dir() / f"{kind}-{hashlib.sha256(asked.encode(errors='surrogateescape')).hexdigest()[:16]}.json"


def _current() -> str:
    """Another one whenever the contexts have changed: what was remembered may be another daemon's."""
    try:
        return str((config_dir() / "contexts.toml").stat().st_mtime_ns)
    except OSError:
        return ""
