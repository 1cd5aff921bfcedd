"""aria2's words → ours: errors, peers, numbers. Tables and pure functions."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.domain.types import BytesPerSecond
from oddaemon.engines.aria2.origin import failure_of_status
from oddaemon.ports.engine import Peer

# manual page aria2c(1), section EXIT STATUS
_CODES: Mapping[int, tuple[FailureCode, Retry]] = {
    1: (FailureCode.NETWORK, Retry.PASSING),
    2: (FailureCode.TIMEOUT, Retry.PASSING),
    3: (FailureCode.ORIGIN_GONE, Retry.LASTING),
    4: (FailureCode.ORIGIN_GONE, Retry.LASTING),
    5: (FailureCode.TIMEOUT, Retry.PASSING),
    6: (FailureCode.NETWORK, Retry.PASSING),
    7: (FailureCode.ENGINE, Retry.PASSING),
    8: (FailureCode.SHORT_READ, Retry.AFRESH),
    10: (FailureCode.ENGINE, Retry.AFRESH),
    11: (FailureCode.ENGINE, Retry.PASSING),
    12: (FailureCode.ENGINE, Retry.PASSING),
    13: (FailureCode.ENGINE, Retry.AFRESH),
    14: (FailureCode.STORAGE, Retry.PASSING),
    15: (FailureCode.STORAGE, Retry.PASSING),
    16: (FailureCode.STORAGE, Retry.PASSING),
    17: (FailureCode.STORAGE, Retry.PASSING),
    18: (FailureCode.STORAGE, Retry.PASSING),
    19: (FailureCode.NETWORK, Retry.PASSING),
    20: (FailureCode.BAD_SOURCE, Retry.LASTING),
    21: (FailureCode.ORIGIN_ERROR, Retry.PASSING),
    22: (FailureCode.ORIGIN_ERROR, Retry.PASSING),
    23: (FailureCode.ORIGIN_REFUSED_URL, Retry.LASTING),
    24: (FailureCode.ORIGIN_DENIED, Retry.LASTING),
    25: (FailureCode.BAD_SOURCE, Retry.LASTING),
    26: (FailureCode.BAD_SOURCE, Retry.LASTING),
    27: (FailureCode.BAD_SOURCE, Retry.LASTING),
    28: (FailureCode.ENGINE, Retry.LASTING),
    29: (FailureCode.ORIGIN_BUSY, Retry.PASSING),
    30: (FailureCode.ENGINE, Retry.PASSING),
    32: (FailureCode.CHECKSUM, Retry.AFRESH),
}

_DISK_FULL = 9
_SPOILT = re.compile(r"segment file")
"""aria2's word for its control file."""
_STATUS = re.compile(r"\bstatus=(\d{3})\b")
_RANGES = re.compile(r"Request: \d+-\d+/(\d+), Response: \d+-\d+/(\d+)")
_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded")
_BAD_REDIRECT = re.compile(r"Redirect to .* failed")
_URL_SECRETS = re.compile(r"(?<=://)[^/@\s]*@")
_DIRECTORY = re.compile(r"/\S*/(?=\S)")
_MAX_MESSAGE = 300

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def number(row: Mapping[str, Any], key: str) -> int:
    """aria2 writes numbers as text; what is missing or no number is 0."""
    value = row.get(key)
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else 0


def failure_of(row: Mapping[str, Any]) -> Failure:
    """What an ended download's error means."""
    text = str(row.get("errorMessage") or "")
    code = number(row, "errorCode")
    message = tidy(text) or f"aria2 ended with error {code}"
    if code == _DISK_FULL or _NO_SPACE.search(text):
        return no_space(message)
    if _SPOILT.search(text):
        return Failure(code=FailureCode.ENGINE, message=message, retry=Retry.AFRESH)
    status = _STATUS.search(text)
    if status:
        return failure_of_status(int(status[1]))
    if _BAD_REDIRECT.search(text):
        return Failure(
            code=FailureCode.ORIGIN_REFUSED_URL, message="the origin redirects to what is not fetched"
        )
    ranges = _RANGES.search(text)
    if ranges and ranges[1] != ranges[2]:
        message = f"the file changed from {ranges[1]} to {ranges[2]} bytes while it was fetched"
        return Failure(code=FailureCode.ORIGIN_CHANGED, message=message, retry=Retry.AFRESH)
    if code == 8:
        message = "the connection ended early, and the origin cannot continue a file"
    if code == 22 and 0 < number(row, "completedLength") < number(row, "totalLength"):
        return Failure(
            code=FailureCode.SHORT_READ,
            message=f"{number(row, 'completedLength')} of {number(row, 'totalLength')} bytes came",
            retry=Retry.PASSING,
        )
    kind, retry = _CODES.get(code, (FailureCode.ENGINE, Retry.PASSING))
    return Failure(code=kind, message=message, retry=retry)


def failure_of_os_error(error: OSError) -> Failure:
    """Of our own work in the replica's directory."""
    words = error.strerror or str(error)
    if error.errno in _FULL:
        return no_space(words)
    return Failure(code=FailureCode.STORAGE, message=f"the disk refuses: {words}", retry=Retry.PASSING)


def no_space(message: str) -> Failure:
    return Failure(
        code=FailureCode.NO_SPACE, message=f"the disk is full: {message}", retry=Retry.WAIT_FOR_SPACE
    )


def tidy(text: str) -> str:
    """aria2's message on one line, without credentials and without the folders of this machine."""
    line = " ".join(re.sub(r"CUID#\d+ - ", "", text).split())
    if "://" not in line:
        line = _DIRECTORY.sub("", line)
    return _URL_SECRETS.sub("***@", line)[:_MAX_MESSAGE]


def peers_of(rows: Sequence[Mapping[str, Any]]) -> list[Peer]:
    return [
        Peer(
            address=f"[{row.get('ip')}]:{row.get('port')}" if ":" in str(row.get("ip")) else
                    f"{row.get('ip')}:{row.get('port')}",
            client=_client(str(row.get("peerId", ""))),
            progress=_progress(str(row.get("bitfield", "")), row.get("seeder") == "true"),
            rate_down=BytesPerSecond(number(row, "downloadSpeed")),
            rate_up=BytesPerSecond(number(row, "uploadSpeed")),
            seeder=row.get("seeder") == "true",
        )
        for row in rows
    ]  # fmt: skip


def _client(peer_id: str) -> str | None:
    """The Azureus style of BEP 20: two letters and a version, such as -TR4060-."""
    raw = unquote_to_bytes(peer_id)
    match = re.match(rb"-([A-Za-z]{2})([0-9A-Za-z]{4})-", raw) or re.match(rb"(A2)-([0-9-]+)-", raw)
    return f"{match[1].decode()} {match[2].decode()}" if match else None


def _progress(bitfield: str, seeder: bool) -> float:
    """Share of the pieces. The field's last byte may have unused bits, so a seeder is taken at its word."""
    if seeder:
        return 1.0
    try:
        bits = bytes.fromhex(bitfield)
    except ValueError:
        return 0.0
    return sum(byte.bit_count() for byte in bits) / (8 * len(bits)) if bits else 0.0
