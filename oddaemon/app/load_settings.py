"""Reads the settings: defaults < stored < TOML file < environment < flags.

All mistakes are reported together, each with its place; nothing that was written down is passed over silently. Stored
settings come later (`Loaded.with_stored`), since the store has to be opened first.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from oddaemon.app.config_file import MAX_CONFIG, ConfigFile
from oddaemon.app.given import BadSettings, Given, Mistake, Origin, mistakes_of, validated
from oddaemon.app.loaded import Loaded
from oddaemon.app.plugins import (
    LOAD_BALANCERS,
    ON_BY_DEFAULT,
    SECTIONS,
    STORAGE,
    TRANSPORTS,
    Configured,
    PluginBroken,
    PluginTable,
)
from oddaemon.app.setting_keys import (
    ALIASES,
    PREFIX,
    REFUSED,
    Key,
    core_keys,
    enabled_key,
    nearest,
    plugin_keys,
    plugin_model,
)

_NOT_SETTINGS = re.compile(r"OD_CONFIG_PATH|OD_TEST_\w+")
"""Variables with our prefix that are read elsewhere: the file's own place, and what steers the test suite."""
_CHOOSERS: Mapping[str, tuple[str, str]] = {
    STORAGE: ("storage.provider", "local"),
    LOAD_BALANCERS: ("scheduler.adapter", "round-robin"),
    TRANSPORTS: ("transport.adapter", "grpc"),
}
"""Groups of which one plug-in is used: the key that names it, and its default."""


def load(
    *,
    flags: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    config_file: Path | None = None,
    table: PluginTable | None = None,
    groups: Collection[str] | None = None,
) -> Loaded:
    """Everything but the stored settings. `flags` are `--set key=value`; `config_file` is `--config`. Plug-ins of other
    groups than these are not imported, and what is below them is not judged.

    Raises BadSettings with every mistake.
    """
    # as it was: what is taken out of it later is no change of the settings
    environ = dict(os.environ) if environ is None else environ
    reader = _Reader(environ=environ, table=table or PluginTable.installed(), groups=groups)
    again = functools.partial(load, flags=flags, environ=environ, config_file=config_file, table=table, groups=groups)
    return reader.read(flags or {}, config_file, again)


class _Reader:
    """One reading. Collects mistakes instead of stopping at the first."""

    def __init__(self, *, environ: Mapping[str, str], table: PluginTable, groups: Collection[str] | None) -> None:
        self.environ = environ
        self.table = table
        self.groups = SECTIONS.values() if groups is None else groups
        self.mistakes: list[Mistake] = []
        self.broken: dict[tuple[str, str], str] = {}
        self.opaque: list[str] = []
        """Prefixes of plug-ins that are off or broken: what is below them cannot be judged."""
        self.enabled: dict[str, bool] = {}

    def read(self, flags: Mapping[str, str], config_file: Path | None, again: Callable[[], Loaded]) -> Loaded:
        file = ConfigFile.read(config_file, self.environ)
        in_file = file.given if file else {}
        self.mistakes += file.mistakes if file else []
        from_flags = {key: Given(value=value, origin=Origin.FLAG, place=f"--set {key}") for key, value in flags.items()}
        keys = core_keys()
        in_core_variables = {key.variable: key.path for key in keys.values()}
        raw_environment = self._variables(in_core_variables, quiet=True)
        plugins = self._plugins({**in_file, **raw_environment, **from_flags})
        keys |= {key.path: key for key in map(enabled_key, self.enabled)}
        for section, plugin in plugins:
            keys |= {name: key for name, key in plugin_keys(section, plugin).items() if name not in keys}
        in_environment = self._variables({key.variable: key.path for key in keys.values()}, quiet=False)
        given = {**in_file, **in_environment, **from_flags}
        known = {name: item for name, item in given.items() if self._is_known(name, item, keys)}
        settings, mistakes = validated(known)
        self.mistakes += mistakes
        for layer in (in_file, in_environment):
            self._check_hidden({name: item for name, item in layer.items() if known.get(name) not in (None, item)})
        configured = [item for found in plugins if (item := self._configured(*found, known)) is not None]
        if settings is None or self.mistakes:
            raise BadSettings(self.mistakes)
        return Loaded(
            settings=settings, keys=keys, given=known, plugins=configured, broken=self.broken,
            config_file=file.path if file else None, enabled=self.enabled, again=again,
            installed={group: self.table.names(group) for group in SECTIONS.values()},
        )  # fmt: skip

    def _variables(self, known: Mapping[str, str], *, quiet: bool) -> dict[str, Given]:
        """Values from the environment by key. The first reading is quiet: the plug-ins' keys are not known yet, and
        what may be one of theirs is given by its lower-case name."""
        found: dict[str, Given] = {}
        ours = {*known, *ALIASES.values()}
        for name, text in sorted(self.environ.items()):
            base = name.removesuffix("_FILE") if name not in known else name
            if not (name.startswith(PREFIX) or base in ours) or _NOT_SETTINGS.fullmatch(name) or not text:
                continue
            if base not in known:
                if quiet and (guess := self._plugin_key(name)):
                    found[guess] = Given(value=text, origin=Origin.ENV, place=name)
                elif not quiet:
                    self._unknown_variable(name, known)
                continue
            if base != name and self.environ.get(base):
                if not quiet:
                    self.mistakes.append(Mistake(name, f"{base} is set too: set one of the two"))
                continue
            value = text if base == name else self._secret_file(name, text, quiet=quiet)
            if value is not None:
                found[known[base]] = Given(value=value, origin=Origin.ENV, place=name)
        return found

    def _secret_file(self, variable: str, path: str, *, quiet: bool) -> str | None:
        try:
            with open(path, encoding="utf-8") as file:
                return file.read(MAX_CONFIG).rstrip("\r\n")
        except (OSError, ValueError) as error:
            if not quiet:
                why = error.strerror if isinstance(error, OSError) else "it is not text"
                self.mistakes.append(Mistake(variable, f"{path} cannot be read: {why}"))
            return None

    def _check_hidden(self, hidden: Mapping[str, Given]) -> None:
        """A value that a stronger source overrides is not used, and a mistake all the same. Each by itself: rules over
        several keys are for those that are used."""
        _, mistakes = validated(hidden)
        self.mistakes += [item for item in mistakes if item.message.partition(": ")[0] in hidden]

    def _plugin_key(self, variable: str) -> str | None:
        for section, group in SECTIONS.items():
            for name in self.table.names(group):
                prefix = f"{PREFIX}{section}_{name}_".upper().replace("-", "_")
                if variable.startswith(prefix):
                    return f"{section}.{name}.{variable.removeprefix(prefix).lower()}"
        return None

    def _unknown_variable(self, variable: str, known: Mapping[str, str]) -> None:
        for path, alias in ALIASES.items():
            if variable == PREFIX + path.upper().replace(".", "_"):
                self.mistakes.append(Mistake(variable, f"there is no such variable: {path} is set by {alias}"))
                return
        for path, why in REFUSED.items():
            if variable.removesuffix("_FILE") == PREFIX + path.upper().replace(".", "_"):
                self.mistakes.append(Mistake(variable, f"there is no setting {path}: {why}"))
                return
        if (guess := self._plugin_key(variable)) and guess.startswith(tuple(self.opaque)):
            return
        close = nearest(variable, known)
        self.mistakes.append(Mistake(variable, "unknown variable" + (f"; did you mean {close}?" if close else "")))

    def _plugins(self, given: Mapping[str, Given]) -> list[tuple[str, Any]]:
        """Imports the plug-ins that are on, each with the section that it belongs to."""
        found: list[tuple[str, Any]] = []
        for section, group in SECTIONS.items():
            chooser = _CHOOSERS.get(group)
            if chooser and chooser[0] in given and str(given[chooser[0]].value) not in self.table.names(group):
                self._no_such_plugin(given[chooser[0]], *chooser, self.table.names(group))
            for name in self.table.names(group):
                prefix = f"{section}.{name}"
                on = self._is_on(group, prefix, given)
                if group not in _CHOOSERS:
                    self.enabled[f"{prefix}.enabled"] = on
                if not on or group not in self.groups:
                    self.opaque.append(f"{prefix}.")
                    continue
                try:
                    found.append((section, self.table.load(group, name)))
                except PluginBroken as error:
                    self.broken[group, name] = str(error)
                    self.opaque.append(f"{prefix}.")
        return found

    def _no_such_plugin(self, item: Given, path: str, _: str, names: Sequence[str]) -> None:
        known = ", ".join(names) or "none"
        self.mistakes.append(Mistake(item.place, f"{path}: {item.value!r} is not installed; there is: {known}"))

    def _is_on(self, group: str, prefix: str, given: Mapping[str, Given]) -> bool:
        name = prefix.partition(".")[2]
        if group in _CHOOSERS:
            chooser, default = _CHOOSERS[group]
            return str(given[chooser].value if chooser in given else default) == name
        if f"{prefix}.enabled" in given:
            try:
                return TypeAdapter(bool).validate_python(given[f"{prefix}.enabled"].value)
            except ValidationError:
                item = given[f"{prefix}.enabled"]
                self.mistakes.append(Mistake(item.place, f"{prefix}.enabled: give true or false"))
                return True
        return (group, name) in ON_BY_DEFAULT or any(key == prefix or key.startswith(f"{prefix}.") for key in given)

    def _is_known(self, path: str, item: Given, keys: Mapping[str, Key]) -> bool:
        if path in keys:
            return True
        if path in REFUSED:
            self.mistakes.append(Mistake(item.place, f"there is no setting {path}: {REFUSED[path]}"))
            return False
        if path.startswith(tuple(self.opaque)):
            return False
        if any(key.startswith(f"{path}.") for key in (*keys, *self.opaque)):
            if item.value != {}:
                self.mistakes.append(Mistake(item.place, f"{path} is a section, not a setting"))
            return False
        self.mistakes.append(Mistake(item.place, self._unknown_key(path, keys)))
        return False

    def _unknown_key(self, path: str, keys: Mapping[str, Key]) -> str:
        section, _, rest = path.partition(".")
        group, name = SECTIONS.get(section), rest.partition(".")[0]
        if group and "." in rest and not any(key.startswith(f"{section}.{name}.") for key in keys):
            known = self.table.names(group)
            close = nearest(name, known)
            return f"no plug-in {name!r} is installed for [{section}]" + (f"; did you mean {close}?" if close else "")
        close = nearest(path, keys)
        return f"unknown setting {path}" + (f"; did you mean {close}?" if close else "")

    def _configured(self, section: str, plugin: Any, given: Mapping[str, Given]) -> Configured | None:
        prefix = f"{section}.{plugin.name}."
        own = {path.removeprefix(prefix): item.value for path, item in given.items() if path.startswith(prefix)}
        model = plugin_model(plugin)
        own = {name: value for name, value in own.items() if name in model.model_fields}
        own.pop("enabled", None)
        if "enabled" in model.model_fields:
            own["enabled"] = True  # else we would not be here
        try:
            read = model.model_validate(own)
            fields = [item.name for item in dataclasses.fields(plugin.settings_type)]
            settings = plugin.settings_type(**{name: getattr(read, name) for name in fields})
        except ValidationError as error:
            self.mistakes += mistakes_of(error, prefix, given)
            return None
        except (TypeError, ValueError) as error:
            self.mistakes.append(Mistake("", f"[{prefix.rstrip('.')}] {error}"))
            return None
        return Configured(group=SECTIONS[section], name=plugin.name, plugin=plugin, settings=settings)
