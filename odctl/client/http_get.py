"""One GET of a file server, and what its answer says of waiting. Standard library only."""

from __future__ import annotations

import http.client
from urllib.parse import urljoin, urlsplit

from odctl.client.errors import FAILURE, REFUSED, OdctlError

CHUNK = 256 << 10
TRIES = 6
"""In a row without a byte."""
NETWORK_SECONDS = 60.0
LONG_WAIT = 300
"""Seconds after which it is better to say so than to wait."""
REDIRECTS = 5


class Request:
    """A GET whose redirects, http and https only, have been followed. Raises OSError, HTTPException, OdctlError."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        for _ in range(REDIRECTS + 1):
            self._connection = _connect(url)
            try:
                parts = urlsplit(url)
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                self._connection.request("GET", target, headers=headers)
                self.answer = self._connection.getresponse()
            except BaseException:
                self._connection.close()
                raise
            where = self.answer.headers.get("Location")
            if self.answer.status not in (301, 302, 303, 307, 308) or not where:
                return
            self._connection.close()
            url = urljoin(url, where)
        raise OdctlError("the file server redirects without end", code="ERROR", exit_code=FAILURE)

    def close(self) -> None:
        self.answer.close()
        self._connection.close()


def _connect(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise OdctlError("the link is no http or https URL", code="ERROR", exit_code=FAILURE)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname, parts.port, timeout=NETWORK_SECONDS)


def check_day(answer: http.client.HTTPResponse) -> None:
    """Raises OdctlError where waiting is for hours: what the user's links may give in a day is used up."""
    value = answer.headers.get("Retry-After", "")
    if answer.status == 429 and value.isascii() and value.isdigit() and int(value) > LONG_WAIT:
        said = answer.read(500).decode("utf-8", "replace").strip()
        raise OdctlError(
            said or "the file server wants to be left alone", code="LIMIT_EXCEEDED", exit_code=REFUSED,
            hint=f"fetch it again in {int(value) // 3600} h {int(value) % 3600 // 60} min; what came is kept",
        )  # fmt: skip


def asked_wait(answer: http.client.HTTPResponse) -> float:
    value = answer.headers.get("Retry-After", "")
    return min(float(value), 60.0) if value.isascii() and value.isdigit() else 0.0


def is_network(error: OSError) -> bool:
    """Rather than the disk."""
    import errno
    import socket
    import ssl

    codes = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
    return isinstance(error, (socket.gaierror, ssl.SSLError)) or error.errno in codes
