"""The daemon's messages → models. An empty string or an unset time is "unknown": None."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from odctl.client.models import (
    ApiKey,
    Detail,
    Event,
    Failure,
    File,
    Hello,
    Identity,
    Job,
    JobError,
    JobExtra,
    Link,
    MintedLink,
    Outcome,
    Reason,
    Usage,
    User,
    UserLimits,
)
from odctl.client.protocol import common, wire

UNKNOWN = "UNKNOWN"
"""The code of an error that came without one."""
MOST = 1e10
_STATES = {
    common.JobState.QUEUED: "queued",
    common.JobState.ACTIVE: "active",
    common.JobState.COMPLETED: "completed",
    common.JobState.FAILED: "failed",
    common.JobState.CANCELLED: "cancelled",
}
_HOLDS = {common.Hold.USER: "user", common.Hold.DISK: "disk"}


def figure(value: float | None) -> float | None:
    """A measured figure; None for what can be none, as NaN, infinity and millennia of seconds."""
    return value if value is not None and 0 <= value <= MOST else None


def part(value: float) -> float:
    """From 0 to 1; 0 for NaN."""
    return min(max(value, 0.0), 1.0) if value == value else 0.0


def job(message: common.Job) -> Job:
    reason, error = message.reason, message.error
    return Job(
        id=message.id,
        uuid=message.uuid,
        name=message.name,
        source=message.source,
        kind=message.kind,
        cache_key=message.cache_key or None,
        cache_hit=message.cache_hit,
        state=_STATES.get(message.state, "unknown"),
        hold=_HOLDS.get(message.hold, "none"),
        reason=None if reason is None else Reason(code=reason.code, message=reason.message, retry_at=reason.retry_at),
        engine_state=message.engine_state or None,
        engine=message.engine or None,
        node=message.node or None,
        user=message.user,
        progress=part(message.progress),
        size=message.size,
        done=message.done,
        rate_down=message.rate_down,
        rate_up=message.rate_up,
        eta_s=figure(message.eta_s),
        seeders=message.seeders,
        peers=message.peers,
        files_total=message.files_total,
        files_selected=message.files_selected,
        priority=message.priority,
        tags=tuple(message.tags),
        position=message.position,
        error=None
        if error is None
        else JobError(code=error.code, message=error.message, hint=error.hint, retryable=error.retryable),
        created_at=message.created_at,
        started_at=message.started_at,
        completed_at=message.completed_at,
        rev=message.rev,
    )


def extra(message: common.Job) -> JobExtra:
    return JobExtra(
        selection=message.selection,
        options=dict(message.options),
        hold_until=message.hold_until,
        max_rate_down=message.max_rate_down,
        max_rate_up=message.max_rate_up,
        attempts=message.attempts,
        placement=message.placement or None,
        files_failed=message.files_failed,
        checksum=message.checksum or None,
        node_labels=dict(message.node_labels),
    )


def file(message: common.File) -> File:
    return File(
        job=message.job or None,
        index=message.index,
        path=message.path,
        size=message.size,
        done=message.done,
        progress=part(message.progress),
        selected=message.selected,
        priority=message.priority,
        content_type=message.content_type or None,
        sha256=message.sha256 or None,
        ready=message.ready,
        error=message.error or None,
    )


def link(message: wire.Link) -> Link:
    return Link(
        job=message.job,
        index=message.index,
        path=message.path,
        url=message.url,
        expires_at=message.expires_at,
        size=message.size,
        content_type=message.content_type or None,
        node=message.node,
        id=message.id,
        kind=message.kind,
    )


def minted_link(message: wire.Link) -> MintedLink:
    return MintedLink(
        id=message.id,
        state=message.state,
        job=message.job or None,
        index=message.index,
        path=message.path,
        kind=message.kind,
        node=message.node,
        size=message.size,
        content_type=message.content_type or None,
        created_at=message.created_at,
        expires_at=message.expires_at,
        revoked_at=message.revoked_at,
        access_count=message.access_count,
        bytes_served=message.bytes_served,
        max_uses=message.max_uses,
        uses_left=message.uses_left,
        address=message.address or None,
    )


def failure(message: common.Error) -> Failure:
    return Failure(
        code=message.code or UNKNOWN,
        message=message.message,
        hint=message.hint,
        details=loose_json(message.details),
    )


def outcome(message: wire.BatchResult | wire.AddResult, id: str = "") -> Outcome:
    """`id` is used where the message has none of its own."""
    return Outcome(
        id=getattr(message, "id", "") or id,
        job=None if message.job is None else job(message.job),
        failure=None if message.error is None else failure(message.error),
        freed_bytes=getattr(message, "freed_bytes", 0),
        attempts=0 if message.job is None else message.job.attempts,
    )


def detail(message: wire.JobDetail) -> Detail:
    return Detail(
        id=message.id or (str(message.job.id) if message.job is not None else ""),
        job=None if message.job is None else job(message.job),
        extra=None if message.job is None else extra(message.job),
        files=tuple(file(item) for item in message.files),
        peers=tuple(
            {
                "address": peer.address,
                "client": peer.client,
                "progress": part(peer.progress),
                "rate_down": peer.rate_down,
                "rate_up": peer.rate_up,
                "seeder": peer.seeder,
            }
            for peer in message.peers
        ),
        engine_raw=loose_json(message.engine_raw),
        failure=None if message.error is None else failure(message.error),
    )


def event(message: wire.Event) -> Event:
    return Event(
        seq=message.seq,
        ts=message.ts,
        type=message.type,
        job=message.job,
        node=message.node or None,
        user=message.user or None,
        data=loose_json(message.data),
    )


def hello(message: wire.HelloResponse) -> Hello:
    return Hello(
        server_version=message.server_version,
        api_major=message.api_major,
        api_minor=message.api_minor,
        features=tuple(message.features),
        user=message.user,
        role=message.role,
        auth=message.auth,
        node=message.node,
        epoch=message.epoch,
        now=message.now,
    )


def user(message: wire.User | None) -> User:
    message = message or wire.User()
    limits = message.limits or wire.UserLimits()
    return User(
        name=message.name,
        role=message.role,
        active=message.active,
        unix_user=message.unix_user or None,
        jobs_active=message.jobs_active,
        quota_bytes=limits.storage,
        last_seen_at=message.last_seen_at,
        unix_uid=message.unix_uid,
        email=message.email or None,
        has_password=message.has_password,
        limits=UserLimits(
            running=limits.running,
            jobs=limits.jobs,
            storage=limits.storage,
            served_per_day=limits.served_per_day,
            requests_per_minute=limits.requests_per_minute,
        ),
        created_at=message.created_at,
        id=message.id,
    )


def api_key(message: wire.ApiKey | None) -> ApiKey:
    message = message or wire.ApiKey()
    return ApiKey(
        id=message.id,
        name=message.name,
        user=message.user,
        scopes=tuple(message.scopes),
        created_at=message.created_at,
        expires_at=message.expires_at,
        last_used_at=message.last_used_at,
    )


def usage(message: wire.UsageResponse) -> Usage:
    limits = message.limits or wire.UserLimits()
    return Usage(
        user=message.user,
        running=message.running,
        jobs=message.jobs,
        stored=message.stored,
        served_today=message.served_today,
        day_ends_at=message.day_ends_at,
        requests=message.requests,
        limits=UserLimits(
            running=limits.running or None, jobs=limits.jobs or None, storage=limits.storage or None,
            served_per_day=limits.served_per_day or None, requests_per_minute=limits.requests_per_minute or None,
        ),
    )  # fmt: skip


def identity(message: wire.WhoAmIResponse) -> Identity:
    return Identity(
        user=user(message.user),
        auth=message.auth,
        uid=message.uid,
        scopes=tuple(message.scopes),
        credential=message.credential or None,
    )


def log_line(message: wire.LogsResponse) -> dict[str, Any]:
    known = {
        "ts": message.ts,
        "level": message.level,
        "event": message.event or None,
        "job": message.job,
        "node": message.node or None,
        "msg": message.msg,
    }
    return {**loose_json(message.fields), **known}


def engine(message: common.Engine) -> dict[str, Any]:
    return {
        "name": message.name,
        "version": message.version or None,
        "ok": message.ok,
        "capabilities": dict(message.capabilities),
        "message": message.message or None,
        "active": message.active,
        "limit": message.limit,
        "schemes": list(message.schemes),
        "options": [
            {
                "name": option.name,
                "type": option.type,
                "description": option.description,
                "choices": list(option.choices),
                "changes_content": option.changes_content,
                "secret": option.secret,
            }
            for option in message.options
        ],
    }


def node(message: common.Node) -> dict[str, Any]:
    names = ("name", "version", "ok", "active", "limit", "message")
    return {
        "id": message.id,
        "role": message.role,
        "state": message.state,
        "version": message.version or None,
        "address": message.address or None,
        "engines": [{name: engine(item)[name] for name in names} for item in message.engines],
        "disk_total": message.disk_total,
        "disk_free": message.disk_free,
        "reserve": message.reserve,
        "jobs_active": message.jobs_active,
        "rate_down": message.rate_down,
        "rate_up": message.rate_up,
        "heartbeat_age_s": figure(message.heartbeat_age_s),
        "labels": dict(message.labels),
        "storage_missing": message.storage_missing,
        "name": message.name or message.id,
        "draining": message.draining,
        "offline_since": message.offline_since,
        "cpu_load": figure(message.cpu_load),
        "set_labels": dict(message.set_labels),
        "limits": _limits(message.limits),
        "running_limit": message.running_limit,
    }


def _limits(message: common.NodeLimits | None) -> dict[str, Any]:
    """What an admin set; None where what holds is that of every node."""
    return {name: getattr(message, name, None) for name in ("running", "min_disk_free", "weight")}


def cache_entry(message: wire.CacheEntry) -> dict[str, Any]:
    return {
        "key": message.key,
        "jobs": list(message.jobs),
        "name": message.name,
        "engine": message.engine or None,
        "replicas": [{"node": item.node, "state": item.state} for item in message.replicas],
        "size": message.size,
        "hits": message.hits,
        "last_used_at": message.last_used_at,
        "pinned": message.pinned,
        "users": list(message.users),
        "generation": message.generation,
        "current": message.current,
        "created_at": message.created_at,
        "files": message.files,
        "private": message.private,
        "wished": message.wished or 1,
    }


def cache_replicas(message: wire.CacheEntry) -> list[dict[str, Any]]:
    """Every detail of where the bytes are; for one entry alone."""
    return [
        {
            "node": item.node, "state": item.state, "id": item.id, "size": item.size, "uri": item.uri or None,
            "reason": item.reason or None, "wanted": item.wanted,
        }
        for item in message.replicas
    ]


def setting(message: wire.Setting) -> dict[str, Any]:
    return {
        "key": message.key,
        "value": _whole(any_json(message.value)),
        "default": _whole(any_json(message.default)),
        "source": message.source,
        "type": message.type,
        "restart_required": message.restart_required,
        "description": message.description,
        "editable": message.editable,
    }


def _whole(value: Any) -> Any:
    """A setting's number means the same whether it was stored with a fraction of zero or not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def any_json(text: str) -> Any:
    """A JSON text's value; the text itself if it is none."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def loose_json(text: str) -> Mapping[str, Any]:
    """A JSON object, or an empty one."""
    found = any_json(text)
    return found if isinstance(found, dict) else {}
