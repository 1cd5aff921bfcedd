"""The lines that were given to the command line, kept in the client's cache folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from odctl.kept_file import locked, write_whole

MOST = 500
LONGEST = 4000


class History:
    """`file` None: nothing is kept beyond this run. A file that cannot be read or written costs nothing else."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.lines: list[str] = []
        self._at = 0
        self._typed = ""
        with suppress(OSError):
            self.lines = self._read()
        self._at = len(self.lines)

    def _read(self) -> list[str]:
        """Raises OSError."""
        if self.file is None:
            return []
        try:
            written = self.file.read_text("utf-8", "replace")
        except FileNotFoundError:
            return []
        return [line for line in written.split("\n") if line][-MOST:]

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
        with suppress(OSError), locked(self.file):
            # another dashboard may have added some
            others = [line for line in self._read() if line not in self.lines]
            write_whole(self.file, "\n".join([*others, *self.lines][-MOST:]) + "\n")
