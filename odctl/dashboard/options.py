"""What the dashboard is started with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from odctl.dashboard.glyphs import Glyphs, of_terminal

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient


@dataclass(slots=True, kw_only=True)
class Options:
    pane: str = "jobs"
    filter: str = ""
    read_only: bool = False
    context: str = ""
    """Its name, where it has one."""
    color: str = ""
    """Of that context."""
    remote: bool = False
    """The person is at the other end of a line."""
    preferences: Path | None = None
    """None: nothing is kept."""
    glyphs: Glyphs = field(default_factory=of_terminal)
    starter: tuple[str, ...] = ()
    """The command that starts a daemon where none runs."""
    reach: Callable[[str], Callable[[], DaemonClient]] | None = None
    """Makes what makes a client for another address. Raises OdctlError for one that is none."""
