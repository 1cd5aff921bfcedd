"""Counts requests, by route and status, and how long they took."""

from __future__ import annotations

from collections.abc import Sequence

from oddaemon.domain.metrics import Counter, Histogram, Metric
from oddaemon.ports.metrics import MetricSource

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestCounts(MetricSource):
    def __init__(self) -> None:
        self._requests = Counter(
            "opendebrid_http_requests_total", "Requests that were answered.", ("method", "route", "status")
        )
        self._seconds = Histogram("opendebrid_http_request_seconds", "How long they took, streams too.")

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """`route` is empty for a path that there is not. What strangers make up must not become labels."""
        self._requests.add(method if method in _METHODS else "other", route or "other", str(status))
        self._seconds.observe(seconds)

    def metrics(self) -> Sequence[Metric]:
        return [self._requests.metric(), self._seconds.metric()]
