"""The command tree as help tells it."""

from __future__ import annotations

from odctl.cli import tree
from odctl.cli.app import build_root
from odctl.cli.describe import describe, walk


def test_a_nested_command_is_described_by_its_own_line() -> None:
    found = dict(walk(describe(build_root(), "odctl")))
    for path, entry in tree.entries():
        assert found[path]["summary"] == entry.summary
    assert found["ls",]["aliases"] == ["list", "ps"]
    assert (found["cache", "ls"]["aliases"], found["cache", "rm"]["aliases"]) == (["list"], ["remove", "delete"])
    assert found["daemon", "start"]["aliases"] == []


def test_the_other_names_of_verbs_work_below_every_noun() -> None:
    root = build_root()
    for path in (["list"], ["cache", "list"], ["engines", "list"], ["settings", "list"], ["cache", "delete"]):
        found = root
        for name in path:
            found = found.commands[name]
        assert found.callback is not None
    assert "list" not in list(root.commands["cache"].commands)
