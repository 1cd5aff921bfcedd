"""Which daemon is meant: flags, variables and contexts.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from odctl.client import contexts
from odctl.client.endpoints import Choice, choose
from odctl.client.errors import OdctlError, UsageError

FILE = """\
current = "nas"
[contexts.nas]
endpoint = "unix:///nas.sock"
ssh_args = ["-J", "jump"]
[contexts.box]
endpoint = "unix:///box.sock"
[contexts.far]
endpoint = "ssh://far"
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / contexts.FILE).write_text(FILE)
    return {"ODCTL_CONFIG": str(tmp_path), "XDG_RUNTIME_DIR": "/run/user/1"}


def chosen(path: str, source: str, context: str = "") -> Choice:
    return Choice(paths=(Path(path),), source=source, context=context)


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(environ: dict[str, str]) -> None:
    assert choose(None, environ) == chosen("/nas.sock", "file", "nas")
    environ["ODCTL_HOST"] = "unix:///env.sock"
    assert choose(None, environ) == chosen("/env.sock", "env")
    assert choose(None, environ, context="box") == chosen("/box.sock", "flag", "box")
    assert choose("unix:///flag.sock", environ) == chosen("/flag.sock", "flag")
    del environ["ODCTL_HOST"]
    environ["ODCTL_CONTEXT"] = "box"
    assert choose(None, environ) == chosen("/box.sock", "env", "box")
    assert choose(None, environ, context="nas").why == "--context"
    assert choose(None, environ, context="auto").source == "auto"


def test_two_of_one_level_are_an_error(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        choose("unix:///a", environ, context="nas")
    both = environ | {"ODCTL_HOST": "unix:///other.sock", "ODCTL_CONTEXT": "nas"}
    with pytest.raises(UsageError, match="both set and disagree"):
        choose(None, both)
    assert choose(None, both, context="box").context == "box"
    assert choose(None, both | {"ODCTL_HOST": "unix:///nas.sock"}).context == "nas"


def test_a_name_that_is_not_known_gets_a_suggestion(environ: dict[str, str]) -> None:
    with pytest.raises(OdctlError, match="no context 'nass'") as caught:
        choose(None, environ, context="nass")
    assert caught.value.exit_code == 3
    assert "did you mean nas?" in caught.value.hint


def test_an_address_of_a_later_version_is_refused_with_its_place(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"context far: .* not over ssh://"):
        choose(None, environ, context="far")


@pytest.mark.parametrize(
    "text",
    [
        "current = ", "current = 3", "contexts = 3", "[contexts.a]\nendpoint = 3", "[contexts]\na = 1", "\x00",
        "a = " + "[" * 20_000,
    ],
    ids=range(7),
)  # fmt: skip
def test_a_file_that_is_wrong_is_told_and_never_guessed(environ: dict[str, str], tmp_path: Path, text: str) -> None:
    (tmp_path / contexts.FILE).write_text(text)
    with pytest.raises(UsageError, match=r"contexts\.toml"):
        choose(None, environ)
    assert choose("unix:///a.sock", environ).paths == (Path("/a.sock"),)


def test_a_change_keeps_what_this_version_does_not_know(environ: dict[str, str], tmp_path: Path) -> None:
    with contexts.change(environ) as known:
        known.known["new"] = {"endpoint": 'unix:///"quoted\\ \x7f 😀.sock'}
        known.current = "new"
    told = tomllib.loads((tmp_path / contexts.FILE).read_text())
    assert told["current"] == "new"
    assert told["contexts"]["nas"] == {"endpoint": "unix:///nas.sock", "ssh_args": ["-J", "jump"]}
    assert contexts.load(environ).endpoint("new") == 'unix:///"quoted\\ \x7f 😀.sock'


def test_a_change_that_fails_stores_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    def fail() -> None:
        with contexts.change(environ) as known:
            known.known.clear()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert (tmp_path / contexts.FILE).read_text() == FILE


@pytest.mark.parametrize("name", ["", "auto", "-x", "a b", "a/b", "a" * 65, "ä", "a\x1b"])
def test_names_that_contexts_cannot_have(name: str) -> None:
    with pytest.raises(UsageError):
        contexts.check_name(name)
