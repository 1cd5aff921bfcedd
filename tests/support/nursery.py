"""`python -m tests.support.nursery odctl`: a process that has imported one of our programs and, for each order on its
stdin, which is a socket, forks into it. Importing is nine tenths of what a short run of a program costs.

What runs is a process of its own in every respect but how it began: a session, descriptors, an environment and a folder
as ordered, and an exit code. Tests of the beginning itself start the program anew.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import pkgutil
import random
import runpy
import signal
import socket
import sys
import termios
import time
from typing import Any

PACKAGES = {
    "odctl": ("odctl.cli", "odctl.client"),
    "oddaemon": ("oddaemon.app", "oddaemon.engines", "oddaemon.store", "oddaemon.storage", "oddaemon.balancers",
                 "oddaemon.subscribers", "oddaemon.api", "oddaemon.services"),
}  # fmt: skip
LONGEST_ORDER = 1 << 20
NOT_BEFORE = {"odctl.cli.commands.dashboard"}


def main(program: str) -> None:
    """Until nobody holds the other end."""
    _import(program)
    gc.freeze()  # what is shared with the children stays so
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are reaped by nobody
    orders = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    while True:
        text, descriptors, _, _ = socket.recv_fds(orders, LONGEST_ORDER, 4)
        if not text:
            return
        if os.fork() == 0:
            orders.close()
            _keep(program, json.loads(text), descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)


def _import(program: str) -> None:
    for name in PACKAGES[program]:
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not found.name.endswith("__main__") and found.name not in NOT_BEFORE:
                importlib.import_module(found.name)


def _keep(program: str, order: dict[str, Any], descriptors: list[int]) -> None:
    """Tells the child's pid and then its exit code: whoever ordered it is not its parent and could not wait for it.
    Returns in the child, as the program, alone."""
    *streams, told = descriptors
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child:
        for descriptor in streams:
            os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        os.write(told, b"%16d" % child)
        _, status = os.waitpid(child, 0)
        os.write(told, b"%d" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.close(told)
    os.setsid()
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C typed there is for this program
        # those that were made at the start have another kind of file for theirs
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the life of the program
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    random.seed()
    sys.argv[1:] = order["arguments"]
    runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1])
