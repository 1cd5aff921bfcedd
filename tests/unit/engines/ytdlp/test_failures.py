from __future__ import annotations

import errno
from typing import Any

import pytest

from oddaemon.domain.failure import FailureCode, Retry
from oddaemon.engines.ytdlp.failures import clean, failure_of, killed

C, L, P = FailureCode, Retry.LASTING, Retry.PASSING


@pytest.mark.parametrize(
    ("problem", "code", "retry"),
    [
        ({"message": "x", "status": 404}, C.ORIGIN_GONE, L),
        ({"message": "x", "status": 403}, C.ORIGIN_DENIED, L),
        ({"message": "x", "status": 451}, C.ORIGIN_DENIED, L),
        ({"message": "x", "status": 418}, C.ORIGIN_DENIED, L),
        ({"message": "x", "status": 503}, C.ORIGIN_BUSY, P),
        ({"message": "x", "status": 502}, C.ORIGIN_ERROR, P),
        ({"message": "x", "status": 302}, C.ORIGIN_REFUSED_URL, L),
        ({"message": "unable to download video data: HTTP Error 410: Gone"}, C.ORIGIN_GONE, L),
        ({"message": "Unsupported URL: http://x.invalid/", "kinds": ["UnsupportedError"]}, C.NO_MEDIA, L),
        ({"message": "No video formats found!"}, C.NO_MEDIA, L),
        ({"message": "[youtube] abc: Private video. Sign in if you've been granted access"}, C.ORIGIN_DENIED, L),
        ({"message": "[youtube] abc: Video unavailable. This video has been removed"}, C.ORIGIN_GONE, L),
        ({"message": "not available from your location", "kinds": ["GeoRestrictedError"]}, C.ORIGIN_DENIED, L),
        ({"message": "[Errno 28] No space left on device", "errno": errno.ENOSPC}, C.NO_SPACE, Retry.WAIT_FOR_SPACE),
        ({"message": "Conversion failed!", "errno": errno.ENOSPC}, C.NO_SPACE, Retry.WAIT_FOR_SPACE),
        ({"message": "Read timed out", "kinds": ["TransportError"]}, C.TIMEOUT, P),
        ({"message": "<urlopen error [Errno 111] Connection refused>"}, C.NETWORK, P),
        ({"message": "odd", "kinds": ["TransportError"]}, C.NETWORK, P),
        ({"message": "Requested format is not available"}, C.UNSUPPORTED, L),
        ({"message": "file:// URLs are disabled by default"}, C.ORIGIN_REFUSED_URL, L),
        ({"message": "something new"}, C.ENGINE, P),
        ({}, C.ENGINE, P),
        ({"message": 5, "status": "x", "errno": [], "kinds": {}}, C.ENGINE, P),
    ],
)
def test_the_table(problem: dict[str, Any], code: FailureCode, retry: Retry) -> None:
    failure = failure_of(problem)
    assert (failure.code, failure.retry) == (code, retry)
    assert failure.message
    assert failure.message.isprintable()


@pytest.mark.parametrize(
    ("value", "wait"), [("5", 5.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("soon", None), (7, None)]
)
def test_retry_after(value: object, wait: float | None) -> None:
    assert failure_of({"message": "x", "status": 429, "retry_after": value}).retry_after == wait


def test_messages_are_clean() -> None:
    raw = (
        "\x1b[0;31mERROR:\x1b[0m [generic] Unable\nto get http://me:secret@x.invalid/a\u202e \ud800 (caused by <X>)"
        "; please report this issue on https://github.com/yt-dlp/yt-dlp/issues"
    )
    assert clean(raw) == "Unable to get http://x.invalid/a"
    assert len(clean("x" * 5000)) == 500
    assert clean("") == "yt-dlp gave no reason"


def test_a_killed_child() -> None:
    assert (killed("yt-dlp was killed by SIGKILL").code, killed("x").retry) == (C.ENGINE, P)
    assert killed("status 1: No space left on device").retry is Retry.WAIT_FOR_SPACE
