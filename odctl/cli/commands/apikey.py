"""`apikey …`: secrets for programs. Each is shown once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from odctl.cli.app import invocation
from odctl.cli.context import Invocation
from odctl.cli.output import Column, check_fields
from odctl.client.errors import UsageError
from odctl.client.models import ApiKey
from odctl.text import clean, moment, parse_duration

FIELDS = tuple(ApiKey.__struct_fields__)
SECRET_FIELDS = ("id", "key", "scopes", "expires_at", "name", "user")
SCOPES = ("read", "jobs", "admin")
COLUMNS = (
    Column(title="NAME", show=lambda one: one.name, flexible=True),
    Column(title="SCOPES", show=lambda one: ",".join(one.scopes)),
    Column(title="EXPIRES", show=lambda one: "never" if one.expires_at is None else moment(one.expires_at)),
    Column(title="USED", show=lambda one: moment(one.last_used_at)),
    Column(title="USER", show=lambda one: one.user, wide=True),
    Column(title="MADE", show=lambda one: moment(one.created_at), wide=True),
    Column(title="ID", show=lambda one: one.id, wide=True),
)

KeyArg = Annotated[str, typer.Argument(metavar="NAME", help="Its name or id, as odctl apikey ls prints them.")]
ExpiresOpt = Annotated[str, typer.Option("--expires", metavar="WHEN", help="As in 90d or 2027-01-31.")]
UserOpt = Annotated[str, typer.Option("--user", metavar="NAME", help="Admins: whose; default: yours.")]


def ls(ctx: typer.Context, user: UserOpt = "") -> None:
    """List API keys, without the secret part: that was shown when they were made."""
    run = invocation(ctx)
    found = run.call(lambda client: client.accounts.api_keys(user))
    run.output.records(found, COLUMNS, known=FIELDS, ids="name", none="no API keys; make one: odctl apikey create NAME")


def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="For what it is: sonarr, phone.")],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", "-s", metavar="SCOPE", help="read, jobs (the default) or admin; may be repeated."),
    ] = None,
    expires: ExpiresOpt = "",
    user: UserOpt = "",
) -> None:
    """Make an API key, and print it: this once. Without --expires it is good for ever.

    read: look at what is yours. jobs: also add and change it, and make links. admin: all that you may do.
    """
    run = invocation(ctx)
    check_fields(run.output.fields, SECRET_FIELDS)
    scopes = [word.strip() for text in scope or ["jobs"] for word in text.split(",") if word.strip()]
    for word in scopes:
        if word not in SCOPES:
            raise UsageError(f"--scope: '{clean(word)}' is none of " + ", ".join(SCOPES))
    at = _moment(expires) if expires else None
    _tell(run, *run.call(lambda client: client.accounts.create_api_key(name, scopes, at, user)))


def rotate(ctx: typer.Context, name: KeyArg, expires: ExpiresOpt = "", user: UserOpt = "") -> None:
    """Give an API key a new secret, and print it: this once. The old one ends at once, and its user's links.

    One that has expired needs a new --expires.
    """
    run = invocation(ctx)
    check_fields(run.output.fields, SECRET_FIELDS)
    at = _moment(expires) if expires else None
    _tell(run, *run.call(lambda client: client.accounts.rotate_api_key(name, at, user)))


def revoke(ctx: typer.Context, name: KeyArg, user: UserOpt = "") -> None:
    """End an API key, and its user's links. What uses it is refused at once."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)
    key = run.call(lambda client: client.accounts.revoke_api_key(name, user))
    if run.output.structured:
        run.output.value({field: getattr(key, field) for field in FIELDS})
    else:
        run.output.text(f"revoked {clean(key.name)}")


def _moment(text: str) -> datetime:
    """Raises UsageError for what is no time to come."""
    now = datetime.now(UTC)
    try:
        at = datetime.fromisoformat(text.strip()).astimezone(UTC)
    except ValueError:
        try:
            at = now + timedelta(seconds=parse_duration(text, "--expires"))
        except UsageError:
            raise UsageError(
                f"--expires: '{clean(text)}' is neither a duration nor a date", hint="write 90d or 2027-01-31"
            ) from None
    if at <= now:
        raise UsageError(f"--expires: '{clean(text)}' is over already", hint="write 90d or 2027-01-31")
    return at


def _tell(run: Invocation, key: ApiKey, secret: str) -> None:
    if run.output.structured:
        record: dict[str, Any] = {field: getattr(key, field) for field in SECRET_FIELDS if field != "key"}
        run.output.value({field: secret if field == "key" else record[field] for field in SECRET_FIELDS})
        return
    run.output.line(secret)
    until = "does not expire" if key.expires_at is None else f"expires {moment(key.expires_at)}"
    run.output.note(f"{clean(key.name)} ({clean(', '.join(key.scopes))}) {until}; it is not shown again")
