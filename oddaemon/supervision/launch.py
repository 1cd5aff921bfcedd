"""Becomes the program that it is told to, after asking the kernel to kill it when the daemon dies.

Run as `python -I -S launch.py <pid of the daemon> <program> <arguments…>`. A program of its own rather than a
`preexec_fn`, which may deadlock between fork and exec in a process that has threads. Imports nothing of ours.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the request was made
        os._exit(1)
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
