"""Options of an engine as people write them, read one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from oddaemon.domain.errors import InvalidOption

Reader = Callable[[str], str]
"""The value in normal form. Raises ValueError saying what is taken."""


def read_options(options: Mapping[str, str], readers: Mapping[str, Reader], refused: str) -> dict[str, str]:
    """The options in normal form. `refused` names who takes no others. Raises InvalidOption naming the option, why, and
    what is allowed."""
    normal: dict[str, str] = {}
    for name, value in options.items():
        read = readers.get(name)
        if read is None:
            shown = name[:60] if name.isprintable() else ascii(name[:60])
            raise InvalidOption(
                f"{refused} takes no option {shown!r}", field=shown, hint="it takes: " + ", ".join(sorted(readers))
            )
        try:
            normal[name] = read(value)
        except ValueError as error:
            # the value itself is not repeated: it may be a password
            raise InvalidOption(
                f"the option {name!r} does not take this value", field=name, hint=f"it takes {error}"
            ) from error
    return normal
