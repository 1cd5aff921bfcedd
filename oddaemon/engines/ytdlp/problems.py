"""In the child: an exception of yt_dlp as plain facts, which the daemon's `failures` makes a Failure of."""

from __future__ import annotations

from collections.abc import Iterator


def problem_of(error: BaseException) -> dict[str, object]:
    """The engine's words; the classes of everything that caused it; status, errno and Retry-After where there are."""
    kinds: list[str] = []
    status: int | None = None
    retry_after: str | None = None
    errno: int | None = None
    for cause in _chain(error):
        kinds += [kind.__name__ for kind in type(cause).__mro__[:-2]]
        if status is None and isinstance(found := getattr(cause, "status", None), int):
            status = found
            headers = getattr(getattr(cause, "response", None), "headers", None)
            retry_after = None if headers is None else headers.get("Retry-After")
        if errno is None and isinstance(cause, OSError):
            errno = cause.errno
    message = str(getattr(error, "msg", None) or error) or type(error).__name__
    return {
        "message": message[:4000],
        "kinds": list(dict.fromkeys(kinds))[:40],
        "status": status,
        "retry_after": retry_after,
        "errno": errno,
    }


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from: yt_dlp keeps that in `exc_info`, in `cause`, or as Python does."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < 20:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        exc_info = getattr(current, "exc_info", None)
        inner = exc_info[1] if isinstance(exc_info, tuple) and len(exc_info) == 3 else None
        causes = (inner, getattr(current, "cause", None), current.__cause__, current.__context__)
        waiting += [cause for cause in causes if isinstance(cause, BaseException)]
