"""Why a download does not go on: what an engine reports, and what a waiting or failed job shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from oddaemon.domain.types import Seconds


class FailureCode(StrEnum):
    """Stable names of download failures: `Job.error.code` in every face."""

    ORIGIN_GONE = "ORIGIN_GONE"
    """404, 410: the origin does not have it."""
    ORIGIN_DENIED = "ORIGIN_DENIED"
    """401, 402, 403, 407, 451 and the like: the origin refuses."""
    ORIGIN_BUSY = "ORIGIN_BUSY"
    """408, 425, 429, 503: later."""
    ORIGIN_ERROR = "ORIGIN_ERROR"
    """Any other 5xx, or an answer that breaks its protocol."""
    ORIGIN_CHANGED = "ORIGIN_CHANGED"
    """The file changed while it was downloaded."""
    ORIGIN_REFUSED_URL = "ORIGIN_REFUSED_URL"
    """A redirect to something that may not be fetched, a redirect loop, too many redirects."""
    NETWORK = "NETWORK"
    """Connection refused, reset, name not found, TLS."""
    TIMEOUT = "TIMEOUT"
    SHORT_READ = "SHORT_READ"
    """Fewer bytes than declared."""
    NO_SPACE = "NO_SPACE"
    STORAGE = "STORAGE"
    """The disk failed in another way."""
    NO_PROGRESS = "NO_PROGRESS"
    """No seeds, or no byte for longer than `limits.no_progress_timeout`."""
    NO_MEDIA = "NO_MEDIA"
    """A page without anything to download."""
    NO_FILES = "NO_FILES"
    """The result holds no file."""
    BAD_SELECTION = "BAD_SELECTION"
    """The selection names no file of this download."""
    BAD_SOURCE = "BAD_SOURCE"
    """The engine cannot use this source."""
    CREDENTIALS_NEEDED = "CREDENTIALS_NEEDED"
    """The credentials it was fetched with are erased; they have to be given again."""
    CHECKSUM = "CHECKSUM"
    """The finished file does not have the checksum that was asked for."""
    UNSUPPORTED = "UNSUPPORTED"
    ENGINE = "ENGINE"
    """The engine itself broke, or its child was killed."""
    STORAGE_LIMIT = "STORAGE_LIMIT"
    """It is there for others, and its user may not store so much more."""
    TOO_LARGE = "TOO_LARGE"
    """Larger than `limits.max_download_size`, or than all that its user may store."""


class Retry(StrEnum):
    """What a failure means for the next attempt (product.md section 5, invariant 10)."""

    PASSING = "passing"
    """Tried again with growing waits, keeping the bytes."""
    AFRESH = "afresh"
    """Tried again, but from the first byte: what is on disk can no longer be trusted."""
    LASTING = "lasting"
    """Ends at once."""
    WAIT_FOR_SPACE = "wait_for_space"
    """Held, and goes on by itself when there is room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failure in the engine's own words."""

    code: FailureCode
    message: str
    retry: Retry = Retry.LASTING
    retry_after: Seconds | None = None
    """The origin's own wish (Retry-After), which wins over our waits."""
    hint: str = ""


class ReasonCode(StrEnum):
    """Stable names of what a job that does not run waits for: `Job.reason.code` in every face."""

    RESOLVING = "resolving"
    """Engine or key are being found out."""
    RETRY = "retry"
    """A passing failure; `retry_at` says when it is tried next."""
    USER_LIMIT = "user_limit"
    STORAGE_LIMIT = "storage_limit"
    """It would take more than its user may store."""
    NODE_LIMIT = "node_limit"
    ENGINE_LIMIT = "engine_limit"
    WAITING_FOR_SPACE = "waiting_for_space"
    """It would not leave the reserve free."""
    NO_SPACE = "no_space"
    """The disk ran full; held until there is room."""
    STORAGE_MISSING = "storage_missing"
    STORAGE_FAILED = "storage_failed"
    """The download disk is read-only, damaged or not ours to write to."""
    ENGINE_DOWN = "engine_down"
    NODE_OFFLINE = "node_offline"
    NO_NODE = "no_node"
    """No node has the engine."""
    NO_SEEDS = "no_seeds"
    STALLED = "stalled"
    """Yielded its slot after no byte for a while."""
    PAUSED = "paused"
    """By the user."""
    PAUSED_UNTIL = "paused_until"
    QUEUE_PAUSED = "queue_paused"
    """By an admin, for everybody: nothing new starts."""
    FILES_MISSING = "files_missing"
    """Files that were ready are gone; they are fetched again."""
    REMOVING = "removing"
    """An old copy of the same content is still being removed."""
    SAME_TORRENT = "same_torrent"
    """Another download of the same torrent has to end first."""
    QUEUED = "queued"
    """Nothing but its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a job waits: shown with the job for as long as it does not run."""

    code: ReasonCode
    message: str
    retry_at: datetime | None = None
