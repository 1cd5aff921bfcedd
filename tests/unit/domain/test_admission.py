from __future__ import annotations

import pytest

from oddaemon.domain.admission import human_time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "0.5 s"), (45, "45 s"), (60, "1 min"), (90, "1.5 min"), (720, "12 min"), (3600, "1 h"),
        (129_600, "36 h"), (604_800, "7 days"), (650_000, "7.52 days"),
    ],
)  # fmt: skip
def test_times_in_sentences(seconds: float, text: str) -> None:
    assert human_time(seconds) == text
