"""The process at the other end of odctl.client.bridge. Imports next to nothing: it is started before anything else."""

from __future__ import annotations

import socket
import subprocess
import sys


class Child:
    """The process. It may be started long before the event loop is there."""

    def __init__(self) -> None:
        self.ours, theirs = socket.socketpair()
        with theirs:
            # not in our terminal's foreground: a Ctrl-C there is none of its business
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "odctl.client.bridged", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def close(self) -> None:
        self.ours.close()
        self._process.kill()
        self._process.wait()
