"""`users sessions`, `users invitations`, `users revoke`: what is open at the moment, and ending it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from odctl.cli.app import invocation
from odctl.cli.describe import counted
from odctl.cli.output import Column, check_fields
from odctl.client.errors import UsageError
from odctl.client.models import REVOKED, Invitation, Session
from odctl.text import clean, moment

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

SESSION_COLUMNS = (
    Column(title="ID", show=lambda one: one.id),
    Column(title="SINCE", show=lambda one: moment(one.created_at)),
    Column(title="EXPIRES", show=lambda one: moment(one.expires_at)),
    Column(title="THIS", show=lambda one: "yes" if one.current else "-"),
)
INVITATION_COLUMNS = (
    Column(title="ID", show=lambda one: one.id),
    Column(title="ROLE", show=lambda one: one.role),
    Column(title="BY", show=lambda one: one.invited_by, flexible=True),
    Column(title="EXPIRES", show=lambda one: moment(one.expires_at)),
    Column(title="MADE", show=lambda one: moment(one.created_at), wide=True),
)


def sessions(
    ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="[NAME]", help="Default: yourself.")] = ""
) -> None:
    """List the open sessions of a user: the logins. One is ended by: odctl users revoke --session ID"""
    run = invocation(ctx)
    found = run.call(lambda client: client.accounts.sessions(name))
    run.output.records(
        found, SESSION_COLUMNS, known=tuple(Session.__struct_fields__), ids="id", none="no open sessions"
    )


def invitations(ctx: typer.Context) -> None:
    """List the invitations that nobody has used. One is revoked by: odctl users revoke --invitation ID"""
    run = invocation(ctx)
    found = run.call(lambda client: client.accounts.invitations())
    run.output.records(
        found, INVITATION_COLUMNS, known=tuple(Invitation.__struct_fields__), ids="id", none="no open invitations"
    )


SessionOpt = Annotated[
    str, typer.Option("--session", metavar="ID", help="Only this session, as odctl users sessions prints it.")
]
InvitationOpt = Annotated[
    str, typer.Option("--invitation", metavar="ID", help="Only this one, as odctl users invitations prints it.")
]


def revoke(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Everybody's.")] = False,
    secret: Annotated[
        bool,
        typer.Option("--rotate-secret", help="Also sign links and access tokens with new keys: no earlier one works."),
    ] = False,
    session: SessionOpt = "",
    invitation: InvitationOpt = "",
) -> None:
    """End every session, API key, link and invitation of a user, or of all. Your own without being an admin.

    Or single ones:  odctl users revoke --session ID    odctl users revoke --invitation ID
    """
    run = invocation(ctx)
    check_fields(run.output.fields, REVOKED)
    _check_whose(name, session, invitation, every=every, secret=secret)
    if every:
        run.confirm("end the sessions, API keys and links of everybody, yours included")

    async def work(client: DaemonClient) -> tuple[bool, dict[str, int]]:
        # first: what is made with the old one meanwhile must not live
        tokens = await client.accounts.rotate_secret() if secret else True
        if session:
            await client.accounts.end_session(session)
        if invitation:
            await client.accounts.revoke_invitation(invitation)
        if name or every:
            return tokens, await client.accounts.revoke_everything(name, all_users=every)
        single = {"sessions": int(bool(session)), "invitations": int(bool(invitation))}
        return tokens, dict.fromkeys(REVOKED, 0) | single

    tokens, ended = run.call(work)
    if not tokens:
        run.output.note("access tokens are signed with auth.jwt_secret as before: change it in the configuration")
    if run.output.structured:
        run.output.value(ended)
        return
    if secret:
        run.output.text(f"{'links and access tokens' if tokens else 'links'} are signed with a new key")
    if session or invitation:
        run.output.text(f"ended: the {'session' if session else 'invitation'}")
    if name or every:
        run.output.text(f"ended of {clean(name) or 'everybody'}: {counted(ended)}")


def _check_whose(name: str, session: str, invitation: str, *, every: bool, secret: bool) -> None:
    """Raises UsageError unless it is one thing or one user's, or everybody's."""
    if name and every:
        raise UsageError("NAME and --all exclude each other")
    if sum(map(bool, (session, invitation, name or every or secret))) > 1:
        raise UsageError("--session and --invitation name the one thing that is to end: nothing else goes with them")
    if not (name or every or secret or session or invitation):
        raise UsageError("whose?", hint="name a user, or give --all, --session ID or --invitation ID")
