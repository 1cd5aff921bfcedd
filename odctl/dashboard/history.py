"""The lines that were given to the command line, kept in the client's cache folder."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MOST = 500
LONGEST = 4000


class History:
    """`file` None: nothing is kept beyond this run. A file that cannot be read or written costs nothing else."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.lines: list[str] = []
        self._at = 0
        self._typed = ""
        if file is not None:
            with suppress(OSError):
                self.lines = [line for line in file.read_text("utf-8", "replace").splitlines() if line][-MOST:]
        self._at = len(self.lines)

    def add(self, line: str) -> None:
        if line and len(line) <= LONGEST and self.lines[-1:] != [line]:
            self.lines = [*self.lines, line][-MOST:]
            self._save()
        self._at = len(self.lines)

    def older(self, typed: str) -> str:
        if self._at == len(self.lines):
            self._typed = typed
        self._at = max(0, self._at - 1)
        return self.lines[self._at] if self.lines else typed

    def newer(self) -> str:
        self._at = min(len(self.lines), self._at + 1)
        return self.lines[self._at] if self._at < len(self.lines) else self._typed

    def _save(self) -> None:
        if self.file is None:
            return
        fresh = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        with suppress(OSError):
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # lines may hold what is nobody else's business
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as stream:
                stream.write("\n".join(self.lines) + "\n")
            fresh.replace(self.file)
