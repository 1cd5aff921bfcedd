"""Plug-ins by their entry points: names without importing anything, then exactly those that are wanted.

A plug-in that cannot be imported, or is not what its entry point says, is reported; the daemon starts all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from oddaemon.ports.plugin import Plugin, Problem

log = logging.getLogger(__name__)

ENGINES = "opendebrid.engines"
STORAGE = "opendebrid.storage"
LOAD_BALANCERS = "opendebrid.load_balancers"
SUBSCRIBERS = "opendebrid.subscribers"
TRANSPORTS = "opendebrid.transports"

SECTIONS: Mapping[str, str] = {
    "engines": ENGINES,
    "subscribers": SUBSCRIBERS,
    "storage": STORAGE,
    "scheduler": LOAD_BALANCERS,
    "transport": TRANSPORTS,
}
"""Section of the settings → entry-point group of the plug-ins whose own sections lie below it."""

ON_BY_DEFAULT = frozenset(
    {(ENGINES, "aria2"), (ENGINES, "ytdlp"), (SUBSCRIBERS, "audit_log"), (SUBSCRIBERS, "metrics")}
)
"""Of the groups in which several may be on. The others are on when the settings name them."""


class PluginBroken(Exception):
    """It cannot be used; the message says why."""


class PluginTable:
    """Which plug-ins are installed."""

    def __init__(self, entries: Mapping[str, Mapping[str, EntryPoint]]) -> None:
        self._entries = entries

    @classmethod
    def installed(cls) -> PluginTable:
        """Reads the metadata of the installed distributions; imports none of them."""
        return cls({group: {entry.name: entry for entry in entry_points(group=group)} for group in SECTIONS.values()})

    def names(self, group: str) -> tuple[str, ...]:
        return tuple(sorted(self._entries.get(group, {})))

    def load(self, group: str, name: str) -> Plugin[Any]:
        """Imports it. Raises PluginBroken."""
        entry = self._entries.get(group, {}).get(name)
        if entry is None:
            known = ", ".join(self.names(group)) or "none"
            raise PluginBroken(f"there is no plug-in {name!r} in {group}; installed: {known}")
        try:
            plugin = entry.load()
        except (Exception, SystemExit) as error:  # it is somebody else's code
            raise PluginBroken(f"{entry.value} cannot be imported: {type(error).__name__}: {error}") from error
        if not isinstance(plugin, Plugin):
            raise PluginBroken(f"{entry.value} is not a Plugin but a {type(plugin).__name__}")
        if plugin.name != name:
            raise PluginBroken(f"{entry.value} calls itself {plugin.name!r}, its entry point {name!r}")
        return plugin


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """An enabled plug-in with its validated settings. `problems` are the findings of its self-check."""

    group: str
    name: str
    plugin: Plugin[Any]
    settings: Any
    problems: Sequence[Problem] = ()

    @property
    def usable(self) -> bool:
        return not any(problem.fatal for problem in self.problems)


def with_defaults(table: PluginTable, group: str, name: str) -> Configured:
    """A plug-in that was chosen while the daemon runs (`scheduler.adapter`), with its default settings. Raises
    PluginBroken."""
    plugin = table.load(group, name)
    return Configured(group=group, name=name, plugin=plugin, settings=plugin.settings_type())


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugins:
    """What can be built, and what cannot, with the reason."""

    ready: Sequence[Configured] = ()
    broken: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def of(self, group: str) -> Sequence[Configured]:
        """Those of a group that can be built, by name."""
        return [item for item in self.ready if item.group == group]

    def get(self, group: str, name: str) -> Configured | None:
        return next((item for item in self.ready if (item.group, item.name) == (group, name)), None)


def load_plugins(configured: Sequence[Configured], broken: Mapping[tuple[str, str], str] | None = None) -> Plugins:
    """Runs every plug-in's self-check. One with a fatal finding, or whose check raises, is broken; each finding is
    logged."""
    ready: list[Configured] = []
    failed = dict(broken or {})
    for item in configured:
        try:
            problems = tuple(item.plugin.check(item.settings))
        except Exception as error:  # noqa: BLE001 - it is somebody else's code
            problems = (Problem(message=f"its self-check failed: {type(error).__name__}: {error}"),)
        checked = Configured(
            group=item.group, name=item.name, plugin=item.plugin, settings=item.settings, problems=problems
        )
        if checked.usable:
            ready.append(checked)
        else:
            failed[item.group, item.name] = "; ".join(found.message for found in problems if found.fatal)
        for found in problems:
            log.warning(
                "plug-in has a problem",
                extra={"action": "plugin.problem", "plugin": item.name, "group": item.group, "fatal": found.fatal,
                       "problem": found.message, "hint": found.hint},
            )  # fmt: skip
    for (group, name), why in (broken or {}).items():
        log.error("plug-in left out", extra={"action": "plugin.broken", "plugin": name, "group": group, "reason": why})
    return Plugins(ready=ready, broken=failed)
