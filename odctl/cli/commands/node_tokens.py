"""`nodes token …`: what lets other machines join."""

from __future__ import annotations

from typing import Annotated

import typer

from odctl.cli.app import invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import Column, check_fields
from odctl.client.errors import OdctlError, UsageError
from odctl.client.models import NodeToken
from odctl.text import clean, moment, parse_duration

FIELDS = tuple(NodeToken.__struct_fields__)
MADE_FIELDS = ("id", "token", "expires_at", "command", "name", "reusable")
COLUMNS = (
    Column(title="ID", show=lambda one: one.id),
    Column(title="FOR", show=lambda one: one.name or ("any number" if one.reusable else "one node")),
    Column(title="STATE", show=lambda one: one.state),
    Column(title="EXPIRES", show=lambda one: moment(one.expires_at)),
    Column(title="USED", show=lambda one: moment(one.used_at) if one.uses else "never"),
    Column(title="USES", show=lambda one: one.uses, right=True, wide=True),
    Column(title="MADE", show=lambda one: moment(one.created_at), wide=True),
    Column(title="BY", show=lambda one: one.created_by or "-", wide=True),
)


def create(
    ctx: typer.Context,
    ttl: Annotated[
        str, typer.Option("--ttl", metavar="DURATION", help="How long it lets somebody in; default: 24h.")
    ] = "",
    name: Annotated[
        str,
        typer.Option("--name", metavar="NODE", help="Whoever joins with it gets this name; default: its host name."),
    ] = "",
    reusable: Annotated[
        bool, typer.Option("--reusable", help="For any number of machines, until it expires; default: for one.")
    ] = False,
) -> None:
    """Make a join token, and print the command to paste on the other machine: this once.

    The token tells the other machine by which certificate to know this one. Whoever has it can join, once.

    Examples:  odctl nodes token create --name attic    odctl nodes token create --reusable --ttl 1h
    """
    run = invocation(ctx)
    check_fields(run.output.fields, MADE_FIELDS)
    if name and reusable:
        raise UsageError("--name is for one node: it does not go with --reusable")
    ttl_s = parse_duration(ttl, "--ttl") if ttl else 0.0
    token, word, command = run.call(
        lambda client: client.nodes.create_token(ttl_s=ttl_s, name=name, reusable=reusable)
    )
    if run.output.structured:
        run.output.value(
            {
                "id": token.id, "token": word, "expires_at": token.expires_at, "command": command, "name": token.name,
                "reusable": token.reusable,
            }
        )  # fmt: skip
        return
    run.output.line(word if run.output.quiet else command)
    for_whom = "for any number of machines" if reusable else "for one machine"
    run.output.note(f"good {for_whom} until {moment(token.expires_at)}; end it: odctl nodes token revoke {token.id}")


def ls(ctx: typer.Context) -> None:
    """List join tokens, without the secret part: that was shown when they were made."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)
    found = run.call(lambda client: client.nodes.tokens())
    run.output.records(found, COLUMNS, known=FIELDS, none="no join tokens; make one: odctl nodes token create")


def revoke(
    ctx: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="As odctl nodes token ls prints them.")],
) -> None:
    """End join tokens. Nobody joins with them any more; who did, stays."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)
    ended: list[NodeToken] = []
    failed = 0
    for token_id in ids:
        try:
            ended.append(run.call(lambda client, token_id=token_id: client.nodes.revoke_token(token_id)))  # type: ignore[misc]
        except OdctlError as error:
            if len(ids) == 1:
                raise
            run.output.error(error)
            failed += 1
    if run.output.structured or run.output.quiet:
        run.output.records(ended, COLUMNS, known=FIELDS)
    else:
        for token in ended:
            run.output.text(f"revoked {clean(token.id)}")
    if failed:
        raise typer.Exit(ExitCode.PARTIAL if ended else ExitCode.NOT_FOUND)
