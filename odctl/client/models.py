"""What the daemon's answers become: frozen values whose field names and order are those of the JSON interface.

None is "unknown". Sizes are bytes, rates bytes a second, durations seconds, times aware datetimes in UTC. Nothing here
knows the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

TERMINAL_STATES = frozenset({"completed", "failed", "cancelled"})


class Reason(Struct, frozen=True, kw_only=True):
    code: str
    message: str
    retry_at: datetime | None


class JobError(Struct, frozen=True, kw_only=True):
    code: str
    message: str
    hint: str
    retryable: bool


class Job(Struct, frozen=True, kw_only=True):
    id: int
    uuid: str
    name: str
    source: str
    kind: str
    cache_key: str | None
    cache_hit: bool
    state: str
    hold: str
    reason: Reason | None
    engine_state: str | None
    engine: str | None
    node: str | None
    user: str
    progress: float
    size: int | None
    done: int
    rate_down: int
    rate_up: int
    eta_s: float | None
    seeders: int | None
    peers: int | None
    files_total: int
    files_selected: int
    priority: int
    tags: tuple[str, ...]
    position: int | None
    error: JobError | None
    created_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    rev: int

    @property
    def over(self) -> bool:
        """It will not change by itself any more."""
        return self.state in TERMINAL_STATES

    @property
    def shown_state(self) -> str:
        """The state as people read it: a queued job that its user holds is paused."""
        if self.state == "queued" and self.hold == "user":
            return "paused"
        return self.state

    @property
    def attention(self) -> tuple[int, int, int]:
        """Its place in a list for which no order was asked, as the daemon's `--sort attention`."""
        if self.state == "queued" and self.hold == "none":
            return 2, -self.priority, self.id
        return {"active": 0, "queued": 1, "failed": 1}.get(self.state, 3), 0, -self.id


class JobExtra(Struct, frozen=True, kw_only=True):
    """What only `show` tells of a job."""

    selection: str
    options: Mapping[str, str]
    hold_until: datetime | None
    max_rate_down: int | None
    max_rate_up: int | None
    attempts: int
    placement: str | None
    files_failed: int
    checksum: str | None
    """`sha256=…`, as it was asked for."""
    node_labels: Mapping[str, str] = {}
    """Which its node has to have."""


class File(Struct, frozen=True, kw_only=True):
    job: int | None
    """None: of a source that was only looked at."""
    index: int
    path: str
    size: int | None
    done: int
    progress: float
    selected: bool
    priority: int
    content_type: str | None
    sha256: str | None
    ready: bool
    error: str | None


class Link(Struct, frozen=True, kw_only=True):
    job: int
    index: int
    path: str
    url: str
    expires_at: datetime | None
    size: int | None
    content_type: str | None
    node: str
    id: str
    kind: str


class MintedLink(Struct, frozen=True, kw_only=True):
    """A link as it is known after it was made: without its URL, which is shown once."""

    id: str
    state: str
    """live, used_up, expired or revoked"""
    job: int | None
    """None: the job is gone."""
    index: int
    path: str
    kind: str
    node: str
    size: int | None
    content_type: str | None
    created_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    access_count: int
    bytes_served: int
    max_uses: int | None
    uses_left: int | None
    address: str | None
    """From where alone it works."""


class NodeNotReached(Struct, frozen=True, kw_only=True):
    """A node that serves revoked links and could not be told."""

    node: str
    until: datetime | None
    """When they work there no more, at the latest."""


class Revoked(Struct, frozen=True, kw_only=True):
    revoked: int
    """How many worked until now."""
    not_reached: list[NodeNotReached]


class Failure(Struct, frozen=True, kw_only=True):
    """An error as a value, of one member of a batch."""

    code: str
    message: str
    hint: str
    details: Mapping[str, Any]


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one member of a batch: a job, or why not."""

    id: str
    job: Job | None
    failure: Failure | None
    freed_bytes: int = 0
    attempts: int = 0
    """So often the job was tried."""


class Selection(Struct, frozen=True, kw_only=True):
    """Which jobs: ids as given, or a filter, or all of the caller's."""

    ids: tuple[str, ...] = ()
    filter: str = ""
    all: bool = False


class Delta(Struct, frozen=True, kw_only=True):
    """What changed on a page of jobs."""

    changed: tuple[Job, ...]
    order: tuple[int, ...]
    """The numbers of all that are on the page now."""
    total: int
    """Jobs of the whole list."""


class Detail(Struct, frozen=True, kw_only=True):
    id: str
    job: Job | None
    extra: JobExtra | None
    files: tuple[File, ...]
    peers: tuple[Mapping[str, Any], ...]
    engine_raw: Mapping[str, Any]
    """The engine's own status of it, by the engine's own names."""
    failure: Failure | None


class Event(Struct, frozen=True, kw_only=True):
    seq: int
    ts: datetime | None
    type: str
    job: int | None
    node: str | None
    user: str | None
    data: Any


class Hello(Struct, frozen=True, kw_only=True):
    server_version: str
    api_major: int
    api_minor: int
    features: tuple[str, ...]
    user: str
    role: str
    auth: str
    node: str
    epoch: str
    now: datetime | None
    """The daemon's clock when it answered."""


class UserLimits(Struct, frozen=True, kw_only=True):
    """None: the setting's value. 0: no limit."""

    running: int | None
    jobs: int | None
    storage: int | None
    served_per_day: int | None
    requests_per_minute: int | None


class User(Struct, frozen=True, kw_only=True):
    name: str
    role: str
    active: bool
    unix_user: str | None
    jobs_active: int
    quota_bytes: int | None
    last_seen_at: datetime | None
    unix_uid: int | None
    email: str | None
    has_password: bool
    limits: UserLimits
    created_at: datetime | None
    id: str


class Usage(Struct, frozen=True, kw_only=True):
    user: str
    running: int
    jobs: int
    stored: int
    served_today: int
    day_ends_at: datetime | None
    requests: int
    limits: UserLimits
    """Those that hold. None: no limit."""


class ApiKey(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    user: str
    scopes: tuple[str, ...]
    created_at: datetime | None
    expires_at: datetime | None
    """None: never."""
    last_used_at: datetime | None


class Session(Struct, frozen=True, kw_only=True):
    """A login."""

    id: str
    created_at: datetime | None
    expires_at: datetime | None
    current: bool
    """The call was made with it."""


REVOKED = ("sessions", "keys", "links", "invitations")
"""Of what it is said how much of it has ended."""


class Invitation(Struct, frozen=True, kw_only=True):
    id: str
    role: str
    invited_by: str
    created_at: datetime | None
    expires_at: datetime | None


class NodeToken(Struct, frozen=True, kw_only=True):
    """What lets other machines join. The token itself is told when it is made, and never again."""

    id: str
    name: str | None
    reusable: bool
    state: str
    created_by: str | None
    created_at: datetime | None
    expires_at: datetime | None
    used_at: datetime | None
    uses: int


class Identity(Struct, frozen=True, kw_only=True):
    """Who the daemon takes the caller for, and by what."""

    user: User
    auth: str
    uid: int | None
    scopes: tuple[str, ...]
    credential: str | None


def rfc3339(time: datetime) -> str:
    """In UTC with milliseconds, as in 2026-01-31T12:00:00.000Z."""
    moment = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def jsonable(value: Any) -> Any:
    """`value` in the types that json knows."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, Struct):
        return {name: jsonable(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
