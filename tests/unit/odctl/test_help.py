"""The command tree as help tells it."""

from __future__ import annotations

import typer

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


def test_the_line_of_the_usage_is_written_as_in_manuals() -> None:
    for name, line in (
        ("wait", "odctl wait [OPTIONS] JOB..."), ("link", "odctl link [OPTIONS] JOB [FILE]..."),
        ("context show", "odctl context show [OPTIONS] [NAME]"), ("play", "odctl play [OPTIONS] JOB [FILE] [-- ARGS]"),
        ("set", "odctl set [OPTIONS] JOB... KEY=VALUE..."), ("completion", "odctl completion [OPTIONS] [SHELL]"),
    ):  # fmt: skip
        assert help_of(name).splitlines()[0] == f"Usage: {line}"
    for path, _ in tree.entries():
        usage, *rest = help_of(" ".join(path)).splitlines()
        assert not {"{", "<"} & set(usage)
        assert not [line for line in rest if "<str>" in line or "list[" in line]


def help_of(path: str) -> str:
    root = build_root()
    found, context = root, typer.Context(root, info_name="odctl")
    for name in path.split():
        found = found.commands[name]
        context = typer.Context(found, info_name=name, parent=context)
    text: str = found.get_help(context)
    return text
