"""Figures about the daemon itself: what a metric is, and two kinds that count. No user's name and no title is ever a
label. Sans I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

Labels = Mapping[str, str]


class Kind(StrEnum):
    COUNTER = "counter"
    """Only rises; begins at 0 with each start."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value of a metric. `suffix` belongs to its name: a histogram has `_bucket`, `_sum` and `_count`."""

    value: float
    labels: Labels = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One name, with a value for each set of labels."""

    name: str
    kind: Kind
    help: str
    samples: Sequence[Sample]


def gauge(name: str, help: str, value: float | Sequence[tuple[Labels, float]]) -> Metric:
    """One value, or one for each set of labels."""
    values = [({}, value)] if isinstance(value, int | float) else value
    return Metric(
        name=name, kind=Kind.GAUGE, help=help, samples=[Sample(value=found, labels=labels) for labels, found in values]
    )


@dataclass(slots=True)
class Counter:
    """Counts up, by the values of its labels."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    _counts: dict[tuple[str, ...], float] = field(default_factory=dict)

    def add(self, *values: str, by: float = 1) -> None:
        """`values` are those of the labels, in their order."""
        self._counts[values] = self._counts.get(values, 0) + by

    def metric(self) -> Metric:
        """One without labels is there from the start: 0 is a figure, too."""
        counts = self._counts or ({} if self.labels else {(): 0})
        samples = [
            Sample(value=count, labels=dict(zip(self.labels, values, strict=True))) for values, count in counts.items()
        ]
        return Metric(name=self.name, kind=Kind.COUNTER, help=self.help, samples=samples)


LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds."""


@dataclass(slots=True)
class Histogram:
    """How many values were at most so large, by the value of one label."""

    name: str
    help: str
    label: str = ""
    bounds: tuple[float, ...] = LATENCIES
    _counts: dict[str, list[int]] = field(default_factory=dict)
    _sums: dict[str, float] = field(default_factory=dict)

    def observe(self, value: float, of: str = "") -> None:
        """`of` is the label's value."""
        counts = self._counts.get(of)
        if counts is None:
            counts = self._counts[of] = [0] * (len(self.bounds) + 1)
        counts[bisect_left(self.bounds, value)] += 1
        self._sums[of] = self._sums.get(of, 0.0) + value

    def metric(self) -> Metric:
        samples: list[Sample] = []
        for of, counts in self._counts.items():
            own = {self.label: of} if self.label else {}
            total = 0
            for bound, count in zip((*self.bounds, float("inf")), counts, strict=True):
                total += count
                samples.append(Sample(value=total, labels={**own, "le": _bound(bound)}, suffix="_bucket"))
            samples.append(Sample(value=self._sums[of], labels=own, suffix="_sum"))
            samples.append(Sample(value=total, labels=own, suffix="_count"))
        return Metric(name=self.name, kind=Kind.HISTOGRAM, help=self.help, samples=samples)


def _bound(value: float) -> str:
    return "+Inf" if value == float("inf") else f"{value:g}"
