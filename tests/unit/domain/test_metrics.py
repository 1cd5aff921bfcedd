"""Counters, histograms, and the text that Prometheus reads."""

from __future__ import annotations

from oddaemon.api.rest.counts import RequestCounts
from oddaemon.api.rest.exposition import exposition
from oddaemon.domain.metrics import Counter, Histogram, gauge


def test_a_counter_counts_by_its_labels() -> None:
    made = Counter("things_total", "Things.", ("colour",))
    assert exposition([made.metric()]) == "# HELP things_total Things.\n# TYPE things_total counter\n"
    made.add("red")
    made.add("red", by=2)
    made.add('a "b"\\\n')
    assert exposition([made.metric()]).splitlines()[2:] == [
        'things_total{colour="red"} 3', 'things_total{colour="a \\"b\\"\\\\\\n"} 1'
    ]  # fmt: skip
    plain = Counter("all_total", "All.")
    assert exposition([plain.metric()]).splitlines()[2:] == ["all_total 0"]


def test_a_histogram_s_buckets_count_all_below() -> None:
    made = Histogram("took_seconds", "Time.", "work", bounds=(0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        made.observe(value, "read")
    assert exposition([made.metric()]).splitlines() == [
        "# HELP took_seconds Time.",
        "# TYPE took_seconds histogram",
        'took_seconds_bucket{work="read",le="0.1"} 2',
        'took_seconds_bucket{work="read",le="1"} 3',
        'took_seconds_bucket{work="read",le="+Inf"} 4',
        'took_seconds_sum{work="read"} 7.65',
        'took_seconds_count{work="read"} 4',
    ]


def test_a_gauge_has_one_value_or_many() -> None:
    assert exposition([gauge("up", "Up.", 1)]).splitlines()[2:] == ["up 1"]
    assert exposition([gauge("up", "Up.", [({"node": "a"}, 0.0), ({"node": "b"}, 1.5)])]).splitlines()[2:] == [
        'up{node="a"} 0', 'up{node="b"} 1.5'
    ]  # fmt: skip


def test_what_strangers_make_up_is_no_label() -> None:
    counts = RequestCounts()
    for number in range(50):
        counts.observe("", f"X{number}", 404, 0.1)
    counts.observe("/api/v1/things/{id}", "GET", 200, 0.1)
    text = exposition(counts.metrics())
    assert 'opendebrid_http_requests_total{method="other",route="other",status="404"} 50' in text
    assert 'opendebrid_http_requests_total{method="GET",route="/api/v1/things/{id}",status="200"} 1' in text
    assert text.count("opendebrid_http_requests_total{") == 2
