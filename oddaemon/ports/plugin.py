"""What an entry point of a plug-in names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from oddaemon.ports.clock import Clock
from oddaemon.ports.supervisor import Supervisor

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A finding of a self-check. A fatal one keeps the plug-in from being built; the daemon starts all the same,
    unless it is the storage."""

    message: str
    hint: str = ""
    fatal: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a plug-in is built from."""

    supervisor: Supervisor
    clock: Clock
    state_dir: Path
    """A private directory of this plug-in's own, outside the downloads: config files, sessions. Exists, mode 0700."""
    download_dir: Path
    """The base of the replicas' directories; may be missing (not mounted)."""
    news: Callable[[], None] = lambda: None
    """An engine calls it when a download has ended, so that its statuses are asked for at once. A hint: they are asked
    for repeatedly in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin(Generic[T_co]):
    """`settings_type` is a frozen dataclass whose fields have defaults; the settings section of the plug-in's name
    (`[engines.<name>]`) is read into it. `build` returns a ready object and does no I/O."""

    name: str
    settings_type: type[Any]
    check: Callable[[Any], Sequence[Problem]]
    build: Callable[[Any, Parts], T_co]
