"""What somebody wrote down as a setting, where, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from oddaemon.app.setting_keys import core_keys
from oddaemon.app.settings import Settings


class Origin(StrEnum):
    """Where a value came from, weakest first."""

    DEFAULT = "default"
    STORED = "stored"
    FILE = "file"
    ENV = "env"
    FLAG = "flag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A value as somebody wrote it, and the place where."""

    value: Any
    origin: Origin
    place: str


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, with the file and line, the variable or the flag."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message

    @property
    def order(self) -> tuple[str, int, str]:
        """By file, then by line."""
        file, _, line = self.place.rpartition(":")
        return (file, int(line), self.message) if line.isdecimal() else (self.place, 0, self.message)


class BadSettings(Exception):
    """The settings cannot be used. `mistakes` holds every one that was found."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(set(mistakes), key=lambda mistake: mistake.order))
        super().__init__("\n".join(map(str, self.mistakes)))


def validated(given: Mapping[str, Given]) -> tuple[Settings | None, list[Mistake]]:
    """The settings that are no plug-in's, or what is wrong with them."""
    core = core_keys()
    tree: dict[str, Any] = {}
    for path, item in given.items():
        if path in core:
            *sections, name = path.split(".")
            table = tree
            for section in sections:
                table = table.setdefault(section, {})
            table[name] = item.value
    try:
        return Settings.model_validate(tree), []
    except ValidationError as error:
        return None, mistakes_of(error, "", given)


def mistakes_of(error: ValidationError, prefix: str, given: Mapping[str, Given]) -> list[Mistake]:
    """`prefix`: of the section that was validated."""
    found = []
    for item in error.errors(include_input=False, include_url=False):
        path = prefix + ".".join(str(part) for part in item["loc"] if not isinstance(part, int))
        message = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if message != item["msg"] and item["msg"].startswith("Input should be "):
            message = f"should be {message}"
        source = given.get(path)
        if source is not None:
            found.append(Mistake(source.place, f"{path}: {message}"))
        else:  # a rule over several keys: its sentence names them
            places = [entry.place for key, entry in given.items() if key in message]
            found.append(Mistake(", ".join(places), message))
    return found
