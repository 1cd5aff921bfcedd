"""One frozen dataclass per event; the class is the event type. All but progress are rows, numbered in commit order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from oddaemon.domain.types import JobId, JobNumber, NodeId, UserId
from oddaemon.domain.user import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`seq` is 0 until the row is written. `data` holds JSON values only."""

    type: ClassVar[str] = ""
    durable: ClassVar[bool] = True

    at: datetime
    seq: int = 0
    job_id: JobId | None = None
    job_number: JobNumber | None = None
    user_id: UserId | None = None
    node_id: NodeId | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


def is_for(event: Event, who: Principal) -> bool:
    """Whether the caller may learn of it: admins of everything, others of what is theirs. What is nobody's, such as a
    node's, is for admins."""
    return who.is_admin or event.user_id == who.user_id


def facts(event: Event) -> dict[str, Any]:
    """What a line of the log says of it, beside its type in words."""
    known = {"job": event.job_number, "user": event.user_id and str(event.user_id), "node": event.node_id}
    said = {name: value for name, value in known.items() if value is not None}
    return {"action": event.type, "seq": event.seq, **said, "data": dict(event.data)}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCreated(Event):
    """A source was accepted; the job is stored."""

    type: ClassVar[str] = "job.created"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted(Event):
    """Its content is being downloaded."""

    type: ClassVar[str] = "job.started"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress(Event):
    """Not a row: figures live in memory only."""

    type: ClassVar[str] = "job.progress"
    durable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQueued(Event):
    """It went back to the queue, or was asked for again; `data.reason` says why."""

    type: ClassVar[str] = "job.queued"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChanged(Event):
    """Its owner changed it: name, priority, tags, selection, pause, resume."""

    type: ClassVar[str] = "job.changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobWaiting(Event):
    """Only the reason for which it waits changed. Not a row."""

    type: ClassVar[str] = "job.waiting"
    durable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCompleted(Event):
    """Every wanted file is on disk, with its recorded size."""

    type: ClassVar[str] = "job.completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailed(Event):
    """It ended without its files; `data` has the failure in the engine's own words."""

    type: ClassVar[str] = "job.failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelled(Event):
    """Its owner gave it up."""

    type: ClassVar[str] = "job.cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRemoved(Event):
    """It is gone from every list."""

    type: ClassVar[str] = "job.removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheHit(Event):
    """What was asked for was there already: the job is complete at once."""

    type: ClassVar[str] = "cache.hit"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEvicted(Event):
    """Content that nobody claimed was deleted."""

    type: ClassVar[str] = "cache.evicted"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCopied(Event):
    """Content lies on another node too: every file of the copy was compared by size and SHA-256."""

    type: ClassVar[str] = "cache.copied"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCopyFailed(Event):
    """A copy to another node was given up; the content is what and where it was."""

    type: ClassVar[str] = "cache.copy_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOnline(Event):
    """A node takes work: it started, was reached again, or has its download disk back."""

    type: ClassVar[str] = "node.online"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOffline(Event):
    """A node takes no work; its jobs keep their state. `data.reason`: `stopped`, `not_reached`, `storage_missing`."""

    type: ClassVar[str] = "node.offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDiskLow(Event):
    """A node's free space fell to the reserve."""

    type: ClassVar[str] = "node.disk_low"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeJoined(Event):
    """A worker has a credential of its own; `data.token` is the id of the join token that it showed."""

    type: ClassVar[str] = "node.joined"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeChanged(Event):
    """An admin changed a node's labels or limits, or began or ended draining it; `data` says what, and in `by` who."""

    type: ClassVar[str] = "node.changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRemoved(Event):
    """A node is none any more: its credential is dead. `data` has who removed it, and how many jobs went back."""

    type: ClassVar[str] = "node.removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTokenCreated(Event):
    """Workers may join with another token; `data` has its id, name and expiry."""

    type: ClassVar[str] = "node.token_created"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTokenRevoked(Event):
    """Nobody joins with a token any more; `data` has its id."""

    type: ClassVar[str] = "node.token_revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserCreated(Event):
    """There is a new account; `data` has its name and role, and in `by` who made it."""

    type: ClassVar[str] = "user.created"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChanged(Event):
    """An account's role, password, limits or uid is another; `data` says which, and in `by` who changed it."""

    type: ClassVar[str] = "user.changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDisabled(Event):
    """Nobody gets in as this user any more: sessions, keys and links are dead."""

    type: ClassVar[str] = "user.disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserEnabled(Event):
    """The user may log in again. What was dead stays dead."""

    type: ClassVar[str] = "user.enabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRemoved(Event):
    """An account is gone; `data` has its name, and what became of its jobs."""

    type: ClassVar[str] = "user.removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn(Event):
    """A password was right: a session began. `data.address` says from where."""

    type: ClassVar[str] = "login.succeeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginFailed(Event):
    """A password was wrong. For a name that no account has there is no user; what was typed is not kept."""

    type: ClassVar[str] = "login.failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedOut(Event):
    """A session was ended: `data.reason` is `asked`, `revoked`, or `reuse` when an old refresh token came back."""

    type: ClassVar[str] = "logout"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCreated(Event):
    """A user has a new API key; `data` has its name, id and scopes."""

    type: ClassVar[str] = "apikey.created"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRotated(Event):
    """An API key has a new secret; the old one and the user's links are dead."""

    type: ClassVar[str] = "apikey.rotated"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRevoked(Event):
    """An API key and the user's links are dead."""

    type: ClassVar[str] = "apikey.revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationCreated(Event):
    """An admin invited somebody; `data` has the role and when it expires."""

    type: ClassVar[str] = "invitation.created"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationRevoked(Event):
    """An invitation that nobody had used is not good any more; `data` has its role."""

    type: ClassVar[str] = "invitation.revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRevoked(Event):
    """Every session, key, link and invitation of a user is dead, or, without a user, everybody's."""

    type: ClassVar[str] = "access.revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRotated(Event):
    """Links and access tokens are signed with new secrets."""

    type: ClassVar[str] = "secret.rotated"


EVENT_TYPES: Mapping[str, type[Event]] = {
    cls.type: cls
    for cls in (
        JobCreated, JobStarted, JobProgress, JobQueued, JobChanged, JobWaiting, JobCompleted, JobFailed,
        JobCancelled, JobRemoved, CacheHit, CacheEvicted, CacheCopied, CacheCopyFailed,
        NodeOnline, NodeOffline, NodeDiskLow, NodeJoined, NodeChanged, NodeRemoved, NodeTokenCreated, NodeTokenRevoked,
        UserCreated, UserChanged, UserDisabled, UserEnabled, UserRemoved, LoggedIn, LoginFailed, LoggedOut, KeyCreated,
        KeyRotated, KeyRevoked, InvitationCreated, InvitationRevoked, AccessRevoked, SecretRotated,
    )
}  # fmt: skip
