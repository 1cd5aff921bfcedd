"""How the tools that run a daemon end: on TERM and HUP as on Ctrl-C, and never without the daemon that they started."""

from __future__ import annotations

import signal
import subprocess
import time
from types import FrameType

STOP_DEADLINE = 40.0


class Stopped(Exception):
    """Somebody asked us to end."""


def end_on_signals() -> None:
    """From now on TERM and HUP raise Stopped in the main thread."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)


def stop(process: subprocess.Popen[bytes]) -> int:
    """Ends it; its exit code. Idempotent; being asked a second time meanwhile makes it hurry."""
    hurry = False
    deadline = time.monotonic() + STOP_DEADLINE
    if process.poll() is None:
        process.terminate()
    while process.poll() is None:
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
        except (Stopped, KeyboardInterrupt):
            process.kill() if hurry else process.terminate()
            hurry = True
    return int(process.returncode)


def _stop(_: int, __: FrameType | None) -> None:
    raise Stopped
