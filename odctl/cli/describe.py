"""The command tree as data: for `help --json`, `--help --json` and the reference page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from odctl.cli import tree
from odctl.cli.suggest import TOPICS
from odctl.client.errors import UsageError
from odctl.text import clean


def member(command: Any, word: str) -> Any:
    commands = getattr(command, "commands", {})
    if word not in commands:
        raise UsageError(f"there is no command or topic '{clean(word)}'", hint="topics: " + ", ".join(TOPICS))
    return commands[word]


def describe_path(root: Any, words: Sequence[str]) -> dict[str, Any]:
    """What `describe` says of the command with this path, which may hold aliases; of all with an empty one. Raises
    UsageError."""
    command = root
    found: tuple[str, str, tuple[str, ...]] = ("odctl", "", ())
    for word in words:
        below = member(command, word)
        members, command = command.commands.members, below
        name = tree.aliases(members).get(word, word)
        found = (name, members[name].summary if name in members else "", _others(members, name))
    return describe(command, *found)


def describe(command: Any, name: str, summary: str = "", aliases: Sequence[str] = ()) -> dict[str, Any]:
    """A command with all that is below it."""
    found: dict[str, Any] = {
        "name": name,
        "summary": summary or str(command.help or "").strip().split("\n")[0],
        "aliases": list(aliases),
        "arguments": [_parameter(param) for param in command.params if not _is_option(param)],
        "options": [_parameter(param) for param in command.params if _is_option(param)],
    }
    commands = getattr(command, "commands", None)
    if commands is not None:
        members = commands.members
        found["commands"] = [
            describe(commands[member], member, item.summary, _others(members, member))
            for member, item in members.items()
        ]
    return found


def _others(members: Mapping[str, tree.Entry | tree.Group], name: str) -> tuple[str, ...]:
    return tuple(alias for alias, meant in tree.aliases(members).items() if meant == name)


def _is_option(param: Any) -> bool:
    return any(name.startswith("-") for name in param.opts)


def _parameter(param: Any) -> dict[str, Any]:
    flag = bool(getattr(param, "is_flag", False) or getattr(param, "count", False))
    return {
        "name": param.name.rstrip("_"),
        "names": list(param.opts) if _is_option(param) else [],
        "metavar": None if flag else param.metavar,
        "flag": flag,
        "required": bool(param.required),
        "multiple": bool(getattr(param, "multiple", False)) or param.nargs == -1,
        "help": getattr(param, "help", None) or "",
    }


def walk(description: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every command of a description with its path."""
    for member in description.get("commands", []):
        here = (*path, member["name"])
        yield here, member
        yield from walk(member, here)


def counted(ended: Mapping[str, int]) -> str:
    """How much of each, as in `1 session, 2 keys`."""
    return ", ".join(f"{count} {kind[: -1 if count == 1 else None]}" for kind, count in ended.items())
