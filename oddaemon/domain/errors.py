"""The one exception tree: a class per decision that a caller can make, split by blame.

    OpenDebridError
    ├── CallerError                  the request can never work as it is
    │   ├── InvalidArgument          a field is wrong (`field` names it)
    │   │   ├── InvalidSource        not a source (`position` points at the offending character)
    │   │   ├── InvalidOption        an option that the engine does not take, or a value it does not
    │   │   ├── InvalidSelection     no such file
    │   │   └── InvalidFilter        a list filter or sort order that does not parse (`position`)
    │   ├── Unauthenticated          nobody is known to be calling
    │   └── NotAllowed               somebody is, and may not
    ├── NotFound                     there is no such thing, or it is not the caller's
    ├── Conflict                     the request is fine, the state of the thing is not
    │   ├── AlreadyExists
    │   ├── WrongState               the transition table has no such step
    │   ├── NotReady                 the files are not there yet
    │   └── Pinned                   a setting is fixed by the file, the environment or a flag
    ├── LimitExceeded                a limit from the settings, or the user's own
    │   ├── LoginThrottled           too many logins that failed, from there or for that account (`retry_after`)
    │   └── TooManyRequests          more than a user may make in a minute (`retry_after`)
    ├── Unsupported                  an ability that this engine or node does not have
    ├── Unavailable                  try again later
    │   ├── NodeUnavailable
    │   ├── EngineUnavailable
    │   ├── StorageMissing           the download disk is not mounted (its sentinel is absent)
    │   ├── StorageFailed            the download disk is there and cannot be used: read-only, damaged, no right
    │   ├── NoSpace
    │   ├── Draining                 the daemon is shutting down
    │   └── DeadlineExceeded
    ├── EngineFailed                 the engine answered, and the answer is a failure
    └── StoreError                   the store itself
        ├── StoreLocked              another daemon holds it
        ├── StoreUnavailable         the database server does not serve at the moment
        ├── StoreNewer               written by a newer program
        └── StoreDamaged

The docstring of a class is its default message. `hint` is one sentence that says what to do next.
"""

from __future__ import annotations

from typing import Any, ClassVar

MAX_SHOWN = 1000
"""Characters of a caller's text that an error shows again."""


class OpenDebridError(Exception):
    """Something went wrong."""

    default_hint: ClassVar[str] = ""

    def __init__(self, message: str = "", *, hint: str = "", **details: Any) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.hint = hint or self.default_hint
        self.details: dict[str, Any] = details
        super().__init__(self.message)


class CallerError(OpenDebridError):
    """The request cannot be carried out as it is."""


class InvalidArgument(CallerError):
    """A value in the request is not valid."""

    def __init__(self, message: str = "", *, field: str = "", hint: str = "", **details: Any) -> None:
        self.field = field
        super().__init__(message, hint=hint, **({"field": field} if field else {}), **details)


class InvalidSource(InvalidArgument):
    """This is not something that can be downloaded."""

    default_hint = "give a magnet link, an info-hash, a .torrent file, or an http, https or ftp URL"

    def __init__(self, message: str = "", *, position: int | None = None, hint: str = "") -> None:
        self.position = position
        super().__init__(message, field="source", hint=hint, **({} if position is None else {"position": position}))


class InvalidOption(InvalidArgument):
    """This option is not accepted."""


class InvalidSelection(InvalidArgument):
    """This selection names no file."""


class InvalidFilter(InvalidArgument):
    """This filter cannot be read."""

    def __init__(self, message: str = "", *, position: int = 0, field: str = "filter", hint: str = "") -> None:
        self.position = position
        super().__init__(message, field=field, hint=hint, position=position)

    def tell(self, text: str) -> None:
        """Adds the text in which `position` is, where it is short enough to be shown again."""
        if len(text) <= MAX_SHOWN:
            self.details["text"] = text


class Unauthenticated(CallerError):
    """Nobody is known to be calling."""


class NotAllowed(CallerError):
    """This is not allowed."""


class NotFound(OpenDebridError):
    """There is no such thing."""


class Conflict(OpenDebridError):
    """The state of the thing does not allow this."""


class AlreadyExists(Conflict):
    """It exists already."""


class WrongState(Conflict):
    """This step does not exist from the present state."""


class NotReady(Conflict):
    """The files are not ready yet."""


class Pinned(Conflict):
    """This setting is fixed elsewhere."""


class LimitExceeded(OpenDebridError):
    """A limit is reached."""


def _in_seconds(count: int) -> str:
    return f"try again in {count} second{'s' if count != 1 else ''}"


class LoginThrottled(LimitExceeded):
    """There were too many failed logins."""

    def __init__(self, message: str = "", *, retry_after: int = 1) -> None:
        """`retry_after`: in so many seconds it may be tried again."""
        self.retry_after = retry_after
        super().__init__(message, hint=_in_seconds(retry_after), retry_after=retry_after)


class TooManyRequests(LimitExceeded):
    """There were too many requests."""

    def __init__(self, message: str = "", *, limit: int = 0, retry_after: int = 1) -> None:
        """`limit`: so many a minute. `retry_after`: in so many seconds there may be another."""
        self.limit = limit
        self.retry_after = retry_after
        super().__init__(message, hint=_in_seconds(retry_after), limit=limit, retry_after=retry_after)


class Unsupported(OpenDebridError):
    """This is not supported here."""


class Unavailable(OpenDebridError):
    """This is not available at the moment."""


class NodeUnavailable(Unavailable):
    """The node cannot be reached."""


class EngineUnavailable(Unavailable):
    """The engine is not running."""


class StorageMissing(Unavailable):
    """The download disk is not there: its sentinel file is absent."""

    default_hint = "mount the disk that holds the downloads; nothing is written, evicted or forgotten until then"


class StorageFailed(Unavailable):
    """The download disk cannot be used."""

    default_hint = "look at the disk that holds the downloads; what waits for it goes on by itself"


class NoSpace(Unavailable):
    """There is not enough free space."""


class Draining(Unavailable):
    """The daemon is shutting down."""


class DeadlineExceeded(Unavailable):
    """It took too long."""


class EngineFailed(OpenDebridError):
    """The engine failed."""


class StoreError(OpenDebridError):
    """The store failed."""


class StoreLocked(StoreError):
    """Another daemon uses this store."""


class StoreUnavailable(StoreError):
    """The database cannot be reached at the moment."""

    default_hint = "downloads go on; the daemon asks again by itself: try again when the database is back"


class StoreNewer(StoreError):
    """The store was written by a newer program."""

    default_hint = "install that version or a later one again, or restore the backup that the upgrade wrote"


class StoreDamaged(StoreError):
    """The store holds something that cannot be read."""
