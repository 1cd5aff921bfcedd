"""Who has figures to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from oddaemon.domain.metrics import Metric


@runtime_checkable
class MetricSource(Protocol):
    """A subscriber that has this as well has its figures shown with the others."""

    def metrics(self) -> Sequence[Metric]:
        """As they are now. Waits for nothing, and names no user and no title."""
