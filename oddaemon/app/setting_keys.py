"""The table of all settings: path, variable, type, default, meaning. Made from the models, so it cannot drift."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import itertools
import textwrap
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, create_model
from pydantic.fields import FieldInfo

from oddaemon.app.plugins import ON_BY_DEFAULT, SECTIONS
from oddaemon.app.setting_fields import Section
from oddaemon.app.settings import Settings
from oddaemon.domain.types import Bytes, BytesPerSecond, Seconds
from oddaemon.domain.units import parse_duration, parse_size, split_list
from oddaemon.ports.plugin import Plugin

MASK = "***"
PREFIX = "OD_"

REFUSED: dict[str, str] = {
    "engines.aria2.rpc_url": "the daemon starts an aria2c of its own, on a port that the system chooses",
    "engines.aria2.rpc_secret": "the daemon makes a new secret for each start of its own aria2c",
    "engines.aria2.download_dir": "all engines share node.download_dir",
    "engines.ytdlp.binary": "yt-dlp is a library that the daemon brings along, not a program on PATH",
    "engines.ytdlp.download_dir": "all engines share node.download_dir",
    "auth.admin_password": "the operator is admin through the control socket and needs no password",
    "node.worker_auth_token": "workers join with a token that is made for each of them",
}
"""Keys of earlier plans that do not exist, and why."""

ALIASES: dict[str, str] = {
    "database.url": "DATABASE_URL",
    "controller.grpc_endpoint": "CONTROLLER_URL",
    "controller.auth_token": "CONTROLLER_TOKEN",
}
"""Keys whose variable has a name without prefix; the one with prefix does not exist: one name per key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One setting."""

    path: str
    variable: str
    kind: str
    """bool, int, number, size, duration, enum, list or text."""
    default: Any
    description: str
    choices: tuple[str, ...] = ()
    live: bool = False
    """Can be changed while the daemon runs, and be kept in the store."""
    secret: bool = False


def variable_of(path: str) -> str:
    """The one environment variable of a key."""
    return ALIASES.get(path) or PREFIX + path.upper().replace(".", "_").replace("-", "_")


def core_keys() -> dict[str, Key]:
    """Every key that does not belong to a plug-in."""
    return {key.path: key for key in _keys_of(Settings, "")}


def plugin_keys(section: str, plugin: Plugin[Any]) -> dict[str, Key]:
    """The keys of a plug-in's own section, but for `enabled`."""
    return {key.path: key for key in _keys_of(plugin_model(plugin), f"{section}.{plugin.name}.")}


def enabled_key(path: str) -> Key:
    """`<section>.<plug-in>.enabled`."""
    section, name, _ = path.split(".")
    on = (SECTIONS[section], name) in ON_BY_DEFAULT
    description = "Whether it is used." if on else "Whether it is used. On as soon as its section is there."
    return Key(path=path, variable=variable_of(path), kind="bool", default=on, description=description)


def plugin_model(plugin: Plugin[Any]) -> type[Section]:
    """A model that reads a plug-in's section into its settings dataclass. Fields typed with our quantities (Bytes,
    Seconds) take sizes and durations as people write them. `enabled` is ours, unless the dataclass has it too."""
    documented = attribute_docs(plugin.settings_type)
    hints = get_type_hints(plugin.settings_type, include_extras=True)
    fields: dict[str, Any] = {}
    for item in dataclasses.fields(plugin.settings_type):
        description = str(item.metadata.get("description") or documented.get(item.name, ""))
        options: dict[str, Any] = {"description": description}
        if item.default_factory is not dataclasses.MISSING:
            options["default_factory"] = item.default_factory
        elif item.default is not dataclasses.MISSING:
            options["default"] = item.default
        fields[item.name] = (_readable(hints[item.name]), Field(**options))
    model: type[Section] = create_model(f"{plugin.name}_settings", __base__=Section, **fields)
    return model


def attribute_docs(cls: type) -> dict[str, str]:
    """The strings that follow the fields of a class (or the members of an enum); empty when there is no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body if tree.body and isinstance(tree.body[0], ast.ClassDef) else []
    found: dict[str, str] = {}
    for field, after in itertools.pairwise(body):
        target: ast.expr
        if isinstance(field, ast.AnnAssign):
            target = field.target
        elif isinstance(field, ast.Assign):
            target = field.targets[0]
        else:
            continue
        if not isinstance(target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[target.id] = " ".join(str(after.value.value).split())
    return found


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that somebody who wrote `word` most likely meant."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.75)
    if close:
        return close[0]
    last = word.rpartition(".")[2]
    same_end = [name for name in known if name.rpartition(".")[2] == last]
    return same_end[0] if len(same_end) == 1 else None


def json_value(value: Any, *, secret: bool = False) -> Any:
    """As faces show it: sizes in bytes, durations in seconds, secrets masked."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
        secret = True
    if secret:
        return MASK if value else ""
    return list(value) if isinstance(value, (tuple, list, set, frozenset)) else value


def _keys_of(model: type[BaseModel], prefix: str) -> Iterable[Key]:
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _keys_of(annotation, f"{prefix}{name}.")
        else:
            yield _key(f"{prefix}{name}", info)


def _key(path: str, info: FieldInfo) -> Key:
    extra: Mapping[str, Any] = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    secret = info.annotation is SecretStr
    return Key(
        path=path,
        variable=variable_of(path),
        kind=_kind(info.annotation),
        default=json_value(info.get_default(call_default_factory=True)),
        description=info.description or "",
        choices=tuple(map(str, get_args(info.annotation))) if get_origin(info.annotation) is Literal else (),
        live=bool(extra.get("live")),
        secret=secret,
    )


def _kind(annotation: Any) -> str:
    """The type of a setting as faces show it: bool, int, size, duration, enum, list or text."""
    text = str(annotation)
    if annotation is bool:
        return "bool"
    if "Bytes" in text:
        return "size"
    if "Seconds" in text:
        return "duration"
    if annotation in (int, float):
        return "int" if annotation is int else "number"
    if "Literal" in text:
        return "enum"
    return "list" if "tuple" in text or "list" in text else "text"


def _readable(hint: Any) -> Any:
    if hint is Bytes or hint is BytesPerSecond:
        return Annotated[hint, BeforeValidator(parse_size)]
    if hint is Seconds:
        return Annotated[hint, BeforeValidator(parse_duration)]
    if get_origin(hint) in (Union, types.UnionType):
        return Union[tuple(_readable(part) for part in get_args(hint))]  # noqa: UP007 - made at run time
    if get_origin(hint) in (tuple, list):
        return Annotated[hint, BeforeValidator(split_list)]
    return hint
