"""Installed entry points are those of pyproject.toml, and each is a plug-in that keeps its promises."""

from __future__ import annotations

import dataclasses
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

from oddaemon.app.plugins import SECTIONS, PluginTable
from oddaemon.app.setting_keys import plugin_keys, plugin_model

ROOT = Path(__file__).resolve().parents[2]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
PLUGINS = [(group, name) for group in SECTIONS.values() for name in DECLARED.get(group, {})]


def test_the_installed_table_is_the_declared_one() -> None:
    installed = {
        (entry.group, entry.name): entry.value
        for entry in distribution("opendebrid").entry_points
        if entry.group.startswith("opendebrid.")
    }
    declared = {(group, name): value for group, names in DECLARED.items() for name, value in names.items()}
    assert installed == declared, "entry points changed since the package was installed: run make setup"


def test_every_group_has_a_section_of_the_settings() -> None:
    assert set(DECLARED) == set(SECTIONS.values())


@pytest.mark.parametrize(("group", "name"), PLUGINS)
def test_each_plugin_can_be_built_from_its_defaults(group: str, name: str) -> None:
    plugin = PluginTable.installed().load(group, name)
    parameters = plugin.settings_type.__dataclass_params__
    assert parameters.frozen
    settings = plugin.settings_type()
    for problem in plugin.check(settings):
        assert problem.message
    section = next(section for section, value in SECTIONS.items() if value == group)
    read = plugin_model(plugin).model_validate({})
    assert {item.name: getattr(settings, item.name) for item in dataclasses.fields(settings)} == {
        item.name: getattr(read, item.name) for item in dataclasses.fields(settings)
    }
    for key in plugin_keys(section, plugin).values():
        assert key.description, f"{key.path} has no description: write a docstring under the field"
