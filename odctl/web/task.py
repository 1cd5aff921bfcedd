"""What each tab's dashboard is told to show. It goes to its process through a pipe, never in the arguments."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from odctl.client.endpoints import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    paths: tuple[str, ...]
    source: str
    context: str = ""
    timeout: float | None = None
    pane: str = "jobs"
    filter: str = ""
    read_only: bool = False

    @property
    def choice(self) -> Choice:
        return Choice(paths=tuple(map(Path, self.paths)), source=self.source, context=self.context)

    def packed(self) -> bytes:
        """One line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def unpacked(cls, line: bytes) -> Task:
        fields = json.loads(line)
        return cls(**(fields | {"paths": tuple(fields["paths"])}))
