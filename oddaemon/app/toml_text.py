"""What TOML's own parser does not give: the line of each key, and variables in strings. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping

_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=""")
_PART = re.compile(r"""\s*("[^"]*"|'[^']*'|[A-Za-z0-9_-]+)\s*""")
_VARIABLE = re.compile(r"\$(?:\$|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\{)")


class BadVariable(ValueError):
    """A `${…}` that cannot be filled in; the message says which and why."""


def key_lines(text: str) -> dict[str, int]:
    """Dotted path of each section and key → its line, from 1. Only a help for messages: a key inside an inline table
    or a string of several lines may be missing or found in the wrong place."""
    lines: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if found := _HEADER.fullmatch(line):
            section = _dotted(found[1])
            lines.setdefault(section, number)
        elif found := _KEY.match(line):
            key = _dotted(found[1])
            lines.setdefault(f"{section}.{key}" if section else key, number)
    return lines


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """`${VAR}`, `${VAR:-default}` (also used when VAR is empty) and `$$` for one dollar. A dollar before anything else
    stays. It works on a parsed string, once: a value cannot bring in TOML or further variables.

    Raises BadVariable.
    """

    def filled(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        name, default = found[1], found[2]
        if name is None:
            raise BadVariable("a ${ that names no variable: write ${NAME}, ${NAME:-default}, or $${ for the characters")
        value = environ.get(name)
        if value or (value is not None and default is None):
            return value
        if default is None:
            raise BadVariable(f"the variable {name} is not set: set it, or write ${{{name}:-default}}")
        return default

    return _VARIABLE.sub(filled, text)


def _dotted(raw: str) -> str:
    return ".".join(part.strip("\"'") for part in _PART.findall(raw))
