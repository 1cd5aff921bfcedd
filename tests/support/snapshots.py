"""Pictures of screens as readable text: the lines, then which cells have which style. Renewed with SNAPSHOTS=renew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from textual.app import App


def drawn(app: App[Any]) -> str:
    """What is on the screen."""
    strips = app.screen._compositor.render_strips()[: app.size.height]
    lines = [strip.text.rstrip() for strip in strips]
    runs: list[str] = []
    for row, strip in enumerate(strips):
        at = 0
        told: list[str] = []
        for segment in strip.simplify():
            if segment.text.strip():
                told.append(f"{at}-{at + segment.cell_length} {segment.style}")
            at += segment.cell_length
        runs.append(f"{row}: " + "; ".join(told))
    return "\n".join((*lines, "", *(run.rstrip() for run in runs))) + "\n"


def compare(app: App[Any], file: Path) -> None:
    """Fails when the screen is not as the file has it; renews the file when asked to."""
    now = drawn(app)
    if os.environ.get("SNAPSHOTS") == "renew":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(now, "utf-8")
        return
    assert file.exists(), f"no {file.name}: make snapshots"
    assert now.splitlines() == file.read_text("utf-8").splitlines(), "if this is meant: make snapshots"
