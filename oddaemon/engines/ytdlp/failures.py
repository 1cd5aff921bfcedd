"""What yt_dlp reports → Failure: tables over statuses, exception classes and its messages. Sans I/O.

`problem` is what the child sends (`problems.problem_of`); nothing in it is trusted to have the right type.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.domain.types import Seconds

MAX_MESSAGE = 500
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b.")
_NOISE = re.compile(
    r"; please report this issue on.*|;? ?Confirm you are on the latest version.*|\s*\(caused by .*|"
    r"\s*See\s+https://github\.com/yt-dlp.*|\s*Use --[a-z-]+.*",
    re.DOTALL,
)
_PREFIX = re.compile(r"^(?:ERROR:\s*|\[[\w:.+-]+\]\s+)+")
_USERINFO = re.compile(r"(https?://)[^/\s@]*@")
_STATUS = re.compile(r"HTTP Error (\d{3})")

_STATUSES: Mapping[int, tuple[FailureCode, Retry]] = {
    **dict.fromkeys((404, 410), (FailureCode.ORIGIN_GONE, Retry.LASTING)),
    **dict.fromkeys((401, 402, 403, 407, 451), (FailureCode.ORIGIN_DENIED, Retry.LASTING)),
    **dict.fromkeys((408, 425, 429, 503), (FailureCode.ORIGIN_BUSY, Retry.PASSING)),
}

_ERRNOS: Mapping[int, tuple[FailureCode, Retry]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), (FailureCode.NO_SPACE, Retry.WAIT_FOR_SPACE)),
    **dict.fromkeys((errno.EIO, errno.EROFS, errno.EACCES, errno.ENOENT), (FailureCode.STORAGE, Retry.PASSING)),
}

_MESSAGES: tuple[tuple[re.Pattern[str], FailureCode, Retry], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), code, retry)
    for pattern, code, retry in (
        (r"no space left|disk quota exceeded", FailureCode.NO_SPACE, Retry.WAIT_FOR_SPACE),
        (
            r"file:// URLs are disabled|neither http nor https|redirection to url|redirect loop|too many redirects|"
            r"redirect error|infinite loop|unsupported url scheme|no connection adapters",
            FailureCode.ORIGIN_REFUSED_URL, Retry.LASTING,
        ),
        (r"unsupported url|no media found|no video formats found|no video could be found|led to nothing|"
         r"is not a valid url|no suitable extractor|there('s| is) no video|"
         r"where media was promised", FailureCode.NO_MEDIA, Retry.LASTING),
        (r"live stream, which", FailureCode.UNSUPPORTED, Retry.LASTING),
        (r"requested format is not available|DRM|that is not supported|"
         r"ffmpeg is not installed|ffmpeg not found|ffprobe and ffmpeg not found",
         FailureCode.UNSUPPORTED, Retry.LASTING),
        (r"rate.?limit|too many requests|try again later", FailureCode.ORIGIN_BUSY, Retry.PASSING),
        (
            r"private video|is private|sign in|log ?in|account|geo.?restrict|not available (in|from) your|"
            r"in your country|age.?restrict|members.only|premium|subscri|paid|password",
            FailureCode.ORIGIN_DENIED, Retry.LASTING,
        ),
        (r"removed|deleted|terminated|no longer (available|exists)|does not exist|not found|video unavailable|"
         r"is unavailable|not available", FailureCode.ORIGIN_GONE, Retry.LASTING),
        (r"timed? ?out", FailureCode.TIMEOUT, Retry.PASSING),
        (r"content too short|incomplete read|more expected|bytes read", FailureCode.SHORT_READ, Retry.PASSING),
        (
            r"connection|getaddrinfo|name or service|temporary failure|unreachable|ssl|certificate|network|"
            r"remote end closed|urlopen error|giving up after",
            FailureCode.NETWORK, Retry.PASSING,
        ),
    )
)  # fmt: skip

_KINDS: Mapping[str, tuple[FailureCode, Retry]] = {
    "UnsupportedError": (FailureCode.NO_MEDIA, Retry.LASTING),
    "GeoRestrictedError": (FailureCode.ORIGIN_DENIED, Retry.LASTING),
    "ContentTooShortError": (FailureCode.SHORT_READ, Retry.PASSING),
    "IncompleteRead": (FailureCode.SHORT_READ, Retry.PASSING),
    "TimeoutError": (FailureCode.TIMEOUT, Retry.PASSING),
    "CertificateVerifyError": (FailureCode.NETWORK, Retry.PASSING),
    "TransportError": (FailureCode.NETWORK, Retry.PASSING),
    "SSLError": (FailureCode.NETWORK, Retry.PASSING),
    "ConnectionError": (FailureCode.NETWORK, Retry.PASSING),
}

_HINTS: Mapping[FailureCode, str] = {
    FailureCode.ORIGIN_DENIED: "where an account is needed, give the option cookies, or username and password",
    FailureCode.UNSUPPORTED: "odctl probe shows which formats there are",
    FailureCode.NO_MEDIA: "to have the page itself: odctl add -e aria2 …",
}


def failure_of(problem: Mapping[str, Any]) -> Failure:
    """The Failure that a problem is, in the engine's own words."""
    text = str(problem.get("message") or "")
    code, retry = _classify(problem, text)
    return Failure(
        code=code,
        message=clean(text),
        retry=retry,
        retry_after=_wait(problem.get("retry_after")) if retry is Retry.PASSING else None,
        hint=_HINTS.get(code, ""),
    )


def killed(last_words: str) -> Failure:
    """The child is gone without a word of its own about the download."""
    if re.search(r"no space left", last_words, re.IGNORECASE):
        return Failure(code=FailureCode.NO_SPACE, message=clean(last_words), retry=Retry.WAIT_FOR_SPACE)
    return Failure(code=FailureCode.ENGINE, message=clean(last_words), retry=Retry.PASSING)


def clean(text: str) -> str:
    """One printable line: no terminal codes, no credentials, nothing that only concerns yt-dlp's own users."""
    text = _PREFIX.sub("", _ANSI.sub("", text).strip())
    text = _USERINFO.sub(r"\1", _NOISE.sub("", text))
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text[: MAX_MESSAGE - 1] + "…" if len(text) > MAX_MESSAGE else text or "yt-dlp gave no reason"


def _classify(problem: Mapping[str, Any], text: str) -> tuple[FailureCode, Retry]:
    kinds = problem.get("kinds")
    kinds = [kind for kind in kinds if isinstance(kind, str)] if isinstance(kinds, list) else []
    number = problem.get("errno")
    if isinstance(number, int) and number in _ERRNOS:
        return _ERRNOS[number]
    status = problem.get("status")
    if not isinstance(status, int):
        found = _STATUS.search(text)
        status = int(found[1]) if found else None
    if status is not None and (found_status := _of_status(status)):
        return found_status
    if "UnsupportedError" in kinds:
        return _KINDS["UnsupportedError"]
    bare = clean(text)
    for pattern, code, retry in _MESSAGES:
        if pattern.search(bare):
            return code, retry
    for kind in kinds:
        if kind in _KINDS:
            return _KINDS[kind]
    # an extractor that expected its own failure has understood the site; anything else may be a passing oddity
    return FailureCode.ENGINE, Retry.PASSING


def _of_status(status: int) -> tuple[FailureCode, Retry] | None:
    if status in _STATUSES:
        return _STATUSES[status]
    if 300 <= status < 400:  # yt_dlp reports a redirect that it does not follow
        return FailureCode.ORIGIN_REFUSED_URL, Retry.LASTING
    if 400 <= status < 500:
        return FailureCode.ORIGIN_DENIED, Retry.LASTING
    return (FailureCode.ORIGIN_ERROR, Retry.PASSING) if 500 <= status < 600 else None


def _wait(value: object) -> Seconds | None:
    """Retry-After: seconds or a date (RFC 9110 section 10.2.3)."""
    if not isinstance(value, str):
        return None
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return Seconds(float(value))
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return Seconds(max(0.0, (at - datetime.now(UTC)).total_seconds()))
