"""`engines ls` and `engines test`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from odctl.cli.app import invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import Column
from odctl.text import clean


def _abilities(engine: Mapping[str, Any]) -> list[str]:
    return [name for name, has in engine["capabilities"].items() if has]


COLUMNS = (
    Column(title="NAME", show=lambda e: e["name"]),
    Column(title="VERSION", show=lambda e: e["version"] or "-"),
    Column(title="HEALTH", show=lambda e: "ok" if e["ok"] else "fail"),
    Column(title="RUNNING", show=lambda e: f"{e['active']}/{e['limit']}", right=True),
    Column(title="TAKES", show=lambda e: " ".join(e["schemes"])),
    Column(title="ABILITIES", show=lambda e: " ".join(_abilities(e)), flexible=True),
    Column(title="OPTIONS", show=lambda e: " ".join(option["name"] for option in e["options"]), wide=True),
    Column(title="MESSAGE", show=lambda e: e["message"] or "", flexible=True),
)
FIELDS = ("name", "version", "ok", "capabilities", "message", "active", "limit", "schemes", "options")


def ls(ctx: typer.Context) -> None:
    """Engines, their versions, health, abilities; their options with -o wide."""
    run = invocation(ctx)
    run.output.records(run.call(lambda client: client.upkeep.engines()), COLUMNS, known=FIELDS, ids="name")


def test(
    ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="As in odctl engines ls.")]
) -> None:
    """Test an engine now. Exit 9 when it does not work."""
    run = invocation(ctx)
    found: dict[str, Any] = run.call(lambda client: client.upkeep.test_engine(name))
    if run.output.structured or run.output.quiet:
        run.output.records([found], COLUMNS, known=FIELDS, ids="name")
    else:
        word = "ok" if found["ok"] else "fail"
        message = f"  {clean(found['message'])}" if found.get("message") else ""
        run.output.line(f"{clean(name)}  {run.output.paint(word, word)}{message}")
    raise typer.Exit(ExitCode.OK if found["ok"] else ExitCode.REFUSED)
