"""`make dev`: the daemon with debug logs, started again whenever a source file changes. Looks at the files once a
second: no library and no limit on watches. `make dev-worker` is the same with a worker, which has places of its own:
a controller may run here, too."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
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


def environment(arguments: list[str]) -> Mapping[str, str]:
    """A worker's has what keeps it apart from a controller here, where nothing else is said."""
    if "worker" not in arguments:
        return os.environ
    own = ROOT / ".worker"
    apart = {
        "OD_PATHS_DATA_DIR": str(own), "OD_PATHS_RUNTIME_DIR": str(own / "run"), "OD_NODE_FILE_SERVER_PORT": "0",
        "OD_NODE_ID": f"{socket.gethostname().partition('.')[0]}-worker",
    }  # fmt: skip
    return {**apart, **os.environ}


def main() -> int:
    end_on_signals()
    command = [sys.executable, "-m", "oddaemon", "--log-level", "debug", *sys.argv[1:]]
    while True:
        daemon = subprocess.Popen(command, start_new_session=True, env=environment(sys.argv[1:]))
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
