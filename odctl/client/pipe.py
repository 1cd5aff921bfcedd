"""A file of a job to a pipe: read from where it was when the connection breaks. Standard library only."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable

from odctl.client.errors import FAILURE, REFUSED, UNREACHABLE, OdctlError
from odctl.client.http_get import CHUNK, TRIES, Request, check_day
from odctl.client.models import Link


def stream_to(link: Link, mint: Callable[[], Link], write: Callable[[bytes], object]) -> int:
    """The whole file to a pipe, asked for again from where it was when the connection breaks. The bytes written.
    Raises OdctlError, and what `write` raises."""
    sent, tries, etag = 0, 0, None
    while True:
        headers = {"Accept-Encoding": "identity", "User-Agent": "odctl"}
        if sent:
            headers |= {"Range": f"bytes={sent}-", **({"If-Range": etag} if etag else {})}
        try:
            request = Request(link.url, headers)
        except (OSError, http.client.HTTPException) as error:
            tries, problem = tries + 1, str(error)
        else:
            with contextlib.closing(request):
                status = request.answer.status
                check_day(request.answer)
                if status in (401, 403, 410):
                    link, tries, problem = mint(), tries + 1, f"the file server answered {status}"
                elif status == (206 if sent else 200):
                    etag, before = request.answer.headers.get("ETag"), sent
                    problem = "the connection broke"
                    while chunk := _read(request.answer):
                        write(chunk)
                        sent += len(chunk)
                    if link.size is None or sent >= link.size:
                        return sent
                    tries = 0 if sent > before else tries + 1
                elif sent and status == 200:
                    raise OdctlError("the file changed while it was read", code="CONFLICT", exit_code=REFUSED)
                elif status < 500 and status not in (408, 429):
                    raise OdctlError(f"the file server answered {status}", code="ERROR", exit_code=FAILURE)
                else:
                    tries, problem = tries + 1, f"the file server answered {status}"
        if tries > TRIES:
            raise OdctlError(f"cannot fetch it: {problem}", code="UNAVAILABLE", exit_code=UNREACHABLE)
        time.sleep(min(0.25 * 2**tries, 10.0))


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read1(CHUNK)
    except (OSError, http.client.HTTPException):
        return b""
