"""Ranks nodes that may take a download. Which may is decided before (domain.admission)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from oddaemon.domain.types import Bytes, EngineName, NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A node that is online, has the engine, the room and the capacity."""

    id: NodeId
    is_local: bool
    active: int
    max_concurrent: int
    available: Bytes
    """Free space above the reserve and all reservations."""
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Candidates, best first, and one sentence on why the first is first."""

    order: tuple[NodeId, ...]
    reason: str


class LoadBalancer(Protocol):
    @property
    def name(self) -> str: ...

    def rank(self, engine: EngineName, size: Bytes | None, candidates: Sequence[Candidate]) -> Ranking:
        """A permutation of `candidates` (at least one). Deterministic but for what it remembers of earlier calls.
        Must not wait or do I/O."""
