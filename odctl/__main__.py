"""`python -m odctl`, and the `odctl` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

FAILURE, INTERRUPTED, BROKEN_PIPE = 1, 130, 141
"""As in cli.exit_codes, which is not imported for a version."""


def main() -> NoReturn:
    """Ends the process. `--version` is answered before anything is imported."""
    _fill_closed_streams()
    argv = sys.argv[1:]
    try:
        # ODCTL_OUTPUT may want it as JSON
        plain = argv in (["--version"], ["-V"]) and not os.environ.get("ODCTL_OUTPUT")
        code = _version() if plain else _run(argv)
    except KeyboardInterrupt:
        code = INTERRUPTED  # while the modules were being imported
    # taking a few hundred modules apart again would cost a fifth of the run; nothing is left that needs it
    os._exit(code)


def _fill_closed_streams() -> None:
    """Opens what the caller closed (`>&-`) on /dev/null: else it is None here, and its number goes to the next file or
    socket that is opened, which would then get our output."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            found = os.open(os.devnull, os.O_RDWR)
            if found != number:
                os.dup2(found, number)
                os.close(found)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8"))  # noqa: SIM115


def _version() -> int:
    from odctl import __version__

    try:
        sys.stdout.write(f"odctl {__version__}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:
        sys.stderr.write(f"odctl: {error.strerror}\n")
        return FAILURE
    return 0


def _run(argv: Sequence[str]) -> int:
    import gc

    # a short life: the collector would only walk the modules that are being imported, again and again
    gc.set_threshold(50_000, 20, 20)
    code = None
    if argv in ([], ["top"]):
        from odctl.dashboard.quick import open_quickly

        code = open_quickly()
    if code is None:
        from odctl.cli.app import run

        code = run(argv)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # what could be said of it was said when it was written
        code = code or FAILURE
    return code


if __name__ == "__main__":
    main()
