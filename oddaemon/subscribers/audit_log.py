"""One structured line per state change: who did what to which job, when."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from oddaemon.domain.events import EVENT_TYPES, Event, facts
from oddaemon.ports.event_bus import Subscriber
from oddaemon.ports.plugin import Parts, Plugin, Problem

log = logging.getLogger(__name__)

_TYPES = frozenset(name for name, cls in EVENT_TYPES.items() if cls.durable)


class AuditLog(Subscriber):
    @property
    def name(self) -> str:
        return "audit_log"

    @property
    def event_types(self) -> Collection[str]:
        return _TYPES

    async def handle(self, event: Event) -> None:
        log.info(event.type.replace(".", " "), extra=facts(event))


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLogSettings:
    """It has none."""


def check(settings: AuditLogSettings) -> Sequence[Problem]:
    return []


def build(settings: AuditLogSettings, parts: Parts) -> Subscriber:
    return AuditLog()


PLUGIN: Plugin[Subscriber] = Plugin(name="audit_log", settings_type=AuditLogSettings, check=check, build=build)
