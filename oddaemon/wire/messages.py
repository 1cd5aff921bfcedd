"""Domain and views ↔ protobuf, both ways; pure functions. No control character leaves through here."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import fields

from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as control

from oddaemon.domain.cache import EntryFile
from oddaemon.domain.errors import InvalidArgument
from oddaemon.domain.events import Event
from oddaemon.domain.failure import Failure, Reason, Retry
from oddaemon.domain.files import display_path
from oddaemon.domain.job import Hold, JobState
from oddaemon.domain.link import LinkKind, LinkState
from oddaemon.domain.types import Bytes, JobNumber
from oddaemon.ports.engine import MediaFormat, OptionSpec, Peer
from oddaemon.ports.log_book import LogLine
from oddaemon.services.views import (
    AddOrder,
    CacheView,
    CleanupItem,
    CleanupResult,
    EngineView,
    FileView,
    JobView,
    LinkView,
    NodeView,
    ProbeView,
    SettingView,
    StatusView,
)
from oddaemon.wire.values import UINT32, clean, count, eta, stamp

_STATES = {
    JobState.QUEUED: common.JobState.QUEUED,
    JobState.ACTIVE: common.JobState.ACTIVE,
    JobState.COMPLETED: common.JobState.COMPLETED,
    JobState.FAILED: common.JobState.FAILED,
    JobState.CANCELLED: common.JobState.CANCELLED,
}
_HOLDS = {Hold.NONE: common.Hold.NONE, Hold.USER: common.Hold.USER, Hold.DISK: common.Hold.DISK}


def reason_message(reason: Reason | None) -> common.Reason | None:
    if reason is None:
        return None
    return common.Reason(code=str(reason.code), message=clean(reason.message), retry_at=stamp(reason.retry_at))


def failure_message(failure: Failure | None) -> common.JobError | None:
    if failure is None:
        return None
    return common.JobError(
        code=str(failure.code),
        message=clean(failure.message),
        hint=clean(failure.hint),
        retryable=failure.retry is not Retry.LASTING,
    )


def job_message(view: JobView) -> common.Job:
    job, live = view.job, view.live
    running = job.state is JobState.ACTIVE
    return common.Job(
        id=job.number,
        uuid=str(job.id),
        name=clean(job.name),
        source=clean(view.source),
        kind=str(job.kind),
        cache_key=clean(job.cache_key),
        cache_hit=job.cache_hit,
        state=_STATES[job.state],
        hold=_HOLDS[job.hold],
        reason=reason_message(job.reason),
        engine_state=clean(job.engine_state),
        engine=clean(job.engine),
        node=clean(job.node_id),
        user=clean(view.user),
        progress=view.progress,
        size=count(job.size),
        done=count(max(job.done, live.done)) or 0,
        rate_down=(count(live.rate_down) or 0) if running else 0,
        rate_up=count(live.rate_up) or 0,
        eta_s=eta(live.eta) if running else None,
        seeders=count(live.seeders, UINT32),
        peers=count(live.peers, UINT32),
        files_total=job.files_total,
        files_selected=job.files_selected,
        priority=job.priority,
        tags=[clean(tag) for tag in job.tags],
        position=view.position,
        error=failure_message(job.error),
        created_at=stamp(job.created_at),
        started_at=stamp(job.started_at),
        completed_at=stamp(job.completed_at),
        rev=job.rev,
        selection=clean(job.selection),
        options={clean(key): clean(value) for key, value in view.options.items()},
        hold_until=stamp(job.hold_until),
        max_rate_down=job.max_rate_down,
        max_rate_up=job.max_rate_up,
        attempts=job.attempts,
        placement=clean(view.placement),
        files_failed=view.files_failed,
        checksum=clean(job.checksum),
        node_labels={clean(key): clean(value) for key, value in job.node_labels.items()},
    )


JOB_FIELDS = tuple(field.name for field in fields(common.Job))


ALWAYS_TOLD = ("id", "state", "hold", "rev")


def job_fields(asked: Collection[str]) -> tuple[str, ...]:
    """Those and what is told of every job; none for none. Raises InvalidArgument."""
    for name in asked:
        if name not in JOB_FIELDS:
            raise InvalidArgument(
                f"a job has no field {clean(name)[:40]!r}", field="fields", hint="fields: " + ", ".join(JOB_FIELDS)
            )
    return tuple(name for name in JOB_FIELDS if name in asked or name in ALWAYS_TOLD) if asked else ()


def only(job: common.Job, names: Collection[str]) -> common.Job:
    return common.Job(**{name: getattr(job, name) for name in names})


def job_patch(before: common.Job, after: common.Job) -> control.JobPatch | None:
    """The fields that differ; None when none does. A patch names what became empty too."""
    changed = [name for name in JOB_FIELDS if getattr(before, name) != getattr(after, name)]
    if not changed:
        return None
    job = common.Job(**{name: getattr(after, name) for name in changed})
    return control.JobPatch(id=after.id, fields=changed, job=job)


def file_message(view: FileView) -> common.File:
    file = view.file
    return common.File(
        job=view.job,
        index=file.index,
        path=clean(file.path),
        size=count(file.size),
        done=count(view.done) or 0,
        progress=1.0 if file.ready else (min(view.done / file.size, 0.9999) if file.size else 0.0),
        selected=view.selected,
        content_type=clean(file.content_type),
        sha256=clean(file.sha256),
        ready=file.ready,
        error=clean(file.failed),
    )


def probed_file(file: EntryFile) -> common.File:
    return file_message(FileView(job=JobNumber(0), file=file, selected=True, done=Bytes(0)))


def add_order(item: control.AddItem) -> AddOrder:
    """One add as it came over the wire: checked by the service, not here."""
    return AddOrder(
        source=item.source,
        torrent=item.torrent or None,
        torrent_name=display_path(item.torrent_name) if item.torrent_name else "",
        engine=item.engine,
        node=item.node,
        node_labels=dict(item.node_labels),
        files=item.files,
        options=dict(item.options),
        name=item.name,
        tags=tuple(item.tags),
        priority=item.priority,
        paused=item.paused,
        force=item.force,
        checksum=item.checksum,
        max_rate_down=item.max_rate_down,
        max_rate_up=item.max_rate_up,
    )


def format_message(found: MediaFormat) -> control.Format:
    return control.Format(
        id=clean(found.id),
        extension=clean(found.extension),
        description=clean(found.description),
        size=count(found.size),
        video_codec=clean(found.video_codec),
        audio_codec=clean(found.audio_codec),
        width=count(found.width, UINT32),
        height=count(found.height, UINT32),
        bitrate_kbps=found.bitrate_kbps,
    )


def probe_message(view: ProbeView, *, most: int = 1000) -> control.ProbeResponse:
    """With the first files, at `most` so many."""
    return control.ProbeResponse(
        name=clean(view.name),
        engine=view.engine,
        size=view.size,
        files=[probed_file(file) for file in view.files[:most]],
        formats=[format_message(found) for found in view.formats],
        cache_key=clean(view.cache_key),
        cache_hit=view.cache_hit,
        would_run_on=clean(view.would_run_on),
        placement=clean(view.placement),
        files_total=len(view.files),
    )


def peer_message(peer: Peer) -> control.Peer:
    return control.Peer(
        address=clean(peer.address),
        client=clean(peer.client),
        progress=peer.progress,
        rate_down=count(peer.rate_down) or 0,
        rate_up=count(peer.rate_up) or 0,
        seeder=peer.seeder,
    )


def link_message(view: LinkView) -> control.Link:
    link = view.link
    return control.Link(
        job=view.job,
        index=link.file_index,
        path=clean(link.path),
        url=view.url,
        expires_at=stamp(link.expires_at),
        size=view.size,
        content_type=clean(view.content_type),
        node=link.node_id,
        id=str(link.id),
        kind=str(link.kind),
        access_count=link.access_count,
        bytes_served=link.bytes_served,
        revoked_at=stamp(link.revoked_at),
        created_at=stamp(link.created_at),
        max_uses=link.max_uses,
        uses_left=link.uses_left,
        address=link.address or "",
        state=str(view.state),
    )


def link_kind(text: str) -> LinkKind:
    """Raises ValueError."""
    return LinkKind(text) if text else LinkKind.FILE


def link_state(text: str) -> LinkState | None:
    """None: any. Raises ValueError."""
    return LinkState(text) if text else None


def cache_message(view: CacheView) -> control.CacheEntry:
    entry = view.entry
    return control.CacheEntry(
        key=clean(entry.key),
        jobs=list(view.jobs),
        name=clean(entry.name),
        engine=entry.engine,
        replicas=[
            control.CacheEntryReplica(
                node=replica.node_id,
                state=str(replica.state),
                id=str(replica.id),
                size=view.replica_sizes.get(str(replica.id), replica.done),
                reason=clean(replica.reason.message) if replica.reason is not None else "",
                wanted=replica.wanted,
            )
            for replica in view.replicas
        ],
        size=entry.total_size,
        hits=entry.hits,
        last_used_at=stamp(entry.last_used_at),
        pinned=entry.pinned,
        users=[clean(user) for user in view.users],
        generation=entry.generation,
        current=entry.current,
        created_at=stamp(entry.created_at),
        files=view.files,
        private=entry.owner is not None,
        wished=entry.replicas,
    )


def cleanup_message(result: CleanupResult, errors: Mapping[int, common.Error]) -> control.CleanupResponse:
    def item(number: int, found: CleanupItem) -> control.CleanupItem:
        return control.CleanupItem(entry=cache_message(found.view), freed_bytes=found.freed, error=errors.get(number))

    return control.CleanupResponse(
        items=[item(number, found) for number, found in enumerate(result.items)],
        freed_bytes=result.freed,
        applied=result.applied,
    )


def setting_message(view: SettingView) -> control.Setting:
    return control.Setting(
        key=view.key,
        value=json.dumps(view.value, default=str),
        default=json.dumps(view.default, default=str),
        source=view.source,
        type=view.type,
        restart_required=view.restart_required,
        description=view.description,
        editable=view.editable,
    )


def option_message(spec: OptionSpec) -> common.EngineOption:
    return common.EngineOption(
        name=spec.name,
        type=spec.kind,
        description=spec.description,
        choices=list(spec.choices),
        changes_content=spec.changes_bytes,
        secret=spec.secret,
    )


def engine_message(view: EngineView) -> common.Engine:
    health = view.health
    return common.Engine(
        name=health.name,
        version=clean(health.version),
        ok=health.ok,
        active=view.active,
        limit=health.max_concurrent,
        message=clean(health.message),
        capabilities=dict(health.capabilities),
        schemes=list(health.schemes),
        options=[option_message(spec) for spec in view.options],
    )


def node_message(view: NodeView) -> common.Node:
    node = view.node
    state = "offline" if not node.online else "draining" if node.draining else "online"
    return common.Node(
        id=node.id,
        role="controller" if node.is_controller else "worker",
        state=state,
        version=clean(view.version),
        address=node.file_endpoint or "",
        engines=[engine_message(engine) for engine in view.engines],
        disk_total=node.disk.total,
        disk_free=node.disk.free,
        reserve=view.reserve,
        jobs_active=view.jobs_active,
        rate_down=view.rate_down,
        rate_up=view.rate_up,
        heartbeat_age_s=view.heartbeat_age,
        labels=dict(node.all_labels),
        name=clean(node.name),
        offline_since=node.offline_since,
        cpu_load=node.load,
        set_labels=dict(node.set_labels),
        limits=common.NodeLimits(
            running=node.limits.running, min_disk_free=node.limits.min_disk_free, weight=node.limits.weight
        ),
        running_limit=view.running_limit,
        draining=node.draining,
        storage_missing=not node.disk.present,
    )


def status_message(view: StatusView) -> control.GetStatusResponse:
    return control.GetStatusResponse(
        uptime_s=view.uptime,
        jobs=dict(view.jobs),
        rate_down=view.rate_down,
        rate_up=view.rate_up,
        nodes=[node_message(node) for node in view.nodes],
        warnings=[  # the generated annotation is read as the builtin of that name
            control.Warning(code=notice.code, message=clean(notice.message), hint=notice.hint)  # type: ignore[misc]
            for notice in view.notices
        ],
    )


def event_message(event: Event, user: str) -> control.Event:
    return control.Event(
        seq=event.seq,
        ts=stamp(event.at),
        type=event.type,
        job=event.job_number,
        node=event.node_id or "",
        user=clean(user),
        data=json.dumps(dict(event.data), default=str) if event.data else "",
    )


def log_message(line: LogLine) -> control.LogsResponse:
    return control.LogsResponse(
        ts=stamp(line.at),
        level=line.level,
        event=clean(str(line.fields.get("action", ""))),
        job=line.job,
        msg=clean(line.message),
        fields=json.dumps(dict(line.fields), default=str) if line.fields else "",
    )
