"""Global options may stand anywhere: they are moved in front of the command before the line is parsed. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from odctl.client.errors import UsageError

FLAGS = frozenset({"--json", "-q", "--quiet", "--no-color", "--no-input", "-y", "--yes", "-v", "--verbose", "--debug"})
"""Global options without a value. `--help` is not one of them: it belongs to the command it stands behind."""
VALUES = frozenset({"-c", "--context", "-H", "--host", "-o", "--output", "--fields", "--color", "--timeout"})
"""Global options with a value."""
VERSION = frozenset({"-V", "--version"})


@dataclass(frozen=True, slots=True)
class CommandOptions:
    """What the hoister has to know of one command."""

    values: Collection[str] = ()
    """Its options that take a value: what follows is never an option."""
    flags: Collection[str] = ()
    optional: Mapping[str, str] = field(default_factory=dict)
    """Those of `values` that may stand without one: what a word has to look like (a regular expression) to be theirs.
    Without one they get an empty word, so that the parser need not guess."""
    is_group: bool = False


Lookup = Callable[[Sequence[str]], CommandOptions | None]
"""The options of the command with this path (`("cache", "ls")`); None if there is no such command."""


def hoist(argv: Sequence[str], lookup: Lookup) -> list[str]:
    """`argv` with the global options in front, in their order. Nothing behind `--` is touched. An option that the
    command has itself (`get -o FILE`) stays with the command when it stands behind it.

    Raises UsageError for an option without its value.
    """
    front: list[str] = []
    rest: list[str] = []
    path: list[str] = []
    own: CommandOptions | None = CommandOptions(is_group=True)
    at = 0
    while at < len(argv):
        word = argv[at]
        at += 1
        if word == "--":
            return [*front, *rest, word, *argv[at:]]
        if word.startswith("--"):
            at = _long(argv, at, word, own, front, rest)
        elif word.startswith("-") and len(word) > 1:
            at = _short(argv, at, word, own, front, rest)
        else:
            rest.append(word)
            if own is not None and own.is_group:
                path.append(word)
                own = lookup(path)
    return [*front, *rest]


def _long(
    argv: Sequence[str], at: int, word: str, own: CommandOptions | None, front: list[str], rest: list[str]
) -> int:
    name = word.partition("=")[0]
    if own is not None and name in own.optional:
        rest.append(word)
        return at if "=" in word else _maybe(argv, at, own.optional[name], rest)
    if own is not None and (name in own.values or name in own.flags):
        rest.append(word)
        return _take(argv, at, rest) if name in own.values and "=" not in word else at
    if name in FLAGS or name in VERSION:
        front.append(word)
        return at
    if name in VALUES:
        front.append(word)
        return at if "=" in word else _take(argv, at, front)
    rest.append(word)
    return at


def _short(
    argv: Sequence[str], at: int, word: str, own: CommandOptions | None, front: list[str], rest: list[str]
) -> int:
    """A cluster as in `-qaw5`: letters one by one, until one takes the remainder as its value."""
    kept = ""
    for position, letter in enumerate(word[1:], start=1):
        name = f"-{letter}"
        remainder = word[position + 1 :]
        mine = own is not None and (name in own.values or name in own.flags)
        if own is not None and name in own.optional:
            rest.append(f"-{kept}{letter}")
            kept = ""
            if not remainder:
                return _maybe(argv, at, own.optional[name], rest)
            if re.fullmatch(own.optional[name], remainder):
                rest.append(remainder)
                return at
            rest.append("")
            continue
        if mine and own is not None and name in own.values:
            rest.append(f"-{kept}{letter}{remainder}")
            return at if remainder else _take(argv, at, rest)
        if not mine and name in VALUES:
            if kept:
                rest.append(f"-{kept}")
            front.append(f"{name}{remainder}")
            return at if remainder else _take(argv, at, front)
        if not mine and (name in FLAGS or name in VERSION):
            front.append(name)
            continue
        if not mine:
            # no option that anybody knows, or a negative number: the parser is to see what was written
            rest.append(f"-{kept}{letter}{remainder}")
            return at
        kept += letter
    if kept:
        rest.append(f"-{kept}")
    return at


def _maybe(argv: Sequence[str], at: int, pattern: str, into: list[str]) -> int:
    """The next word if it looks like the value, else an empty one."""
    if at < len(argv) and re.fullmatch(pattern, argv[at]):
        into.append(argv[at])
        return at + 1
    into.append("")
    return at


def _take(argv: Sequence[str], at: int, into: list[str]) -> int:
    """The value of the option before it."""
    if at < len(argv):
        into.append(argv[at])
        return at + 1
    raise UsageError(f"the option {into[-1]} needs a value", hint="see: odctl --help")
