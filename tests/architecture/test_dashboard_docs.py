"""Keys can be changed by the ids that docs/dashboard.md names: those, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from textual.binding import Binding
from textual.dom import DOMNode

from odctl.dashboard.app import DashboardApp
from odctl.dashboard.screens import SCREENS

PAGE = Path(__file__).resolve().parents[2] / "docs/dashboard.md"


def ids(kind: type[DOMNode]) -> set[str]:
    all_of = [binding for own in kind.mro() for binding in vars(own).get("BINDINGS", ())]
    found = (binding.id for binding in all_of if isinstance(binding, Binding))
    return {name for name in found if name and "." in name}


def test_every_key_that_can_be_changed_is_named() -> None:
    text = PAGE.read_text("utf-8").partition("The ids:")[2].partition("\n\n")[0]
    named = set(re.findall(r"`([a-z]+\.[a-z0-9-]+)`", text))
    kinds: tuple[type[DOMNode], ...] = (DashboardApp, *(type(screen.pane()) for screen in SCREENS))
    real = {name for kind in kinds for name in ids(kind)}
    screens = {f"screen.{number}" for number in range(2, 6)}  # the page says 1…6
    assert named == real - screens


def test_every_picture_that_is_shown_is_there() -> None:
    for picture in re.findall(r"\((pictures/[a-z-]+\.svg)\)", PAGE.read_text("utf-8")):
        assert (PAGE.parent / picture).exists(), picture
