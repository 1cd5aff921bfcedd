"""Each variable of `odctl help environment`, honoured; those of logins, contexts and the pager stand elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from odctl.cli.commands.help import ENVIRONMENT
from tests.support.fake_control import FakeControl
from tests.support.forked import finished
from tests.support.odctl_shell import Shell
from tests.support.terminal import Terminal


async def test_the_output_is_chosen_and_an_option_wins(odctl: Shell, control: FakeControl) -> None:
    line = ["ls", "--fields", "id"]
    assert (await odctl(*line, ODCTL_OUTPUT="csv")).out == "id\n1\n2\n"
    assert (await odctl(*line, ODCTL_OUTPUT="jsonl")).out == '{"id": 1}\n{"id": 2}\n'
    assert (await odctl(*line, "-o", "csv", ODCTL_OUTPUT="json")).out == "id\n1\n2\n"
    assert (await odctl(*line, "--json", ODCTL_OUTPUT="csv")).json == [{"id": 1}, {"id": 2}]
    assert (await odctl("show", "9", ODCTL_OUTPUT="json")).errors[0]["code"] == "NOT_FOUND"
    wrong = await odctl("ls", ODCTL_OUTPUT="yaml")
    assert (wrong.code, wrong.err.splitlines()[0]) == (2, "odctl: ODCTL_OUTPUT: 'yaml' is not an output format")
    assert (await odctl("ls", "-o", "yaml", ODCTL_OUTPUT="csv")).err.startswith("odctl: --output: 'yaml'")


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"CLICOLOR": "0"}, False),
        ({"CLICOLOR": "1"}, True), ({"TERM": "dumb"}, False), ({"CLICOLOR": "0", "CLICOLOR_FORCE": "1"}, True),
        ({"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, False),
    ],
    ids=str,
)  # fmt: skip
async def test_colours_at_a_terminal(
    odctl: Shell, control: FakeControl, variables: dict[str, str], coloured: bool, tmp_path: Path
) -> None:
    async with Terminal() as terminal:
        environment = {"TERM": "xterm"} | odctl.environment() | variables
        terminal.fork("status", environment=environment, cwd=tmp_path)
        assert await terminal.ended() == 0
        assert (b"\x1b[3" in terminal.raw) == coloured


async def test_debug_shows_where_and_the_error_is_the_same(odctl: Shell, control: FakeControl) -> None:
    plain = await odctl("show", "9")
    for debugged in (await odctl("show", "9", "--debug"), await odctl("show", "9", ODCTL_DEBUG="1")):
        assert (debugged.code, debugged.out) == (plain.code, plain.out)
    wrong = [await odctl("ls", "--limit", "0", *words) for words in ([], ["--debug"])]
    assert "Traceback" not in wrong[0].err
    assert "Traceback" in wrong[1].err
    assert wrong[1].err.endswith(wrong[0].err)


async def test_own_files_go_where_they_are_told_to(odctl: Shell, control: FakeControl, tmp_path: Path) -> None:
    for variable, place in (("ODCTL_CONFIG", "contexts.toml"), ("XDG_CONFIG_HOME", "opendebrid/contexts.toml")):
        folder = tmp_path / variable
        environment = odctl.environment(host=False) | {variable: str(folder)}
        line = ["context", "add", "box", "unix:///x/c.sock"]
        code, _, _ = await finished("odctl", *line, environment=environment, cwd=tmp_path, stdin=b"", timeout=60)
        assert code == 0
        assert "box" in (folder / place).read_text()
    assert not (tmp_path / ".config").exists()


def test_all_of_them_are_documented() -> None:
    text = (Path(__file__).parents[2] / "odctl" / "config.py").read_text()
    assert set(re.findall(r"ODCTL_\w+", text)) <= set(re.findall(r"^\w+", ENVIRONMENT, re.MULTILINE))
