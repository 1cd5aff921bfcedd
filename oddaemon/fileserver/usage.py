"""What links were used for and have given, between two reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

K = TypeVar("K")


class Usage(Generic[K]):
    """Accesses and bytes by link since they were last taken."""

    def __init__(self) -> None:
        self._counts: dict[K, list[int]] = {}

    def add(self, link: K, accesses: int, sent: int) -> None:
        counts = self._counts.setdefault(link, [0, 0])
        counts[0] += accesses
        counts[1] += sent

    def take(self) -> Mapping[K, list[int]]:
        counts, self._counts = self._counts, {}
        return counts
