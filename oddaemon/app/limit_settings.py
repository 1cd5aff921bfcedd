"""The settings that say what may not be exceeded."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from oddaemon.app.setting_fields import LIVE, Duration, Section, Size
from oddaemon.domain.link import LONGEST_LINK
from oddaemon.domain.types import Bytes, Seconds

MIB = 2**20


class LimitSettings(Section):
    """What may not be exceeded. Where 0 means "no limit" the description says so."""

    min_disk_free: Size = Field(
        default=Bytes(2**30),
        description="The reserve: free space that downloads leave on the download disk.",
        json_schema_extra=LIVE,
    )
    resume_free: Size = Field(
        default=Bytes(0),
        description="How far above the reserve the free space has to come before downloads that a full disk stopped go "
        "on. 0: a quarter of the reserve.",
        json_schema_extra=LIVE,
    )
    per_user_concurrent: int = Field(
        default=5,
        ge=1,
        le=100_000,
        description="Jobs of one user that run at the same time; a job that joined a running download counts, too.",
        json_schema_extra=LIVE,
    )
    per_node_concurrent: int = Field(
        default=10,
        ge=1,
        le=100_000,
        description="Downloads that run at the same time on one node.",
        json_schema_extra=LIVE,
    )
    jobs_per_user: int = Field(
        default=0,
        ge=0,
        description="Unfinished jobs that one user may have. 0: no limit.",
        json_schema_extra=LIVE,
    )
    max_download_size: Size = Field(
        default=Bytes(0), description="Largest download, wanted files together. 0: no limit.", json_schema_extra=LIVE
    )
    storage_per_user: Size = Field(
        default=Bytes(0),
        description="What one user's jobs may take on the download disks. An add that would take more is refused, a "
        "download that turns out to waits; nothing is deleted. 0: no limit.",
        json_schema_extra=LIVE,
    )
    storage_shared: Literal["full", "split"] = Field(
        default="full",
        description="How content that several users have is charged: full, to each of them; split, among those who "
        "have the same file.",
        json_schema_extra=LIVE,
    )
    served_per_day: Size = Field(
        default=Bytes(0),
        description="What the links of one user may give on one day, which begins at 00:00 UTC. When it is used up "
        "they answer 429 until the next one, and what is being fetched ends within seconds. 0: no limit.",
        json_schema_extra=LIVE,
    )
    requests_per_minute: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="Requests of one user in any 60 seconds, over REST and the control API together; the operator on "
        "the control socket is never refused. 0: no limit.",
        json_schema_extra=LIVE,
    )
    link_expiry: Duration = Field(
        default=Seconds(3600), gt=0, description="How long a link works by default.", json_schema_extra=LIVE
    )
    link_expiry_max: Duration = Field(
        default=LONGEST_LINK,
        ge=1,
        le=LONGEST_LINK,
        description="The longest that a link may be made for, by default too; at most 365 days.",
        json_schema_extra=LIVE,
    )
    retries: int = Field(
        default=8,
        ge=0,
        le=1000,
        description="How often a passing failure is tried again without a byte of progress in between.",
        json_schema_extra=LIVE,
    )
    retry_wait: Duration = Field(
        default=Seconds(5),
        gt=0,
        description="Wait before the first of those tries; doubles with each.",
        json_schema_extra=LIVE,
    )
    no_progress_timeout: Duration = Field(
        default=Seconds(7 * 86400),
        gt=0,
        description="A download without a new byte for so long fails.",
        json_schema_extra=LIVE,
    )
    stall_yield: Duration = Field(
        default=Seconds(600),
        gt=0,
        description="A download without one new byte for so long leaves its slot to one that waits.",
        json_schema_extra=LIVE,
    )
    lru_enabled: bool = Field(
        default=False, description="Whether content that nobody claims is removed by itself.", json_schema_extra=LIVE
    )
    lru_max_age: Duration = Field(
        default=Seconds(30 * 86400),
        description="With lru_enabled: content unused for so long is removed. 0: never for its age.",
        json_schema_extra=LIVE,
    )
    lru_until_free: Size = Field(
        default=Bytes(0),
        description="With lru_enabled: the least recently used is removed until so much is free. 0: never for space.",
        json_schema_extra=LIVE,
    )

    @property
    def resume_margin(self) -> Bytes:
        """`resume_free` with its default filled in; never 0, so that downloads do not flap."""
        return self.resume_free or Bytes(max(self.min_disk_free // 4, MIB))
