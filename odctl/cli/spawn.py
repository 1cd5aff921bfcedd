"""Starts a daemon of this user's, detached, and waits until it answers. Standard library only."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from odctl.client.endpoints import Choice, find_socket
from odctl.client.errors import OdctlError, Unreachable
from odctl.config import log_file

READY_SECONDS = 15.0
ELSEWHERE = ("OD_PATHS_RUNTIME_DIR", "OD_CONTROL_SOCKET_PATH")


def spawn(choice: Choice, arguments: Sequence[str] = ()) -> tuple[int, Path]:
    """The new daemon's process id and its log file. Returns when its socket is answered.

    Raises OdctlError when the program ends or does not answer within 15 s; its last words are then in the message.
    """
    log = log_file()
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise OdctlError(f"cannot write {log}: {error.strerror}", code="IO") from error
    began = os.fstat(descriptor).st_size
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "oddaemon", *arguments],
            env=_environment(choice),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            cwd="/",
        )
    finally:
        os.close(descriptor)
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            find_socket(choice)
        except Unreachable as error:
            if not error.absent:
                raise
        else:
            return _let_go(child), log
        if child.poll() is not None:
            raise _failed(f"the daemon ended at once (exit {child.returncode})", log, began)
        time.sleep(0.05)
    _let_go(child)
    raise _failed(f"the daemon did not answer within {READY_SECONDS:g} s", log, began)


def _environment(choice: Choice) -> dict[str, str]:
    """Without what puts the socket elsewhere than where it is waited for: a worker's, say, beside this daemon."""
    passed = dict(os.environ)
    if not choice.configured:
        for name in ELSEWHERE:
            passed.pop(name, None)
    return passed


def _let_go(child: subprocess.Popen[bytes]) -> int:
    """It outlives us on purpose: Popen would warn that nobody waited for it."""
    child.returncode = 0
    return child.pid


def _failed(message: str, log: Path, began: int) -> OdctlError:
    return OdctlError(message, code="UNAVAILABLE", exit_code=5, why=_last_words(log, began), hint=f"look: tail {log}")


def _last_words(log: Path, began: int) -> str:
    """What the daemon said last, at most 200 characters: its complaint with the advice below it, or one line."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(began, log.stat().st_size - 4096))
            lines = [line for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    said = [at for at, line in enumerate(lines) if line.startswith("oddaemon: ")]
    told = lines[said[-1] :] if said else lines[-1:]
    return "; ".join(line.strip() for line in told).removeprefix("oddaemon: ")[:200]
