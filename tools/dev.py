"""`make dev`: the daemon with debug logs, started again whenever a source file changes. Looks at the files once a
second: no library and no limit on watches."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from ending import Stopped, end_on_signals, stop

ROOT = Path(__file__).resolve().parent.parent
WATCHED = ("oddaemon", "proto/odproto", "migrations")
LOOK_EVERY = 1.0


def newest() -> tuple[float, int]:
    """Changes when a file is written, added or removed."""
    times = [path.stat().st_mtime for folder in WATCHED for path in (ROOT / folder).rglob("*.py") if path.exists()]
    return max(times, default=0.0), len(times)


def until_change(daemon: subprocess.Popen[bytes]) -> bool:
    """False when the daemon ended in order. One that fails is told of, and waits for the change that mends it."""
    seen, told = newest(), False
    while newest() == seen:
        code = daemon.poll()
        if code == 0:
            return False
        if code is not None and not told:
            told = True
            print(f"the daemon ended with {code}: it is started again after the next change", file=sys.stderr)
        time.sleep(LOOK_EVERY)
    return True


def main() -> int:
    end_on_signals()
    command = [sys.executable, "-m", "oddaemon", "--log-level", "debug", *sys.argv[1:]]
    while True:
        daemon = subprocess.Popen(command, start_new_session=True)
        try:
            if not until_change(daemon):
                return 0
        except (Stopped, KeyboardInterrupt):
            return 0
        finally:
            stop(daemon)
        print("changed: starting again", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
