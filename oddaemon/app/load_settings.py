"""Reads the settings: defaults < stored < TOML file < environment < flags.

All mistakes are reported together, each with its place; nothing that was written down is passed over silently. Stored
settings come later (`Loaded.with_stored`), since the store has to be opened first.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from oddaemon.app.paths import default_config_files
from oddaemon.app.plugins import LOAD_BALANCERS, ON_BY_DEFAULT, SECTIONS, STORAGE, Configured, PluginBroken, PluginTable
from oddaemon.app.setting_keys import (
    PREFIX,
    Key,
    core_keys,
    enabled_key,
    json_value,
    nearest,
    plugin_keys,
    plugin_model,
)
from oddaemon.app.settings import ALIASES, REFUSED, Settings
from oddaemon.app.toml_text import BadVariable, interpolate, key_lines

CONFIG_VARIABLE = "OD_CONFIG_PATH"
_NOT_SETTINGS = re.compile(r"OD_CONFIG_PATH|OD_TEST_\w+")
"""Variables with our prefix that are read elsewhere: the file's own place, and what steers the test suite."""
MAX_CONFIG = 2**20
_ABSENT = object()
_CHOOSERS: Mapping[str, tuple[str, str]] = {
    STORAGE: ("storage.provider", "local"),
    LOAD_BALANCERS: ("scheduler.adapter", "round-robin"),
}
"""Groups of which one plug-in is used: the key that names it, and its default."""


class Origin(StrEnum):
    """Where a value came from, weakest first."""

    DEFAULT = "default"
    STORED = "stored"
    FILE = "file"
    ENV = "env"
    FLAG = "flag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A value as somebody wrote it, and the place where."""

    value: Any
    origin: Origin
    place: str


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, with the file and line, the variable or the flag."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message

    @property
    def order(self) -> tuple[str, int, str]:
        """By file, then by line."""
        file, _, line = self.place.rpartition(":")
        return (file, int(line), self.message) if line.isdecimal() else (self.place, 0, self.message)


class BadSettings(Exception):
    """The settings cannot be used. `mistakes` holds every one that was found."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(set(mistakes), key=lambda mistake: mistake.order))
        super().__init__("\n".join(map(str, self.mistakes)))


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
            settings, mistakes = _validated({**usable, **kept})
            if settings is not None:
                return dataclasses.replace(self, settings=settings, given={**usable, **kept})
            wrong = {path for path in usable if any(path in mistake.message for mistake in mistakes)}
            usable = {path: item for path, item in usable.items() if path not in wrong} if wrong else {}


def load(
    *,
    flags: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    config_file: Path | None = None,
    table: PluginTable | None = None,
) -> Loaded:
    """Everything but the stored settings. `flags` are `--set key=value`; `config_file` is `--config`.

    Raises BadSettings with every mistake.
    """
    environ = os.environ if environ is None else environ
    reader = _Reader(environ=environ, table=table or PluginTable.installed())
    again = functools.partial(load, flags=flags, environ=environ, config_file=config_file, table=table)
    return reader.read(flags or {}, config_file, again)


class _Reader:
    """One reading. Collects mistakes instead of stopping at the first."""

    def __init__(self, *, environ: Mapping[str, str], table: PluginTable) -> None:
        self.environ = environ
        self.table = table
        self.mistakes: list[Mistake] = []
        self.broken: dict[tuple[str, str], str] = {}
        self.opaque: list[str] = []
        """Prefixes of plug-ins that are off or broken: what is below them cannot be judged."""
        self.enabled: dict[str, bool] = {}

    def read(self, flags: Mapping[str, str], config_file: Path | None, again: Callable[[], Loaded]) -> Loaded:
        path, in_file = self._file(config_file)
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
        settings, mistakes = _validated(known)
        self.mistakes += mistakes
        for layer in (in_file, in_environment):
            self._check_hidden({name: item for name, item in layer.items() if known.get(name) not in (None, item)})
        configured = [item for found in plugins if (item := self._configured(*found, known)) is not None]
        if settings is None or self.mistakes:
            raise BadSettings(self.mistakes)
        return Loaded(
            settings=settings, keys=keys, given=known, plugins=configured, broken=self.broken, config_file=path,
            enabled=self.enabled,
            again=again,
            installed={group: self.table.names(group) for group in SECTIONS.values()},
        )  # fmt: skip

    def _file(self, chosen: Path | None) -> tuple[Path | None, dict[str, Given]]:
        named = chosen or (Path(self.environ[CONFIG_VARIABLE]) if self.environ.get(CONFIG_VARIABLE) else None)
        path = named or next((item for item in default_config_files(self.environ) if os.path.exists(item)), None)
        if path is None:
            return None, {}
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_CONFIG + 1)
            if len(raw) > MAX_CONFIG:
                raise ValueError("it is larger than 1 MiB")
            text = raw.decode()
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"\(at line (\d+)", str(error))
            self.mistakes.append(Mistake(f"{path}:{line[1]}" if line else str(path), f"not TOML: {error}"))
            return path, {}
        except UnicodeDecodeError:
            self.mistakes.append(Mistake(str(path), "not TOML: it is not UTF-8"))
            return path, {}
        except OSError as error:
            self.mistakes.append(Mistake(str(path), f"cannot be read: {error.strerror}"))
            return path, {}
        except ValueError as error:
            self.mistakes.append(Mistake(str(path), str(error)))
            return path, {}
        return path, dict(self._flattened(tree, "", path, key_lines(text)))

    def _flattened(
        self, table: Mapping[str, Any], prefix: str, path: Path, lines: Mapping[str, int]
    ) -> Iterator[tuple[str, Given]]:
        for name, value in table.items():
            key = f"{prefix}{name}"
            if isinstance(value, dict):
                if not value:
                    yield key, Given(value={}, origin=Origin.FILE, place=_line(path, key, lines))
                yield from self._flattened(value, f"{key}.", path, lines)
            else:
                place = _line(path, key, lines)
                try:
                    yield key, Given(value=self._filled(value), origin=Origin.FILE, place=place)
                except BadVariable as error:
                    self.mistakes.append(Mistake(place, f"{key}: {error}"))

    def _filled(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        return interpolate(value, self.environ) if isinstance(value, str) else value

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
        _, mistakes = _validated(hidden)
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
                if not on:
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
            self.mistakes += _mistakes(error, prefix, given)
            return None
        except (TypeError, ValueError) as error:
            self.mistakes.append(Mistake("", f"[{prefix.rstrip('.')}] {error}"))
            return None
        return Configured(group=SECTIONS[section], name=plugin.name, plugin=plugin, settings=settings)


def _validated(given: Mapping[str, Given]) -> tuple[Settings | None, list[Mistake]]:
    core = core_keys()
    tree: dict[str, Any] = {}
    for path, item in given.items():
        if path in core:
            *sections, name = path.split(".")
            table = tree
            for section in sections:
                table = table.setdefault(section, {})
            table[name] = item.value
    try:
        return Settings.model_validate(tree), []
    except ValidationError as error:
        return None, _mistakes(error, "", given)


def _mistakes(error: ValidationError, prefix: str, given: Mapping[str, Given]) -> list[Mistake]:
    found = []
    for item in error.errors(include_input=False, include_url=False):
        path = prefix + ".".join(str(part) for part in item["loc"] if not isinstance(part, int))
        message = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if message != item["msg"] and item["msg"].startswith("Input should be "):
            message = f"should be {message}"
        source = given.get(path)
        if source is not None:
            found.append(Mistake(source.place, f"{path}: {message}"))
        else:  # a rule over several keys: its sentence names them
            places = [entry.place for key, entry in given.items() if key in message]
            found.append(Mistake(", ".join(places), message))
    return found


def differences(old: Loaded, new: Loaded) -> tuple[list[str], list[str]]:
    """After a reload: the keys whose value changed, and those of them that only a restart brings about."""
    changed = [
        path for path in new.keys
        if path not in old.keys or old.value(path) != new.value(path)
    ]  # fmt: skip
    changed += [path for path in old.keys if path not in new.keys]
    return changed, [path for path in changed if not (new.keys.get(path) or old.keys[path]).live]


def _line(path: Path, key: str, lines: Mapping[str, int]) -> str:
    while key:
        if key in lines:
            return f"{path}:{lines[key]}"
        key = key.rpartition(".")[0]
    return str(path)


def _section_of(group: str) -> str:
    return next(section for section, name in SECTIONS.items() if name == group)
