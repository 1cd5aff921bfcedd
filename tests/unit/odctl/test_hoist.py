"""Global options on either side of every command mean the same."""

from __future__ import annotations

import pytest

from odctl.cli import tree
from odctl.cli.app import build_root, lookup_in
from odctl.cli.hoist import FLAGS, VALUES, VERSION, hoist
from odctl.client.errors import UsageError

ROOT = build_root()
LOOKUP = lookup_in(ROOT)
PATHS = [path for path, _ in tree.entries()] + [(alias,) for alias in tree.ALIASES]
GLOBALS = [[name] for name in sorted(FLAGS | VERSION)] + [[name, "value"] for name in sorted(VALUES)]
OWN = {("get", "-o")}
"""Options that a command has itself: behind it they are the command's."""


def own(path: tuple[str, ...], name: str) -> bool:
    return (path[0], name) in OWN


@pytest.mark.parametrize("option", GLOBALS, ids=lambda option: option[0])
@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_global_option_is_hoisted_from_both_sides_of_every_command(
    path: tuple[str, ...], option: list[str]
) -> None:
    expected = [*option, *path, "128"]
    assert hoist([*option, *path, "128"], LOOKUP) == expected
    if own(path, option[0]):
        assert hoist([*path, "128", *option], LOOKUP) == [*path, "128", *option]
        return
    assert hoist([*path, *option, "128"], LOOKUP) == expected
    assert hoist([*path, "128", *option], LOOKUP) == expected


@pytest.mark.parametrize("name", sorted(name for name in VALUES if name.startswith("--")))
def test_a_value_may_be_joined_with_an_equals_sign(name: str) -> None:
    assert hoist(["ls", f"{name}=x"], LOOKUP) == [f"{name}=x", "ls"]


def test_nothing_behind_two_dashes_is_touched() -> None:
    assert hoist(["add", "--json", "--", "--json", "-q"], LOOKUP) == ["--json", "add", "--", "--json", "-q"]


def test_the_value_of_a_command_s_option_is_never_taken_for_an_option() -> None:
    assert hoist(["add", "--name", "--json", "x"], LOOKUP) == ["add", "--name", "--json", "x"]
    assert hoist(["ls", "-s", "-q"], LOOKUP) == ["ls", "-s", "-q"]


def test_clusters_are_taken_apart() -> None:
    assert hoist(["ls", "-aq"], LOOKUP) == ["-q", "ls", "-a"]
    assert hoist(["ls", "-ojson"], LOOKUP) == ["-ojson", "ls"]
    assert hoist(["ls", "-qojson"], LOOKUP) == ["-q", "-ojson", "ls"]
    assert hoist(["add", "-tq", "x"], LOOKUP) == ["add", "-tq", "x"]


def test_negative_numbers_and_unknown_options_stay() -> None:
    assert hoist(["add", "-p", "-5", "x"], LOOKUP) == ["add", "-p", "-5", "x"]
    assert hoist(["ls", "--nonsense"], LOOKUP) == ["ls", "--nonsense"]


def test_the_members_of_groups_are_found() -> None:
    assert hoist(["cache", "rm", "k", "--json"], LOOKUP) == ["--json", "cache", "rm", "k"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["-w", "5"], ["-w", "5"]),
        (["-w5"], ["-w", "5"]),
        (["-w"], ["-w", ""]),
        (["-w", "state=active"], ["-w", "", "state=active"]),
        (["--watch", "2s", "x=1"], ["--watch", "2s", "x=1"]),
        (["--watch", "x=1"], ["--watch", "", "x=1"]),
        (["--watch=5"], ["--watch=5"]),
        (["-aw", "5"], ["-aw", "5"]),
        (["-wa"], ["-w", "", "-a"]),
    ],
    ids=" ".join,
)
def test_a_value_that_may_be_left_out_is_known_by_its_looks(line: list[str], expected: list[str]) -> None:
    assert hoist(["ls", *line], LOOKUP) == ["ls", *expected]


def test_a_value_that_may_be_left_out_is_no_option() -> None:
    assert hoist(["settings", "ls", "--source", "--json"], LOOKUP) == ["--json", "settings", "ls", "--source", ""]
    assert hoist(["settings", "ls", "--source", "db"], LOOKUP) == ["settings", "ls", "--source", "db"]


def test_an_option_without_its_value_is_told() -> None:
    with pytest.raises(UsageError, match="-o needs a value"):
        hoist(["ls", "-o"], LOOKUP)


def test_only_get_has_an_option_that_is_also_a_global_one() -> None:
    found = set()
    for path, _ in tree.entries():
        options = LOOKUP(path)
        assert options is not None
        found |= {(path[0], name) for name in {*options.values, *options.flags} & (FLAGS | VALUES | VERSION)}
    assert found == OWN
