"""What a person likes: columns, order, theme, keys. Kept in `tui.toml` in the client's config folder.

A file that cannot be read or is wrong costs a warning, never the dashboard; what it says wrongly is as if it was not
there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from odctl.config import config_dir
from odctl.dashboard.columns import BY_ID, WIDE
from odctl.kept_file import locked, write_whole


class Preferences(Struct, frozen=True, kw_only=True):
    columns: tuple[str, ...] = WIDE
    sort: str = ""
    theme: str = ""
    """Of Textual's; empty: its own choice."""
    interval_ms: int = 0
    """Between two looks of the daemon; 0: by where it is."""
    pane: int = 1
    """Whether the details stand beside the list: 0 no, 1 yes. A start always shows the list."""
    hints_seen: bool = False
    """They were told, when they left, that downloads keep running."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Keys by the id of what they do, as Textual's keymaps have them."""
    filters: Mapping[str, str] = field(default_factory=dict)
    """Saved filters by name."""


def path() -> Path:
    return config_dir() / "tui.toml"


def load(file: Path) -> tuple[Preferences, str]:
    """What the file says, and what is wrong with it, if anything."""
    try:
        written = file.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return Preferences(), ""
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        return Preferences(), f"{file} cannot be read ({why}): it is not used"
    import tomllib  # takes a tenth of the start, and most people have no such file

    try:
        told = tomllib.loads(written)
    except (ValueError, RecursionError) as error:
        return Preferences(), f"{file} cannot be read ({error}): it is not used"
    known = Preferences()
    wrong: list[str] = []
    for name, value in told.items():
        checked = _checked(name, value)
        if checked is None:
            wrong.append(name)
        else:
            known = replace(known, **{name: checked})
    return known, f"{file}: not understood: {', '.join(wrong)}" if wrong else ""


def _checked(name: str, value: Any) -> Any:
    """The value as it is kept; None: it is none."""
    if name == "columns" and isinstance(value, list):
        return tuple(item for item in value if item in BY_ID) or None
    if name in ("sort", "theme") and isinstance(value, str):
        return value
    if name == "interval_ms" and type(value) is int and 0 <= value <= 60_000:
        return value
    if name == "pane" and type(value) is int and value in (0, 1, 2):
        return min(value, 1)  # 2, which was kept once, showed no list
    if name == "hints_seen" and isinstance(value, bool):
        return value
    if name in ("keys", "filters") and isinstance(value, dict):
        return value if all(isinstance(item, str) for item in value.values()) else None
    return None


def update(file: Path, changes: Mapping[str, Any]) -> None:
    """Keeps these of them, and what another dashboard kept meanwhile of the others. Raises OSError, also where the file
    is one that cannot be read: what is in it is somebody's work."""
    with locked(file):
        known, complaint = load(file)
        if complaint:
            raise OSError(0, complaint)
        write_whole(file, _written(replace(known, **changes)))


def _written(preferences: Preferences) -> str:
    lines = [
        f"columns = [{', '.join(map(_text, preferences.columns))}]",
        f"sort = {_text(preferences.sort)}",
        f"theme = {_text(preferences.theme)}",
        f"interval_ms = {preferences.interval_ms}",
        f"pane = {preferences.pane}",
        f"hints_seen = {json.dumps(preferences.hints_seen)}",
    ]
    for name in ("keys", "filters"):
        table: Mapping[str, str] = getattr(preferences, name)
        lines += ["", f"[{name}]", *(f"{_text(key)} = {_text(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """As TOML has it: JSON's, but for DEL, and without pairs of surrogates."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
