"""Text on its way to the person's clipboard: through the terminal, and through a program of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

PROGRAMS: tuple[tuple[str, Sequence[str], str], ...] = (
    ("wl-copy", (), "WAYLAND_DISPLAY"), ("xclip", ("-selection", "clipboard"), "DISPLAY"), ("pbcopy", (), ""),
)  # fmt: skip
"""Each with its arguments, and the variable without which it has nothing to talk to."""
SECONDS = 2.0
TERMINAL_LIMIT = 74_994
"""Characters that terminals take at most by OSC 52, as others measured."""


def program(environ: Mapping[str, str] | None = None) -> Sequence[str]:
    """What puts its stdin into the clipboard of the screen that the person looks at; over ssh there is none here."""
    environ = os.environ if environ is None else environ
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return ()
    for name, arguments, needs in PROGRAMS:
        if needs and not environ.get(needs):
            continue
        found = shutil.which(name, path=environ.get("PATH"))
        if found:
            return (found, *arguments)
    return ()


def hand_over(text: str, argv: Sequence[str]) -> None:
    """Blocks for at most two seconds; a clipboard that does not work is no fault: the text is on the screen, too."""
    try:
        # what it prints goes nowhere: it stays in the background as long as it owns the clipboard
        subprocess.run(
            argv, input=text.encode(errors="replace"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return
