"""What the child runs: a task on stdin, yt_dlp inside, one JSON line an event on what was its stdout.

Run as `python -P -m oddaemon.engines.ytdlp.child` in a session of its own. The only program that imports yt_dlp.

It lives no longer than the daemon: the kernel sends TERM when the daemon dies, and stdin comes to its end; either kills
the whole group, an ffmpeg at work included. (A PDEATHSIG of KILL would leave that ffmpeg behind.)
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any, BinaryIO, NoReturn

PR_SET_PDEATHSIG = 1  # prctl(2)
MEMORY = 4 << 30
"""RLIMIT_DATA of each process, in bytes."""
DESCRIPTORS = 1024
LOOK_CPU, CPU = 300, 24 * 3600
"""RLIMIT_CPU of looking at a page and of everything else, in seconds: an endless loop in an extractor ends."""


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: _end_group())
    _limit()
    out = _take_stdout()
    line = sys.stdin.buffer.readline()
    if not line:
        return 1
    task = json.loads(line)
    if os.getppid() != task["parent"]:  # it died before the kernel was asked to tell
        return 1
    _limit_to(resource.RLIMIT_CPU, LOOK_CPU if task["mode"] in ("resolve", "probe") else CPU)
    if task["mode"] == "classify":
        from oddaemon.engines.ytdlp.classify import answer

        answer(sys.stdin.buffer, out)
        return 0
    threading.Thread(target=_watch, args=(sys.stdin.buffer,), daemon=True, name="daemon watch").start()
    _work(task, out)
    out.flush()
    # not the usual way out: threads of yt_dlp may hang in a connection
    os._exit(0)


def _work(task: Mapping[str, Any], out: BinaryIO) -> None:
    from oddaemon.engines.ytdlp.problems import problem_of

    emit = Emitter(out)
    try:
        if task["mode"] == "fill":
            from oddaemon.engines.ytdlp.download import fill

            fill(task, emit)
        else:
            from oddaemon.engines.ytdlp.extraction import look

            look(task, emit)
    except Exception as error:  # noqa: BLE001  (whatever an extractor raises is this task's end, told to the daemon)
        emit("failed", problem=problem_of(error))


class Emitter:
    """Writes events, each one line, whole even when several threads write."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lock = threading.Lock()

    def __call__(self, event: str, **facts: object) -> None:
        line = json.dumps({"event": event, **facts}).encode() + b"\n"
        with self._lock:
            self._out.write(line)
            self._out.flush()


def _limit() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    for kind, wanted in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, MEMORY),
        (resource.RLIMIT_NOFILE, DESCRIPTORS),
    ):
        _limit_to(kind, wanted)


def _limit_to(kind: int, wanted: int) -> None:
    hard = resource.getrlimit(kind)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (value, value))


def _take_stdout() -> BinaryIO:
    """What anything else prints goes to stderr."""
    private = os.dup(1)  # not inherited by programs that are started (PEP 446)
    os.dup2(2, 1)
    return os.fdopen(private, "wb")


def _watch(stdin: BinaryIO) -> None:
    while stdin.read(4096):
        pass
    _end_group()


def _end_group() -> NoReturn:
    os.killpg(0, signal.SIGKILL)
    raise SystemExit(1)


if __name__ == "__main__":
    sys.exit(main())
