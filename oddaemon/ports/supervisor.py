"""Child daemons of engines: the seed's process manager."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from oddaemon.domain.types import Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSpec:
    """A child that has to run for as long as its engine does."""

    name: str
    command: Callable[[], Awaitable[Sequence[str]]]
    """Asked before each start: may write the child's config file and choose a new port. Holds no secret."""
    ready: Callable[[], Awaitable[bool]]
    """Whether the child answers; called again and again after the start."""
    ready_interval: Seconds = Seconds(0.05)
    ready_timeout: Seconds = Seconds(10)
    healthy: Callable[[], Awaitable[bool]] | None = None
    """Asked every `health_interval`; after `health_misses` failures in a row the child is killed and restarted."""
    health_interval: Seconds = Seconds(5)
    health_misses: int = 3
    stop_grace: Seconds = Seconds(4)
    """From TERM to KILL."""
    cwd: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    """All of it: children inherit nothing but PATH, HOME, LANG and this."""


class SupervisedDaemon(Protocol):
    @property
    def running(self) -> bool:
        """Started and ready."""

    @property
    def generation(self) -> int:
        """How many times it has become ready."""

    @property
    def last_problem(self) -> str:
        """Why it is not running, or the end of its output when it last died."""

    @property
    def pid(self) -> int | None: ...


class Supervisor(Protocol):
    """Starts children in process groups of their own, watches them, restarts them with waits of 1, 2, 4 … 30 s
    (reset after a minute of health), and leaves no orphan: a child dies with the daemon."""

    async def start(self, spec: DaemonSpec) -> SupervisedDaemon:
        """Returns when the child is ready, or when the first attempt failed (restarts go on). Raises
        EngineUnavailable if the program does not exist."""

    async def stop(self, name: str) -> None:
        """TERM to the group, KILL after the grace. Idempotent."""

    async def stop_all(self) -> None:
        """In the reverse order of the starts."""
