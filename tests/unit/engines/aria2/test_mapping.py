from __future__ import annotations

import errno
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from oddaemon.domain.failure import FailureCode, Retry
from oddaemon.engines.aria2.mapping import failure_of, failure_of_os_error, peers_of, tidy
from oddaemon.engines.aria2.origin import Origin, failure_of_status, words_of


@pytest.mark.parametrize(
    ("code", "message", "expected", "retry"),
    [
        ("1", "Failed to establish connection, cause: Connection refused", FailureCode.NETWORK, Retry.PASSING),
        ("2", "Timeout.", FailureCode.TIMEOUT, Retry.PASSING),
        ("3", "Resource not found", FailureCode.ORIGIN_GONE, Retry.LASTING),
        ("9", "Write disk cache flush failure index=1", FailureCode.NO_SPACE, Retry.WAIT_FOR_SPACE),
        ("17", "write, cause: No space left on device", FailureCode.NO_SPACE, Retry.WAIT_FOR_SPACE),
        ("16", "File name too long", FailureCode.STORAGE, Retry.PASSING),
        ("22", "The response status is not successful. status=410", FailureCode.ORIGIN_GONE, Retry.LASTING),
        ("22", "The response status is not successful. status=429", FailureCode.ORIGIN_BUSY, Retry.PASSING),
        ("29", "The response status is not successful. status=503", FailureCode.ORIGIN_BUSY, Retry.PASSING),
        ("23", "Too many redirects: count=20", FailureCode.ORIGIN_REFUSED_URL, Retry.LASTING),
        ("1", "CUID#7 - Redirect to file:///etc/passwd failed. It may not be a valid URI.",
         FailureCode.ORIGIN_REFUSED_URL, Retry.LASTING),
        ("8", "Invalid range header. Request: 5-9/20, Response: 0-19/20", FailureCode.SHORT_READ, Retry.AFRESH),
        ("8", "Invalid range header. Request: 5-9/20, Response: 5-9/30", FailureCode.ORIGIN_CHANGED, Retry.AFRESH),
        ("1", "Failed to read from the segment file /d/t.aria2", FailureCode.ENGINE, Retry.AFRESH),
        ("999", "", FailureCode.ENGINE, Retry.PASSING),
        ("junk", "", FailureCode.ENGINE, Retry.PASSING),
    ],
)  # fmt: skip
def test_errors(code: str, message: str, expected: FailureCode, retry: Retry) -> None:
    found = failure_of({"errorCode": code, "errorMessage": message})
    assert (found.code, found.retry) == (expected, retry)
    assert found.message


def test_a_message_shows_no_credentials_and_no_folders() -> None:
    assert tidy("CUID#5 - Download of http://me:secret@host/x aborted") == "Download of http://***@host/x aborted"
    assert tidy("Failed to open the file /srv/downloads/0190/file.bin,\ncause: x") == (
        "Failed to open the file file.bin, cause: x"
    )


def test_our_own_disk_errors() -> None:
    full = failure_of_os_error(OSError(errno.ENOSPC, "No space left on device"))
    assert (full.code, full.retry) == (FailureCode.NO_SPACE, Retry.WAIT_FOR_SPACE)
    other = failure_of_os_error(OSError(errno.EIO, "Input/output error"))
    assert (other.code, other.retry) == (FailureCode.STORAGE, Retry.PASSING)


def test_peers() -> None:
    seeder, half = peers_of([
        {"ip": "10.0.0.1", "port": "6881", "peerId": "-TR4060-abc", "bitfield": "f8", "seeder": "true"},
        {"ip": "::1", "port": "1", "peerId": "%ff%00", "bitfield": "f0", "downloadSpeed": "12", "uploadSpeed": "x"},
    ])  # fmt: skip
    assert (seeder.address, seeder.client, seeder.progress, seeder.seeder) == ("10.0.0.1:6881", "TR 4060", 1.0, True)
    assert (half.address, half.client, half.progress, half.rate_down, half.rate_up) == ("[::1]:1", None, 0.5, 12, 0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("0", 0), (" 120 ", 120), ("999999999", 86400), ("-5", None), ("soon", None), ("1.5", None), (None, None),
     ("٣", None), ("Mon, 99 Foo 2026", None)],
)  # fmt: skip
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert failure_of_status(429, header).retry_after == seconds


def test_retry_after_as_a_date() -> None:
    def asked(delta: float) -> float | None:
        when = datetime.now(UTC) + timedelta(seconds=delta)
        return failure_of_status(503, format_datetime(when, usegmt=True)).retry_after

    assert asked(60) == pytest.approx(60, abs=3)
    assert asked(-60) == 0


A, B = '"a"', '"b"'


@pytest.mark.parametrize(
    ("before", "now", "changed", "continues"),
    [
        (Origin(etag=A, length=1), Origin(etag=A, length=1), False, True),  # type: ignore[arg-type]
        (Origin(etag=A), Origin(etag=B), True, False),
        (Origin(etag=A), Origin(etag="W/" + A), True, False),
        (Origin(etag=A, length=1), Origin(etag=A, length=2), True, False),  # type: ignore[arg-type]
        (Origin(last_modified="x"), Origin(last_modified="x"), False, True),
        (Origin(last_modified="x"), Origin(last_modified="y"), True, False),
        (Origin(etag=A, last_modified="x"), Origin(last_modified="x"), False, True),
        (Origin(length=5), Origin(length=5), False, True),  # type: ignore[arg-type]
        (Origin(length=5), Origin(length=6), True, False),  # type: ignore[arg-type]
        (Origin(length=5), Origin(), False, False),  # type: ignore[arg-type]
        (Origin(), Origin(), False, False),
        (Origin(etag=A, encoding="gzip"), Origin(etag=A, encoding="gzip"), False, False),
    ],
)
def test_versions(before: Origin, now: Origin, changed: bool, continues: bool) -> None:
    assert now.changed_since(before) is changed
    assert now.continues(before) is continues


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 9098)"), "Connection refused"),
        (OSError(-2, "Name or service not known"), "Name or service not known"),
        (OSError("Multiple exceptions"), "the connection was closed"),
        (ValueError("x"), "the connection was closed"),
    ],
)
def test_why_there_is_no_connection_is_told_in_words(error: Exception, told: str) -> None:
    assert words_of(error) == told
