"""Daemons by name: `contexts.toml` in the user's configuration. It holds no secrets. Standard library only."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from odctl.client.errors import NOT_FOUND, OdctlError, UsageError
from odctl.config import config_dir

FILE = "contexts.toml"
AUTO = "auto"
"""The name that stands for no context: the sockets of this machine, as without any configuration."""
COLORS = ("red", "green", "yellow", "blue", "magenta", "cyan")
"""A context's own, on every screen of the dashboard, so that nobody takes one server for another."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(slots=True)
class Contexts:
    """What the file says. `current` is empty where it names none."""

    current: str = ""
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name → its table. Keys that this version does not know are kept as they are."""

    def endpoint(self, name: str) -> str:
        """Raises OdctlError for a name that is not known."""
        if name not in self.known:
            raise unknown(name, self.known)
        return str(self.known[name]["endpoint"])

    def color(self, name: str) -> str:
        """Of COLORS; empty where it has none, or none that is known."""
        color = self.known.get(name, {}).get("color")
        return color if color in COLORS else ""


def unknown(name: str, known: Mapping[str, Any]) -> OdctlError:
    from difflib import get_close_matches

    near = get_close_matches(name[:64], [*known, AUTO], n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    listed = f"contexts: {', '.join([*known, AUTO])}"
    hint = meant + listed if near or known else "there is none yet: odctl context add NAME ADDRESS"
    return OdctlError(f"there is no context {name!r}", code="NOT_FOUND", exit_code=NOT_FOUND, hint=hint)


def check_name(name: str) -> None:
    """Raises UsageError for what cannot be the name of a context."""
    if name == AUTO:
        raise UsageError(f"{AUTO!r} always stands for the sockets of this machine", hint="take another name")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} cannot be the name of a context",
            hint="letters, digits, dots, dashes and underscores; at most 64, a letter or digit first",
        )


def path_of(environ: Mapping[str, str] | None = None) -> Path:
    return config_dir(environ) / FILE


def load(environ: Mapping[str, str] | None = None) -> Contexts:
    """Raises OdctlError for a file that cannot be read or understood; nothing in it is guessed."""
    path = path_of(environ)
    try:
        written = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return Contexts()
    except OSError as error:
        raise OdctlError(f"cannot read {path}: {error.strerror}", code="IO") from error
    except UnicodeDecodeError as error:
        raise _wrong(path, str(error)) from error
    import tomllib  # every start of odctl would pay for it, and most people have no such file

    try:
        told = tomllib.loads(written)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _wrong(path, why) from error
    current, tables = told.get("current", ""), told.get("contexts", {})
    if not isinstance(current, str):
        raise _wrong(path, "current has to be a name in quotes")
    if not isinstance(tables, dict):
        raise _wrong(path, "contexts has to be a table")
    for name, table in tables.items():
        if not isinstance(table, dict) or not isinstance(table.get("endpoint"), str):
            raise _wrong(path, f"context {name!r} has no endpoint")
    return Contexts(current=current, known=tables)


@contextmanager
def change(environ: Mapping[str, str] | None = None) -> Iterator[Contexts]:
    """The contexts, to be changed by one process at a time; what was done to them is stored at the end, whole."""
    path = path_of(environ)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        contexts = load(environ)
        yield contexts
        _store(path, contexts)
    finally:
        os.close(lock)


def _store(path: Path, contexts: Contexts) -> None:
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        temporary.write_text(_render(contexts))
        # a file that is kept elsewhere and linked to, as dotfiles are, stays so
        temporary.replace(path.resolve())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _render(contexts: Contexts) -> str:
    lines = [f"current = {_value(contexts.current)}", ""] if contexts.current else []
    for name, table in contexts.known.items():
        lines += [f"[contexts.{_value(name)}]", *(f"{_value(key)} = {_value(value)}" for key, value in table.items())]
        lines.append("")
    return "\n".join(lines)


def _value(value: Any) -> str:
    """In TOML, whose strings, numbers, booleans and lists are written as JSON's, but for DEL."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_value(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, (str, bool, int, float)):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value.isoformat())  # the only other values of TOML are dates and times


def _wrong(path: Path, why: str) -> UsageError:
    return UsageError(f"{path}: {why}", hint="correct or remove the file; -H ADDRESS works without it")


def _unwritable(path: Path, error: OSError) -> OdctlError:
    return OdctlError(f"cannot write {path}: {error.strerror}", code="IO")
