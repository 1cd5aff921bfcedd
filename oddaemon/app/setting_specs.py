"""Hands the settings to `services.runtime_settings` in the service's own terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from oddaemon.app.given import Origin
from oddaemon.app.loaded import Loaded
from oddaemon.app.plugins import LOAD_BALANCERS
from oddaemon.app.setting_keys import Key, json_value
from oddaemon.app.settings import Settings
from oddaemon.services.runtime_settings import Fixed, SettingSpec


def setting_specs(loaded: Loaded) -> Sequence[SettingSpec]:
    """One for every key, in the order of the reference page."""
    return [
        SettingSpec(
            key=key.path, type=key.kind, default=key.default, description=key.description,
            parse=_parser(key, loaded), editable=key.live,
        )
        for key in loaded.keys.values()
    ]  # fmt: skip


def fixed_settings(loaded: Loaded) -> Mapping[str, Fixed]:
    """What file, environment and flags give."""
    return {
        path: Fixed(shown=loaded.shown(path), source=str(loaded.origin(path)), place=loaded.place(path))
        for path in loaded.keys
        if loaded.origin(path) not in (Origin.DEFAULT, Origin.STORED)
    }


def check_together(values: Mapping[str, Any]) -> None:
    """Whether live values fit each other, by the rules of the models. Raises ValueError with one sentence."""
    tree: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        section, _, name = path.partition(".")
        tree.setdefault(section, {})[name] = value
    try:
        Settings.model_validate(tree)
    except ValidationError as error:
        raise ValueError("; ".join(_sentence(item["msg"]) for item in error.errors(include_url=False))) from error


def _parser(key: Key, loaded: Loaded) -> Callable[[Any], Any]:
    balancers = loaded.installed.get(LOAD_BALANCERS, ()) if key.path == "scheduler.adapter" else ()

    def parse(value: Any) -> Any:
        parsed = json_value(_adapter(key.path).validate_python(value))
        if balancers and parsed not in balancers:
            raise ValueError(f"give one of {', '.join(balancers)}")
        # as its default is written: 7200, not 7200.0
        return int(parsed) if isinstance(parsed, float) and parsed.is_integer() else parsed

    def parse_kindly(value: Any) -> Any:
        try:
            return parse(value)
        except ValidationError as error:
            raise ValueError("; ".join(_sentence(item["msg"]) for item in error.errors(include_url=False))) from error

    return parse_kindly


def _adapter(path: str) -> TypeAdapter[Any]:
    model: type[BaseModel] = Settings
    *sections, name = path.split(".")
    for section in sections:
        annotation = model.model_fields[section].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        model = annotation
    info = model.model_fields[name]
    wanted: Any = info.annotation
    for item in info.metadata:
        wanted = Annotated[wanted, item]
    return TypeAdapter(wanted)


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should be", "it should be")
