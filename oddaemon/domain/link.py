"""A signed, expiring, revocable URL to one file or folder of a job: the stored half of `domain.link_token`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from oddaemon.domain.types import Bytes, EntryId, JobId, LinkId, NodeId, ReplicaId, Seconds, UserId

LONGEST_LINK = Seconds(365 * 86_400)
"""No link lives longer, whatever the settings say."""


class LinkKind(StrEnum):
    FILE = "file"
    ZIP = "zip"
    """A folder, or all ready files, as a ZIP stream."""
    M3U = "m3u"
    """A selection as a playlist of file links."""


class LinkState(StrEnum):
    LIVE = "live"
    USED_UP = "used_up"
    """All its uses are taken. A download that began with the last of them may still go on."""
    EXPIRED = "expired"
    REVOKED = "revoked"


class LinkUse(StrEnum):
    """Whether a link with limits may be used now, by whoever asks."""

    TAKEN = "taken"
    USED_UP = "used_up"
    """Or gone meanwhile."""
    ELSEWHERE = "elsewhere"
    """It is for another address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    id: LinkId
    job_id: JobId
    user_id: UserId
    entry_id: EntryId
    replica_id: ReplicaId
    node_id: NodeId
    kind: LinkKind
    path: str
    """The file's display path, or the folder (empty: everything)."""
    file_index: int
    """0 for a folder."""
    created_at: datetime
    expires_at: datetime
    inline: bool = False
    revoked_at: datetime | None = None
    access_count: int = 0
    bytes_served: Bytes = Bytes(0)
    last_used_at: datetime | None = None
    max_uses: int | None = None
    """None: as often as anybody likes. See `services.link_serving` for what a use is."""
    uses_left: int | None = None
    address: str | None = None
    """An address or network: it works from there alone. None: from everywhere."""

    def state(self, now: datetime) -> LinkState:
        if self.revoked_at is not None:
            return LinkState.REVOKED
        if self.expires_at <= now:
            return LinkState.EXPIRED
        return LinkState.USED_UP if self.uses_left == 0 else LinkState.LIVE

    @property
    def asks(self) -> bool:
        """Whether the daemon is asked at every use."""
        return self.max_uses is not None or self.address is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFile:
    """A file that a link serves, or a member of its archive."""

    path: str
    """What people see."""
    disk_path: str
    """Below the replica's directory."""
    size: Bytes
    content_type: str
    modified_ns: int = 0
    """Since 1970: of one that lies on another node, which cannot be looked at here. Negative: it is not there as it was
    recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkContent:
    """What a file process has to know of a link beside its token. Small enough to be sent over a pipe."""

    name: str
    """The file name that the answer proposes."""
    files: tuple[LinkFile, ...] = ()
    """One of a file; the members of an archive."""
    text: str = ""
    """The playlist itself."""
    is_elsewhere: bool = False
    """The files lie on another node than the one that is asked for them."""
