"""Text to take away: links, and what else of a job can be copied; with a QR code where one was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from odctl.client.models import Job
from odctl.dashboard.dialogs.base import Dialog
from odctl.dashboard.qr import drawn
from odctl.text import clean


class Copied(Dialog[None]):
    """Shows the text whole, so that it can be selected by hand wherever no clipboard works."""

    wide = True

    def __init__(self, title: str, lines: Sequence[str], *, qr: bool = False) -> None:
        super().__init__(title, "drag selects · esc back")
        self.lines = tuple(lines)
        self.qr = qr

    def parts(self) -> list[Widget]:
        parts: list[Widget] = [Static(Text("\n".join(clean(line) for line in self.lines), overflow="fold"), id="said",
                                      markup=False)]  # fmt: skip
        if self.qr and self.lines:
            try:
                code = Text("\n".join(drawn(self.lines[0])), no_wrap=True, style="white on black", justify="center")
            except ValueError:
                code = Text("it is too long for a QR code")
            parts.append(Static(code, id="qr", markup=False))
        return [VerticalScroll(*parts)]


def copyable(job: Job, path: str, json: str) -> list[tuple[str, str, str]]:
    """Key, words and text of what a job has to copy; nothing that it has not."""
    error = job.error
    texts = (
        ("m", "magnet or URL", job.source),
        ("h", "hash", _hash_of(job)),
        ("p", "path", path),
        ("i", "id", str(job.id)),
        ("u", "UUID", job.uuid),
        ("e", "error", f"{error.message}{f' – {error.hint}' if error.hint else ''}" if error is not None else ""),
        ("n", "name", job.name),
        ("j", "JSON", json),
    )
    return [(key, said, text) for key, said, text in texts if text]


def _hash_of(job: Job) -> str:
    kind, _, rest = (job.cache_key or "").partition(":hash:")
    return rest.partition(":")[0] if kind and rest else ""
