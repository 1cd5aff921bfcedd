"""Opens addresses that are secrets in the desktop's program. Standard library only."""

from __future__ import annotations

import html
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from odctl.cli.exit_codes import ExitCode
from odctl.client.errors import OdctlError
from odctl.text import clean

OPENER_SECONDS = 5.0
"""An opener that runs longer is the program that shows it, and somebody looks at it."""
PAGE_SECONDS = 30.0
"""For which a browser that starts slowly still finds the page that leads to an address."""


def open_urls(urls: Sequence[str]) -> None:
    """Through pages that lead there: a signed link must not stand in the list of processes. Raises OdctlError."""
    opener = shutil.which("xdg-open") or shutil.which("open")
    if opener is None:
        raise OdctlError("there is no program to open links with", code="UNSUPPORTED", exit_code=ExitCode.REFUSED)
    folder = tempfile.mkdtemp(prefix="odctl-")
    try:
        for at, url in enumerate(urls):
            page = os.path.join(folder, f"{at}.html")
            with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(f'<meta http-equiv="refresh" content="0;url={html.escape(url)}">\n')
            _run(opener, page)
    finally:
        # an opener that has ended has only told a browser, which reads the page when it gets to it
        forget_later(folder, PAGE_SECONDS)


def _run(opener: str, page: str) -> None:
    try:
        child = subprocess.Popen([opener, page], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    except OSError as error:
        raise OdctlError(f"cannot start {clean(opener)}: {error.strerror}", code="IO") from error
    try:
        code = child.wait(OPENER_SECONDS)
    except subprocess.TimeoutExpired:
        child.returncode = 0  # it outlives us on purpose: Popen would warn that nobody waited for it
        return
    if code:
        raise OdctlError(f"{clean(opener)} could not open the link (exit {code})", code="IO")


def forget_later(folder: str, seconds: float) -> None:
    """Returns at once; the folder goes after so long, whatever becomes of this process."""
    if os.fork():
        return
    try:
        os.setsid()
        be_silent()
        time.sleep(seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


def be_silent() -> None:
    """Lets go of the terminal, or of the pipe whose reader waits for its end."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
