"""`python -m odctl.web.inside DESCRIPTOR`: the dashboard of one tab. Its terminal is the browser's, behind two pipes.

The descriptor is a pipe that the server holds open: the task comes through it, and when it ends, so does this process,
however the server ended.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import BinaryIO

from odctl.client.child import Child
from odctl.web.task import Task


def main(descriptor: int) -> int:
    lifeline = os.fdopen(descriptor, "rb", buffering=0)
    task = Task.unpacked(lifeline.readline())
    # it imports the protocol while this process imports Textual
    child = Child()
    threading.Thread(target=_end_with, args=(lifeline,), name="lifeline", daemon=True).start()
    from odctl.client.bridge import Bridge
    from odctl.dashboard.glyphs import UNICODE
    from odctl.dashboard.launch import open_dashboard

    return open_dashboard(
        Bridge(child), task.choice, timeout=task.timeout, pane=task.pane, filter=task.filter, read_only=task.read_only,
        mouse=True, glyphs=UNICODE,
    )  # fmt: skip


def _end_with(lifeline: BinaryIO) -> None:
    lifeline.read()
    os._exit(1)  # whoever would get what is left to say is gone


if __name__ == "__main__":
    code = main(int(sys.argv[1]))
    sys.stdout.flush()
    os._exit(code)
