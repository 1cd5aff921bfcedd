"""The real command line as a child process, and what it answered."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.forked import ROOT, finished


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [json.loads(line)["error"] for line in self.err.splitlines()]


@dataclass(slots=True)
class Shell:
    folder: Path
    home: Path

    def environment(self, *, host: bool = True, **variables: str) -> dict[str, str]:
        given = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"} | variables
        if host:
            given["ODCTL_HOST"] = f"unix://{self.folder / 'c.sock'}"
        return given | {"PYTHONPATH": str(ROOT)}

    def start(self, *arguments: str, host: bool = True, **variables: str) -> Any:
        return asyncio.create_subprocess_exec(
            sys.executable, "-m", "odctl", *arguments, cwd=self.home, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=self.environment(host=host, **variables),
        )  # fmt: skip

    async def at_a_terminal(
        self, *arguments: str, typed: str = "", answers: Sequence[tuple[str, str]] = (), **variables: str
    ) -> Answer:
        """Stdin, stdout and stderr are one terminal: `out` is everything that it shows. Each of `answers` is typed when
        the text before it is shown."""
        ours, theirs = pty.openpty()
        try:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "odctl", *arguments, cwd=self.home, stdin=theirs, stdout=theirs, stderr=theirs,
                env={"TERM": "dumb"} | self.environment() | variables,
            )  # fmt: skip
            os.close(theirs)
            os.write(ours, typed.encode())
            shown = await asyncio.wait_for(asyncio.to_thread(_read_all, ours, answers), 60)
            return Answer(await asyncio.wait_for(child.wait(), 60), shown.decode(errors="replace"), "")
        finally:
            os.close(ours)

    async def __call__(self, *arguments: str, stdin: bytes = b"", host: bool = True, **variables: str) -> Answer:
        environment = self.environment(host=host, **variables)
        return Answer(*await finished(
            "odctl", *arguments, environment=environment, cwd=self.home, stdin=stdin, timeout=60
        ))  # fmt: skip


def _read_all(terminal: int, answers: Sequence[tuple[str, str]] = ()) -> bytes:
    found, waiting, seen = b"", list(answers), 0
    while True:
        if waiting and (at := found.find(waiting[0][0].encode(), seen)) >= 0:
            seen = at + len(waiting[0][0].encode())
            os.write(terminal, f"{waiting.pop(0)[1]}\n".encode())
        try:
            part = os.read(terminal, 65_536)
        except OSError:
            return found  # Linux says so when the other end is closed
        if not part:
            return found
        found += part
