from __future__ import annotations

import logging

import pytest

from oddaemon.app.load_settings import load
from oddaemon.app.plugins import ENGINES, LOAD_BALANCERS, PluginBroken, PluginTable, load_plugins, with_defaults
from tests.unit.app.support import FastSettings, table


def test_names_are_known_without_importing_anything() -> None:
    assert "ytdlp" in table().names(ENGINES)  # its module does not exist


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ytdlp", "cannot be imported"), ("liar", "calls itself 'somebody-else'"), ("thing", "not a Plugin"),
        ("nothing", "installed: aria2"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_says_why(name: str, why: str) -> None:
    with pytest.raises(PluginBroken, match=why):
        table().load(ENGINES, name)


def test_self_checks_decide_what_can_be_built(caplog: pytest.LogCaptureFixture) -> None:
    loaded = load(
        environ={"OD_ENGINES_ARIA2_MAX_CONCURRENT": "13", "OD_ENGINES_RAISING_ENABLED": "true",
                 "OD_ENGINES_ODD_ENABLED": "true"},
        table=table(),
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        plugins = load_plugins(loaded.plugins, loaded.broken)
    assert [item.name for item in plugins.of(ENGINES)] == ["odd"]
    assert plugins.broken[ENGINES, "aria2"] == "needs a program"
    assert "boom" in plugins.broken[ENGINES, "raising"]
    assert "cannot be imported" in plugins.broken[ENGINES, "ytdlp"]
    assert plugins.get(ENGINES, "odd") is not None
    assert plugins.get(ENGINES, "aria2") is None
    assert {record.message for record in caplog.records} == {"plug-in has a problem", "plug-in left out"}


def test_a_finding_that_is_not_fatal_does_not_keep_it_from_being_built() -> None:
    loaded = load(environ={}, table=table())
    plugins = load_plugins(loaded.plugins, loaded.broken)
    aria2 = plugins.get(ENGINES, "aria2")
    assert aria2 is not None
    assert [problem.message for problem in aria2.problems] == ["needs a program"]


def test_a_plugin_chosen_at_run_time_has_its_default_settings() -> None:
    assert with_defaults(table(), ENGINES, "odd").settings == FastSettings()
    with pytest.raises(PluginBroken):
        with_defaults(table(), LOAD_BALANCERS, "gone")


def test_the_installed_table_has_ours() -> None:
    assert {"aria2", "ytdlp", "simulated"} <= set(PluginTable.installed().names(ENGINES))
