"""What a controller and a node say to each other ↔ protobuf. Whatever is read is out of bounds until shown otherwise:
the readers raise InvalidArgument, for requests and for answers alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Set

from odproto.gen.opendebrid.node import v1 as pb

from oddaemon.domain.cache import CacheKey, EntryFile, KeyKind
from oddaemon.domain.node import DiskUsage, EngineHealth, NodeSnapshot
from oddaemon.domain.source import MAX_MAGNET, Source, SourceKind
from oddaemon.domain.torrent import MAX_FILES, MAX_TORRENT_SIZE
from oddaemon.domain.torrent import MAX_TRACKERS as MAX_TRACKERS_OF_TORRENT
from oddaemon.domain.types import Bytes, BytesPerSecond, EngineName, NodeId, ReplicaId
from oddaemon.ports.engine import (
    FillFile,
    FillState,
    FillStatus,
    KeyResolution,
    MediaFormat,
    Peer,
    ProbeResult,
    Sniffed,
)
from oddaemon.ports.node_client import Dispatch
from oddaemon.ports.storage import StoredFile
from oddaemon.wire import node_values as v
from oddaemon.wire.node_errors import failure_from, failure_message
from oddaemon.wire.values import UINT32, clean, count, eta

MAX_ENGINES = 64
MAX_LABELS = 100
MAX_ABILITIES = 200
MAX_OPTIONS = 200
MAX_PEERS = 10_000
MAX_FORMATS = 10_000
MAX_RAW = 1000
_INFO_HASH = re.compile(r"[0-9a-f]{40}")
_RAW = str | int | float | bool


def disk_message(disk: DiskUsage) -> pb.Disk:
    return pb.Disk(total=disk.total, free=disk.free, present=disk.present)


def disk_from(message: pb.Disk | None) -> DiskUsage:
    if message is None:
        raise v.refuse("disk", "is missing")
    total, free = v.size(message.total, "total"), v.size(message.free, "free")
    if free > total:
        raise v.refuse("free", "is more than the disk has")
    return DiskUsage(total=total, free=free, present=message.present)


def health_message(health: EngineHealth) -> pb.EngineHealth:
    return pb.EngineHealth(
        name=health.name, ok=health.ok, version=v.maybe_storable(health.version), message=v.storable(health.message),
        max_concurrent=count(health.max_concurrent, UINT32) or 0, capabilities=dict(health.capabilities),
        schemes=list(health.schemes),
    )  # fmt: skip


def health_from(message: pb.EngineHealth | None) -> EngineHealth:
    if message is None:
        raise v.refuse("engine", "is missing")
    v.at_most(message.capabilities, MAX_ABILITIES, "capabilities")
    v.at_most(message.schemes, MAX_ABILITIES, "schemes")
    return EngineHealth(
        name=v.engine_name(message.name),
        ok=message.ok,
        version=None if message.version is None else clean(v.text(message.version, "version")),
        message=v.said(message.message),
        max_concurrent=message.max_concurrent,
        capabilities={v.text(name, "capability"): bool(can) for name, can in message.capabilities.items()},
        schemes=tuple(v.text(scheme, "scheme") for scheme in message.schemes),
    )


def healths_from(messages: Sequence[pb.EngineHealth]) -> tuple[EngineHealth, ...]:
    found = tuple(health_from(message) for message in v.at_most(messages, MAX_ENGINES, "engines"))
    if len({health.name for health in found}) != len(found):
        raise v.refuse("engines", "names one twice")
    return found


def labels_from(labels: Mapping[str, str]) -> dict[str, str]:
    return v.texts(labels, "labels", most=MAX_LABELS, longest=v.MAX_NAME)


def snapshot_message(snapshot: NodeSnapshot) -> pb.SnapshotResponse:
    """Without what is the controller's to say: the id, whether it is online, draining, a worker, low on disk."""
    return pb.SnapshotResponse(
        name=v.storable(snapshot.name),
        disk=disk_message(snapshot.disk),
        engines=[health_message(health) for health in snapshot.engines],
        file_endpoint=snapshot.file_endpoint,
        labels=dict(snapshot.labels),
    )


def snapshot_from(message: pb.SnapshotResponse, node_id: NodeId) -> NodeSnapshot:
    """Of a worker that answers."""
    return NodeSnapshot(
        id=node_id, is_controller=False, online=True,
        name=clean(v.text(message.name, "name")),
        disk=disk_from(message.disk),
        engines=healths_from(message.engines),
        file_endpoint=v.endpoint(message.file_endpoint),
        labels=labels_from(message.labels),
    )  # fmt: skip


def source_message(source: Source) -> pb.Source:
    return pb.Source(
        kind=v.to_enum(pb.SourceKind, source.kind), uri=source.uri, shown=source.shown, info_hash=source.info_hash,
        name=v.maybe_storable(source.name), trackers=list(source.trackers), username=source.username,
        password=source.password, normalised=source.normalised, scheme=source.scheme,
    )  # fmt: skip


def source_from(message: pb.Source | None) -> Source:
    if message is None:
        raise v.refuse("source", "is missing")
    trackers = v.at_most(message.trackers, MAX_TRACKERS_OF_TORRENT, "trackers")
    if message.info_hash is not None and not _INFO_HASH.fullmatch(message.info_hash):
        raise v.refuse("info_hash", "has not 40 lower-case hexadecimal digits")
    return Source(
        kind=v.from_enum(SourceKind, message.kind, "kind"),
        uri=v.text(message.uri, "uri", v.MAX_TEXT),
        shown=v.text(message.shown, "shown", v.MAX_TEXT),
        info_hash=message.info_hash,
        name=v.maybe_text(message.name, "name"),
        trackers=tuple(v.text(tracker, "trackers", MAX_MAGNET) for tracker in trackers),
        username=v.maybe_text(message.username, "username", MAX_MAGNET),
        password=v.maybe_text(message.password, "password", MAX_MAGNET),
        normalised=v.maybe_text(message.normalised, "normalised", MAX_MAGNET),
        scheme=v.text(message.scheme, "scheme"),
    )


def options_from(options: Mapping[str, str]) -> dict[str, str]:
    return v.texts(options, "options", most=MAX_OPTIONS, longest=v.MAX_TEXT)


def torrent_from(data: bytes | None) -> bytes | None:
    if data is not None and len(data) > MAX_TORRENT_SIZE:
        raise v.refuse("torrent", f"has more than {MAX_TORRENT_SIZE} bytes")
    return data


def selection_message(selection: Set[int] | None) -> pb.Selection | None:
    return None if selection is None else pb.Selection(indices=sorted(selection))


def selection_from(message: pb.Selection | None) -> frozenset[int] | None:
    if message is None:
        return None
    return frozenset(map(v.index, v.at_most(message.indices, MAX_FILES, "selection")))


def dispatch_message(order: Dispatch) -> pb.DispatchRequest:
    return pb.DispatchRequest(
        replica_id=order.replica_id.bytes, engine=order.engine, source=source_message(order.source),
        options=dict(order.options), torrent=order.torrent, selection=selection_message(order.selection),
        not_a_page=not order.may_be_page, max_rate_down=count(order.max_rate_down, v.MAX_RATE),
        max_rate_up=count(order.max_rate_up, v.MAX_RATE), handle=order.handle, afresh=order.afresh,
        keep=[v.path_bytes(path) for path in sorted(order.keep)],
        recheck=order.recheck,
    )  # fmt: skip


def dispatch_from(message: pb.DispatchRequest) -> Dispatch:
    return Dispatch(
        replica_id=v.replica_id(message.replica_id),
        engine=v.engine_name(message.engine),
        source=source_from(message.source),
        options=options_from(message.options),
        torrent=torrent_from(message.torrent),
        selection=selection_from(message.selection),
        may_be_page=not message.not_a_page,
        max_rate_down=v.maybe_rate(message.max_rate_down, "max_rate_down"),
        max_rate_up=v.maybe_rate(message.max_rate_up, "max_rate_up"),
        handle=None if message.handle is None else v.handle(message.handle),
        afresh=message.afresh,
        keep=frozenset(v.safe_path(path) for path in v.at_most(message.keep, MAX_FILES, "keep")),
        recheck=message.recheck,
    )


def status_message(status: FillStatus) -> pb.FillStatus:
    return pb.FillStatus(
        replica_id=status.replica_id.bytes, state=v.to_enum(pb.FillState, status.state),
        engine_state=v.maybe_storable(status.engine_state), name=v.maybe_storable(status.name),
        total=count(status.total, v.MAX_SIZE), done=count(status.done, v.MAX_SIZE) or 0,
        rate_down=count(status.rate_down, v.MAX_RATE) or 0, rate_up=count(status.rate_up, v.MAX_RATE) or 0,
        eta_s=v.known_duration(status.eta), seeders=count(status.seeders, UINT32), peers=count(status.peers, UINT32),
        files_rev=count(status.files_rev) or 0,
        failure=None if status.failure is None else failure_message(status.failure),
        private=status.private, info_hash=status.info_hash,
    )  # fmt: skip


def status_from(message: pb.FillStatus) -> FillStatus:
    if message.info_hash is not None and not _INFO_HASH.fullmatch(message.info_hash):
        raise v.refuse("info_hash", "has not 40 lower-case hexadecimal digits")
    state = v.from_enum(FillState, message.state, "state")
    if (state is FillState.FAILED) != (message.failure is not None):
        raise v.refuse("failure", "goes with FAILED, and only with it")
    return FillStatus(
        replica_id=v.replica_id(message.replica_id),
        state=state,
        engine_state=v.maybe_text(message.engine_state, "engine_state"),
        name=v.maybe_text(message.name, "name"),
        total=v.maybe_size(message.total, "total"),
        done=v.size(message.done, "done"),
        rate_down=v.rate(message.rate_down, "rate_down"),
        rate_up=v.rate(message.rate_up, "rate_up"),
        eta=v.seconds(message.eta_s, "eta_s"),
        seeders=message.seeders,
        peers=message.peers,
        files_rev=message.files_rev,
        failure=None if message.failure is None else failure_from(message.failure),
        private=message.private,
        info_hash=message.info_hash,
    )


def file_message(file: FillFile) -> pb.FillFile:
    return pb.FillFile(
        index=file.index, path=v.origin_path_bytes(file.path), disk_path=v.path_bytes(file.disk_path),
        size=count(file.size, v.MAX_SIZE), done=count(file.done, v.MAX_SIZE) or 0, finished=file.finished,
        selected=file.selected, failed=v.maybe_storable(file.failed), content_type=v.maybe_storable(file.content_type),
    )  # fmt: skip


def file_from(message: pb.FillFile, *, probed: bool = False) -> FillFile:
    """`probed`: of a source that was only looked at, where nothing lies on a disk and there need be no path."""
    disk_path = "" if probed and not message.disk_path else v.safe_path(message.disk_path)
    return FillFile(
        index=v.index(message.index),
        path=v.origin_path(message.path),
        disk_path=disk_path,
        size=v.maybe_size(message.size),
        done=v.size(message.done, "done"),
        finished=message.finished,
        selected=message.selected,
        failed=None if message.failed is None else v.said(message.failed),
        content_type=v.maybe_text(message.content_type, "content_type"),
    )


def file_to_verify_message(file: EntryFile) -> pb.FileToVerify:
    return pb.FileToVerify(index=file.index, disk_path=v.path_bytes(file.disk_path), ready=file.ready)


def file_to_verify_from(message: pb.FileToVerify) -> EntryFile:
    path = v.safe_path(message.disk_path)
    return EntryFile(index=v.index(message.index), path=path, disk_path=path, ready=message.ready)


def verified_message(found: Mapping[int, Bytes | None]) -> pb.VerifyResponse:
    return pb.VerifyResponse(files=[pb.VerifiedFile(index=index, size=size) for index, size in found.items()])


def verified_from(message: pb.VerifyResponse, asked: Set[int]) -> dict[int, Bytes | None]:
    """For each index that was asked for, and no other. Raises InvalidArgument."""
    found = {file.index: v.maybe_size(file.size) for file in message.files}
    if found.keys() != asked or len(message.files) != len(asked):
        raise v.refuse("files", "are not those that were asked for")
    return found


def stated_message(found: Sequence[StoredFile | None]) -> pb.StatResponse:
    return pb.StatResponse(
        files=[
            pb.StatedFile()
            if file is None
            else pb.StatedFile(there=True, size=file.size, modified_ns=max(file.modified_ns, 0))
            for file in found
        ]
    )


def stated_from(message: pb.StatResponse, paths: Sequence[str]) -> list[StoredFile | None]:
    if len(message.files) != len(paths):
        raise v.refuse("files", "are not those that were asked for")
    return [
        StoredFile(path=path, size=v.size(file.size), modified_ns=v.modified_ns(file.modified_ns))
        if file.there
        else None
        for path, file in zip(paths, message.files, strict=True)
    ]


def replicas_message(replicas: Iterable[ReplicaId]) -> list[bytes]:
    return [replica_id.bytes for replica_id in replicas]


def key_message(key: CacheKey | None) -> pb.CacheKey | None:
    """Without an owner: nodes know no users."""
    if key is None:
        return None
    return pb.CacheKey(engine=key.engine, kind=v.to_enum(pb.KeyKind, key.kind), value=v.storable(key.value))


def key_from(message: pb.CacheKey | None, engine: EngineName) -> CacheKey | None:
    """A key of that engine. Raises InvalidArgument for another's: it would name content that is not its own."""
    if message is None:
        return None
    if message.engine != engine:
        raise v.refuse("key", f"is not of {engine}")
    value = v.text(message.value, "key")
    # `:@` begins a key's owner (domain.cache.parse_key)
    if not value or ":@" in value or clean(value) != value:
        raise v.refuse("key", "is not one")
    return CacheKey(engine=engine, kind=v.from_enum(KeyKind, message.kind, "kind"), value=value)


def resolution_message(found: KeyResolution | None) -> pb.ResolveCacheKeyResponse:
    if found is None:
        return pb.ResolveCacheKeyResponse()
    return pb.ResolveCacheKeyResponse(
        key=key_message(found.key), name=v.maybe_storable(found.name), size=count(found.size, v.MAX_SIZE)
    )


def resolution_from(message: pb.ResolveCacheKeyResponse, engine: EngineName) -> KeyResolution | None:
    key = key_from(message.key, engine)
    if key is None:
        return None
    return KeyResolution(
        key=key, name=v.maybe_text(message.name, "name"), size=v.maybe_size(message.size)
    )  # fmt: skip


def sniffed_message(found: Sniffed | None) -> pb.SniffResponse:
    if found is None:
        return pb.SniffResponse()
    return pb.SniffResponse(
        asked=True, content_type=v.maybe_storable(found.content_type), size=count(found.size, v.MAX_SIZE)
    )


def sniffed_from(message: pb.SniffResponse) -> Sniffed | None:
    if not message.asked:
        return None
    return Sniffed(
        content_type=v.maybe_text(message.content_type, "content_type"), size=v.maybe_size(message.size)
    )


def probe_message(found: ProbeResult) -> pb.ProbeResponse:
    return pb.ProbeResponse(
        name=v.maybe_storable(found.name), size=count(found.size, v.MAX_SIZE),
        files=[file_message(file) for file in found.files],
        formats=[_format_message(kind) for kind in found.formats], key=key_message(found.key),
    )  # fmt: skip


def probe_from(message: pb.ProbeResponse, engine: EngineName) -> ProbeResult:
    return ProbeResult(
        name=v.maybe_text(message.name, "name"),
        size=v.maybe_size(message.size),
        files=tuple(file_from(file, probed=True) for file in v.at_most(message.files, MAX_FILES, "files")),
        formats=tuple(_format_from(kind) for kind in v.at_most(message.formats, MAX_FORMATS, "formats")),
        key=key_from(message.key, engine),
    )


def _format_message(found: MediaFormat) -> pb.MediaFormat:
    return pb.MediaFormat(
        id=v.storable(found.id), extension=v.storable(found.extension), description=v.storable(found.description),
        size=count(found.size, v.MAX_SIZE), video_codec=v.maybe_storable(found.video_codec),
        audio_codec=v.maybe_storable(found.audio_codec), width=count(found.width, UINT32),
        height=count(found.height, UINT32), bitrate_kbps=eta(found.bitrate_kbps),
    )  # fmt: skip


def _format_from(message: pb.MediaFormat) -> MediaFormat:
    return MediaFormat(
        id=v.text(message.id, "id"),
        extension=v.text(message.extension, "extension"),
        description=v.text(message.description, "description"),
        size=v.maybe_size(message.size),
        video_codec=v.maybe_text(message.video_codec, "video_codec"),
        audio_codec=v.maybe_text(message.audio_codec, "audio_codec"),
        width=message.width,
        height=message.height,
        bitrate_kbps=message.bitrate_kbps,
    )


def peer_message(peer: Peer) -> pb.Peer:
    progress = peer.progress if math.isfinite(peer.progress) else 0.0
    return pb.Peer(
        address=v.storable(peer.address), client=v.maybe_storable(peer.client), progress=min(max(progress, 0.0), 1.0),
        rate_down=count(peer.rate_down, v.MAX_RATE) or 0, rate_up=count(peer.rate_up, v.MAX_RATE) or 0,
        seeder=peer.seeder,
    )  # fmt: skip


def peers_message(peers: Sequence[Peer]) -> pb.PeersResponse:
    return pb.PeersResponse(peers=[peer_message(peer) for peer in peers[:MAX_PEERS]])


def peers_from(messages: Sequence[pb.Peer]) -> tuple[Peer, ...]:
    return tuple(_peer_from(message) for message in v.at_most(messages, MAX_PEERS, "peers"))


def _peer_from(message: pb.Peer) -> Peer:
    if not 0 <= message.progress <= 1:
        raise v.refuse("progress", "is not from 0 to 1")
    return Peer(
        address=v.text(message.address, "address"),
        client=v.maybe_text(message.client, "client"),
        progress=message.progress,
        rate_down=v.rate(message.rate_down, "rate_down"),
        rate_up=v.rate(message.rate_up, "rate_up"),
        seeder=message.seeder,
    )


def raw_message(values: Mapping[str, _RAW]) -> pb.RawStatusResponse:
    told = list(values.items())[:MAX_RAW]
    return pb.RawStatusResponse(values={v.storable(name): _raw_value(value) for name, value in told})


def _raw_value(value: _RAW) -> pb.RawValue:
    if isinstance(value, bool):
        return pb.RawValue(truth=value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return pb.RawValue(whole=value)
    if isinstance(value, float) and math.isfinite(value):
        return pb.RawValue(real=value)
    return pb.RawValue(text=v.storable(str(value)))


def raw_from(message: pb.RawStatusResponse) -> dict[str, _RAW]:
    found: dict[str, _RAW] = {}
    for name, value in v.at_most(message.values, MAX_RAW, "values").items():
        told = [one for one in (value.text, value.whole, value.real, value.truth) if one is not None]
        if len(told) != 1:
            raise v.refuse("values", "holds one without a value")
        found[v.text(name, "name")] = v.said(told[0]) if isinstance(told[0], str) else told[0]
    return found


def limit_message(
    engine: EngineName, replica_id: ReplicaId, down: BytesPerSecond | None, up: BytesPerSecond | None
) -> pb.LimitRequest:
    """A limit that no line reaches is as good as another."""
    return pb.LimitRequest(
        engine=engine, replica_id=replica_id.bytes, down=count(down, v.MAX_RATE), up=count(up, v.MAX_RATE)
    )


def maybe_limits(message: pb.LimitRequest) -> tuple[BytesPerSecond | None, BytesPerSecond | None]:
    """Down, up."""
    return v.maybe_rate(message.down, "down"), v.maybe_rate(message.up, "up")
