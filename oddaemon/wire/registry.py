"""What a node tells its controller ↔ protobuf. The readers raise InvalidArgument: nothing of it is trusted."""

from __future__ import annotations

import math

from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.registry import v1 as pb

from oddaemon.domain.types import Fraction
from oddaemon.ports.engine import OptionSpec
from oddaemon.ports.node_registry import AnnouncedEngine, Announcement, Heartbeat
from oddaemon.wire import node_messages as node
from oddaemon.wire import node_values as v
from oddaemon.wire.values import UINT32, clean, count

MAX_REPLICAS = 500_000
MAX_CHOICES = 500
OPTION_KINDS = frozenset({"bool", "int", "size", "duration", "text", "enum"})


def announcement_message(told: Announcement) -> pb.RegisterRequest:
    return pb.RegisterRequest(
        instance=told.instance, name=v.storable(told.name), file_endpoint=told.file_endpoint,
        disk=node.disk_message(told.disk), engines=[_engine_message(engine) for engine in told.engines],
        replica_ids=node.replicas_message(told.replicas), labels=dict(told.labels), software=told.software,
    )  # fmt: skip


def announcement_from(message: pb.RegisterRequest) -> Announcement:
    engines = tuple(_engine_from(engine) for engine in v.at_most(message.engines, node.MAX_ENGINES, "engines"))
    if len({engine.name for engine in engines}) != len(engines):
        raise v.refuse("engines", "names one twice")
    replicas = v.at_most(message.replica_ids, MAX_REPLICAS, "replica_ids")
    return Announcement(
        instance=v.text(message.instance, "instance"),
        name=clean(v.text(message.name, "name")),
        software=clean(v.text(message.software, "software")),
        disk=node.disk_from(message.disk),
        engines=engines,
        # each once, in their order
        replicas=tuple(dict.fromkeys(map(v.replica_id, replicas))),
        file_endpoint=v.endpoint(message.file_endpoint),
        labels=node.labels_from(message.labels),
    )


def _engine_message(engine: AnnouncedEngine) -> pb.Engine:
    return pb.Engine(
        health=node.health_message(engine.health), mime_types=list(engine.mime_types),
        options=[_option_message(option) for option in engine.options], problem=v.storable(engine.problem),
    )  # fmt: skip


def _engine_from(message: pb.Engine) -> AnnouncedEngine:
    options = v.at_most(message.options, node.MAX_OPTIONS, "options")
    mime_types = v.at_most(message.mime_types, node.MAX_ABILITIES, "mime_types")
    return AnnouncedEngine(
        health=node.health_from(message.health),
        mime_types=tuple(v.text(kind, "mime_type") for kind in mime_types),
        options=tuple(_option_from(option) for option in options),
        problem=v.said(message.problem),
    )


def _option_message(option: OptionSpec) -> common.EngineOption:
    return common.EngineOption(
        name=option.name, type=option.kind, description=option.description, choices=list(option.choices),
        changes_content=option.changes_bytes, secret=option.secret,
    )  # fmt: skip


def _option_from(message: common.EngineOption) -> OptionSpec:
    if message.type not in OPTION_KINDS:
        raise v.refuse("type", "is no kind of option")
    choices = v.at_most(message.choices, MAX_CHOICES, "choices")
    return OptionSpec(
        name=v.text(message.name, "option"),
        kind=message.type,
        description=v.said(message.description),
        choices=tuple(v.text(choice, "choice") for choice in choices),
        changes_bytes=message.changes_content,
        secret=message.secret,
    )


def heartbeat_message(told: Heartbeat) -> pb.HeartbeatRequest:
    return pb.HeartbeatRequest(
        disk=node.disk_message(told.disk), engines=[node.health_message(health) for health in told.engines],
        rate_down=count(told.rate_down, v.MAX_RATE) or 0, rate_up=count(told.rate_up, v.MAX_RATE) or 0,
        running=count(told.running, UINT32) or 0,
        cpu_load=told.load if told.load is not None and math.isfinite(told.load) else None,
    )  # fmt: skip


def heartbeat_from(message: pb.HeartbeatRequest) -> Heartbeat:
    if message.cpu_load is not None and not 0 <= message.cpu_load <= 10_000:
        raise v.refuse("load", "is no share of the cores")
    return Heartbeat(
        disk=node.disk_from(message.disk),
        engines=node.healths_from(message.engines),
        rate_down=v.rate(message.rate_down, "rate_down"),
        rate_up=v.rate(message.rate_up, "rate_up"),
        running=message.running,
        load=None if message.cpu_load is None else Fraction(message.cpu_load),
    )
