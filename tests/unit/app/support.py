"""Plug-ins for tests of the settings, without installing anything."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

from oddaemon.app.plugins import ENGINES, LOAD_BALANCERS, STORAGE, SUBSCRIBERS, TRANSPORTS, PluginTable
from oddaemon.domain.types import Bytes, Seconds
from oddaemon.ports.plugin import Plugin, Problem

MODULE = "opendebrid_test_plugins"


@dataclass(frozen=True, slots=True, kw_only=True)
class FastSettings:
    max_concurrent: int = 5
    """How many at once."""
    buffer: Bytes = Bytes(1024)
    patience: Seconds | None = None
    """Seconds of silence."""
    mirrors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_concurrent < 1:
            raise ValueError("max_concurrent is at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSettings:
    pass


def checked(settings: Any) -> Sequence[Problem]:
    return (Problem(message="needs a program", fatal=settings.max_concurrent == 13),)


def raising(_: Any) -> Sequence[Problem]:
    raise RuntimeError("boom")


def make(name: str, settings: type[Any] = NoSettings, check: Any = lambda _: ()) -> Plugin[Any]:
    return Plugin(name=name, settings_type=settings, check=check, build=lambda settings, parts: (settings, parts))


def table() -> PluginTable:
    module = types.ModuleType(MODULE)
    parts = {
        "aria2": make("aria2", FastSettings, checked),
        "odd": make("odd", FastSettings),
        "raising": make("raising", NoSettings, raising),
        "local": make("local"),
        "round_robin": make("round-robin"),
        "audit": make("audit_log"),
        "liar": make("somebody-else"),
        "thing": object(),
    }
    vars(module).update(parts)
    sys.modules[MODULE] = module

    def entries(group: str, names: dict[str, str]) -> dict[str, EntryPoint]:
        return {name: EntryPoint(name, f"{MODULE}:{attr}", group) for name, attr in names.items()}

    return PluginTable(
        {
            ENGINES: {
                **entries(ENGINES, {"aria2": "aria2", "odd": "odd", "raising": "raising", "liar": "liar"}),
                "ytdlp": EntryPoint("ytdlp", "opendebrid_no_such_module:PLUGIN", ENGINES),
                "thing": EntryPoint("thing", f"{MODULE}:thing", ENGINES),
            },
            STORAGE: entries(STORAGE, {"local": "local"}),
            LOAD_BALANCERS: entries(LOAD_BALANCERS, {"round-robin": "round_robin"}),
            SUBSCRIBERS: entries(SUBSCRIBERS, {"audit_log": "audit"}),
            TRANSPORTS: {"grpc": EntryPoint("grpc", "oddaemon.transports.grpc:PLUGIN", TRANSPORTS)},
        }
    )
