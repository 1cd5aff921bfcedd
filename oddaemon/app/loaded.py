"""The settings as they were loaded, and how two loads differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

from oddaemon.app.given import Given, Origin, validated
from oddaemon.app.plugins import LOAD_BALANCERS, SECTIONS, Configured
from oddaemon.app.setting_keys import Key, json_value
from oddaemon.app.settings import Settings

_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Valid settings, and where each came from."""

    settings: Settings
    keys: Mapping[str, Key]
    given: Mapping[str, Given]
    plugins: Sequence[Configured] = ()
    """Enabled plug-ins with their own settings; their self-checks have not run yet (`plugins.load_plugins`)."""
    broken: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Enabled plug-ins that could not be imported, and why."""
    enabled: Mapping[str, bool] = field(default_factory=dict)
    """`engines.<name>.enabled` and the like, for every plug-in that is installed."""
    installed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Entry-point group → names that a setting may choose from."""
    config_file: Path | None = None
    again: Callable[[], Loaded] = field(repr=False)
    """Reads everything anew, with the same flags and from the same file (reload). Raises BadSettings."""

    def value(self, path: str) -> Any:
        """The effective value of a key, validated. Secrets are SecretStr."""
        if path in self.enabled:
            return self.enabled[path]
        found: Any = self.settings
        for part in path.split("."):
            found = getattr(found, part, _ABSENT) if isinstance(found, BaseModel) else _ABSENT
        if found is not _ABSENT:
            return found
        section, _, name = path.rpartition(".")
        for item in self.plugins:
            if section == f"{_section_of(item.group)}.{item.name}":
                return getattr(item.settings, name)
        raise KeyError(path)

    def shown(self, path: str) -> Any:
        """As `value`, for people and JSON: secrets masked."""
        return json_value(self.value(path), secret=self.keys[path].secret)

    def origin(self, path: str) -> Origin:
        return self.given[path].origin if path in self.given else Origin.DEFAULT

    def place(self, path: str) -> str:
        """File and line, variable, flag; empty for a default."""
        return self.given[path].place if path in self.given else ""

    def secrets(self) -> list[str]:
        """Every secret value, for the log's mask; of the database's URL also the password alone, as drivers say it."""
        held = [self.value(path) for path, key in self.keys.items() if key.secret]
        found = [item.get_secret_value() for item in held if isinstance(item, SecretStr)]
        password = urlsplit(self.settings.database.url.get_secret_value()).password or ""
        return [text for text in (*found, password, unquote(password)) if text]

    def with_stored(self, stored: Mapping[str, Any]) -> Loaded:
        """With what the store holds, where nothing stronger says otherwise. A stored value that is not valid any more
        is left out: it must never keep the daemon from starting."""
        usable = {
            path: Given(value=value, origin=Origin.STORED, place="store")
            for path, value in stored.items()
            if path in self.keys
            and self.keys[path].live
            and self.origin(path) in (Origin.DEFAULT, Origin.STORED)
            and (path != "scheduler.adapter" or value in self.installed.get(LOAD_BALANCERS, ()))
        }
        kept = {path: item for path, item in self.given.items() if item.origin is not Origin.STORED}
        while True:
            settings, mistakes = validated({**usable, **kept})
            if settings is not None:
                return dataclasses.replace(self, settings=settings, given={**usable, **kept})
            wrong = {path for path in usable if any(path in mistake.message for mistake in mistakes)}
            usable = {path: item for path, item in usable.items() if path not in wrong} if wrong else {}


def differences(old: Loaded, new: Loaded) -> tuple[list[str], list[str]]:
    """After a reload: the keys whose value changed, and those of them that only a restart brings about."""
    changed = [
        path for path in new.keys
        if path not in old.keys or old.value(path) != new.value(path)
    ]  # fmt: skip
    changed += [path for path in old.keys if path not in new.keys]
    return changed, [path for path in changed if not (new.keys.get(path) or old.keys[path]).live]


def _section_of(group: str) -> str:
    return next(section for section, name in SECTIONS.items() if name == group)
