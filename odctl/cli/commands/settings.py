"""`settings …`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from odctl.cli.app import invocation
from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import Column, check_fields
from odctl.client.errors import OdctlError, UsageError
from odctl.text import clean, setting_word

OPTIONAL = {"ls": {"source": r"[^-].*"}}
"""Options whose value may be left out; see odctl.cli.hoist."""
SOURCES = ("default", "stored", "file", "env", "flag")
FIELDS = ("key", "value", "default", "source", "type", "restart_required", "description", "editable")
COLUMNS = (
    Column(title="KEY", show=lambda s: s["key"]),
    Column(title="VALUE", show=lambda s: setting_word(s["value"], s["type"]), flexible=True),
    Column(title="SOURCE", show=lambda s: s["source"]),
    Column(title="DEFAULT", show=lambda s: setting_word(s["default"], s["type"]), wide=True),
    Column(title="TYPE", show=lambda s: s["type"], wide=True),
    Column(title="RESTART", show=lambda s: "needed" if s["restart_required"] else "", wide=True),
    Column(title="DESCRIPTION", show=lambda s: s["description"], wide=True, flexible=True),
)


def ls(
    ctx: typer.Context,
    source: Annotated[
        str,
        typer.Option(
            "--source",
            metavar="[SOURCE]",
            help="Where each comes from; with a value only from there: default, stored (or db), file, env, flag.",
        ),
    ] = "",
    effective: Annotated[bool, typer.Option("--effective", help="Only those that are not at their default.")] = False,
) -> None:
    """List settings, their values and where each comes from; the rest with -o wide."""
    run = invocation(ctx)
    source = "stored" if source == "db" else source
    if source and source not in SOURCES:
        raise UsageError(f"--source: '{clean(source)}' is none of " + ", ".join(SOURCES))
    found = run.call(lambda client: client.upkeep.settings())
    if source:
        found = [setting for setting in found if setting["source"] == source]
    if effective:
        found = [setting for setting in found if setting["value"] != setting["default"]]
    run.output.records(found, COLUMNS, known=FIELDS, ids="key", none="no setting fits")


def get(
    ctx: typer.Context, key: Annotated[str, typer.Argument(metavar="KEY", help="As in limits.link_expiry.")]
) -> None:
    """One setting's value; of a section such as limits each setting in it."""
    run = invocation(ctx)
    found = run.call(lambda client: client.upkeep.settings([key]))
    if not found:
        raise OdctlError(
            f"there is no setting {clean(key)}", code="NOT_FOUND", exit_code=ExitCode.NOT_FOUND,
            hint="odctl settings ls shows them",
        )  # fmt: skip
    if run.output.structured or found[0]["key"] != key:
        _tell(run, found)
    else:
        run.output.line(setting_word(found[0]["value"], found[0]["type"]))


def set_(
    ctx: typer.Context,
    pairs: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="As in limits.link_expiry=12h.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check them.")] = False,
) -> None:
    """Change settings. What a file, the environment or a flag fixes cannot be changed here."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)
    values: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(
                f"'{clean(pair)}' is not KEY=VALUE", hint="as in: odctl settings set limits.link_expiry=12h"
            )
        values[key] = value
    _tell(run, run.call(lambda client: client.upkeep.set_settings(values, dry_run=dry_run)))
    if dry_run:
        run.output.note("they can be set; nothing was changed")


def unset(
    ctx: typer.Context,
    keys: Annotated[list[str], typer.Argument(metavar="KEY", help="As in limits.link_expiry.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would count then.")] = False,
) -> None:
    """Forget stored values: what is below them counts again."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)
    _tell(run, run.call(lambda client: client.upkeep.unset_settings(keys, dry_run=dry_run)))
    if dry_run:
        run.output.note("nothing was changed")


def _tell(run: Invocation, found: Sequence[dict[str, Any]]) -> None:
    if run.output.structured or run.output.quiet:
        run.output.records(found, COLUMNS, known=FIELDS, ids="key")
        return
    for setting in found:
        note = "  (needs a restart)" if setting["restart_required"] else ""
        word = setting_word(setting["value"], setting["type"])
        run.output.line(f"{clean(setting['key'])} = {word}  ({clean(setting['source'])}){note}")
