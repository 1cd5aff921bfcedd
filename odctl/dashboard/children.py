"""Other runs of odctl, started from here: each with the same daemon, never asking anything. What they print is data."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec import Struct

LONGEST = 200_000
"""Characters that are kept of what one prints; what is older is dropped."""
LINE_LIMIT = 1 << 20


class Ended(Struct, frozen=True, kw_only=True):
    code: int
    out: str
    err: str


# -P: else a file of somebody else's in the current folder, as asyncio.py, would be run in place of Python's own
ODCTL = (sys.executable, "-P", "-m", "odctl")


def command(endpoint: str, arguments: Sequence[str], *, yes: bool = False) -> list[str]:
    """What is run: odctl's own parser has the line, and the daemon is the one that is shown."""
    asking = "--yes" if yes else "--no-input"
    return [*ODCTL, "--host", endpoint, "--color", "never", asking, *arguments]


async def run(argv: Sequence[str], on_line: Callable[[str], None] | None = None) -> Ended:
    """Until it ends. `on_line` is told every line of its stderr. When this is cancelled, it is ended."""
    child = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True, limit=LINE_LIMIT, env={**os.environ, "PAGER": "", "ODCTL_PAGER": ""},
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        out, err = await asyncio.gather(_kept(child.stdout, None), _kept(child.stderr, on_line))
        return Ended(code=await child.wait(), out=out, err=err)
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.terminate()
            await child.wait()


async def _kept(stream: asyncio.StreamReader, on_line: Callable[[str], None] | None) -> str:
    kept: list[str] = []
    length = 0
    while True:
        try:
            raw = await stream.readline()
        except ValueError:
            continue  # a line longer than anybody reads
        if not raw:
            return "".join(kept)
        line = raw.decode(errors="replace")
        kept.append(line)
        length += len(line)
        while length > LONGEST and len(kept) > 1:
            length -= len(kept.pop(0))
        if on_line is not None:
            on_line(line.rstrip("\n"))
