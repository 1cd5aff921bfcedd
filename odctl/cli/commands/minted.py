"""`links …`: links that were made, how they were used, and their end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from odctl.cli.app import invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import Column
from odctl.client.errors import UsageError
from odctl.client.models import MintedLink, Revoked
from odctl.text import moment, size

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

FIELDS = tuple(MintedLink.__struct_fields__)
COLUMNS = (
    Column(title="ID", show=lambda one: one.id),
    Column(title="JOB", show=lambda one: one.job or "-", right=True),
    Column(title="STATE", show=lambda one: one.state.replace("_", " "), wide=True),
    Column(title="EXPIRES", show=lambda one: moment(one.expires_at)),
    Column(title="USED", show=lambda one: used(one), right=True),
    Column(title="SERVED", show=lambda one: size(one.bytes_served), right=True, wide=True),
    Column(title="KIND", show=lambda one: one.kind, wide=True),
    Column(title="NODE", show=lambda one: one.node, wide=True),
    Column(title="MADE", show=lambda one: moment(one.created_at), wide=True),
    Column(title="PATH", show=lambda one: one.path or "(everything)", flexible=True),
)


def used(link: MintedLink) -> str:
    """How often it was asked; of a limited one how many of its uses are gone."""
    if link.max_uses is None or link.uses_left is None:
        return str(link.access_count)
    return f"{link.max_uses - link.uses_left}/{link.max_uses}"


def ls(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Only this job's; default: all of yours.")] = "",
    every: Annotated[bool, typer.Option("--all", "-a", help="Also revoked and expired ones.")] = False,
) -> None:
    """List links, how often they were used and how much they served. Their URLs are shown only when they are made."""
    run = invocation(ctx)
    shown = run.call(lambda client: client.files.minted_links(job, state="" if every else "live"))
    # without --all there is one state
    columns = [replace(column, wide=column.wide and not (every and column.title == "STATE")) for column in COLUMNS]
    run.output.records(shown, columns, known=FIELDS)
    if run.output.format in ("table", "wide"):
        served = size(sum(one.bytes_served for one in shown))
        many = f"{len(shown)} link{'s' if len(shown) != 1 else ''}, {served} served"
        run.output.note(many if shown else "no link; make one: odctl link JOB")


def rm(
    ctx: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="As odctl links ls prints them.")] = None,
    job: Annotated[str, typer.Option("--job", metavar="JOB", help="All links of this job.")] = "",
) -> None:
    """Revoke links. When this returns none of them works any more, but on a node that was not reached: which, and until
    when they may work there at most, is told (exit code 6)."""
    run = invocation(ctx)
    if not ids and not job:
        raise UsageError("no link was named", hint="give ids of odctl links ls, or --job JOB")

    async def work(client: DaemonClient) -> Revoked:
        return await client.files.revoke_links(ids or (), job=job)

    done = run.call(work)
    many = done.revoked != 1
    if run.output.is_json or run.output.structured:
        away = [{"node": one.node, "until": one.until} for one in done.not_reached]
        run.output.value({"revoked": done.revoked, "not_reached": away})
    else:
        run.output.line(f"revoked {done.revoked} link{'s' if many else ''}")
    for one in done.not_reached:
        what = "links may work" if many else "link may work"
        text = f"node {one.node} was not reached: the {what} there until {moment(one.until)} at most"
        run.output.note(text, always=not run.output.is_json)
    if done.not_reached:
        raise typer.Exit(ExitCode.PARTIAL)
