"""`login`, `logout`, `whoami`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from odctl.cli import passwords
from odctl.cli.app import invocation
from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import check_fields
from odctl.client.credentials import API_KEY, INVITATION, STORED, Credential, Keyring, checked, read_token
from odctl.client.endpoints import Choice, find_socket, user_name
from odctl.client.errors import OdctlError, UsageError
from odctl.config import Environment
from odctl.text import clean

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient
    from odctl.client.models import Identity

LOGIN_FIELDS = ("context", "user", "role")
LOGOUT_FIELDS = ("ok", "user")
PASSWORD_STDIN = "--password-stdin"  # noqa: S105 - the name of an option


def login(
    ctx: typer.Context,
    token: Annotated[str, typer.Argument(metavar="[INVITATION]", help="odi_…: makes the account it is for.")] = "",
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="As whom; default: your name here.")] = "",
    email: Annotated[str, typer.Option("--email", metavar="ADDRESS", help="Of the account that is made.")] = "",
    password_stdin: Annotated[bool, typer.Option(PASSWORD_STDIN, help="The password is a line of stdin.")] = False,
    token_file: Annotated[
        str, typer.Option("--token-file", metavar="FILE", help="An API key instead of a password; - is stdin.")
    ] = "",
) -> None:
    """Log in: what odctl does from then on, it does as that user, until logout.

    On the machine of the daemon no login is needed where the uid says who you are: see odctl whoami.
    """
    run = invocation(ctx)
    check_fields(run.output.fields, LOGIN_FIELDS)
    _check_word(token)
    if token and token_file:
        raise UsageError("an invitation and --token-file exclude each other")
    _check_variables()
    # nobody is asked for a password that there is no daemon for
    find_socket(run.choice)
    user = user or user_name()
    credential = _key_in(token_file) if token_file else None
    password = "" if token_file else _password(run, user, new=bool(token), stdin=password_stdin)

    async def work(client: DaemonClient) -> Identity:
        if token:
            await client.accounts.register(user, password, invite=token, email=email)
        got = credential or await client.accounts.login(user, password)
        client.bear(got)
        found = await client.accounts.whoami()
        client.keep(replace(got, user=found.user.name))
        return found

    found = run.call(work, anonymous=True)
    if run.output.structured:
        run.output.value({"context": None, "user": found.user.name, "role": found.user.role})
    else:
        run.output.text(f"logged in as {clean(found.user.name)} ({clean(found.user.role)})")


def _password(run: Invocation, user: str, *, new: bool, stdin: bool) -> str:
    if stdin:
        return passwords.lines(PASSWORD_STDIN)[0]
    if new:
        return passwords.ask_new(run, f"Password for the new account {clean(user)}", PASSWORD_STDIN)
    return passwords.ask(run, f"Password of {clean(user)}", PASSWORD_STDIN)


def _key_in(file: str) -> Credential:
    if file == "-":
        return Credential(secret=checked(passwords.lines("--token-file -")[0].strip(), "--token-file: stdin"))
    return Credential(secret=read_token(Path(file), "--token-file"))


def _check_word(token: str) -> None:
    """Raises UsageError."""
    if not token or token.startswith(INVITATION):
        return
    if token.startswith(API_KEY):
        raise UsageError(
            "an API key does not belong on a command line, where everybody on this machine can read it",
            hint="write it to a file: odctl login --token-file FILE",
        )
    if "://" in token:
        raise UsageError(
            "this version logs in where it reaches the daemon: over the Unix socket", hint="odctl login [--user NAME]"
        )
    raise UsageError(f"'{clean(token[:80])}' is no invitation", hint="to log in as somebody: odctl login --user NAME")


def _check_variables() -> None:
    """Raises OdctlError where a variable would win over what is stored."""
    own = Environment.read()
    for name, value in (("ODCTL_TOKEN", own.token), ("ODCTL_TOKEN_FILE", own.token_file)):
        if value:
            raise OdctlError(
                f"{name} is set and would win over this login", code="CONFLICT", exit_code=ExitCode.REFUSED,
                hint=f"unset {name}",
            )  # fmt: skip


def logout(ctx: typer.Context) -> None:
    """End the login: the session is revoked, and what odctl remembers of it is forgotten.

    An API key is only forgotten: others may use it. Works also when the daemon cannot be reached or refuses.
    """
    run = invocation(ctx)
    check_fields(run.output.fields, LOGOUT_FIELDS)
    keyring = Keyring()
    stored = {path: found for path in run.choice.paths if (found := keyring.stored(f"unix://{path}")) is not None}
    for path, credential in stored.items():
        if not credential.is_key:
            _end_session(run, path, credential)
        with keyring.alone():
            keyring.forget(f"unix://{path}")
    users = sorted({credential.user for credential in stored.values() if credential.user})
    if run.output.structured:
        run.output.value({"ok": True, "user": users[0] if users else None})
    elif not stored:
        run.output.note("nobody was logged in")
    else:
        run.output.text(f"logged out {clean(', '.join(users))}".rstrip())
        if any(credential.is_key for credential in stored.values()):
            run.output.note("the API key still works; its end: odctl apikey revoke NAME")


def _end_session(run: Invocation, path: Path, credential: Credential) -> None:
    async def work(client: DaemonClient) -> None:
        client.bear(credential)
        await client.accounts.logout()

    try:
        run.call(work, Choice(paths=(path,), source=run.choice.source), anonymous=True)
    except OdctlError as error:
        # one that ended already is what was wanted
        if error.code != "UNAUTHENTICATED":
            run.output.note(f"the daemon was not told, and the session ends by itself: {clean(error.message)}")


def whoami(ctx: typer.Context) -> None:
    """Who the daemon takes you for, and how that was proved."""
    run = invocation(ctx)

    async def work(client: DaemonClient) -> dict[str, Any]:
        found = await client.accounts.whoami()
        source = None if client.credential is None else client.credential.source
        return {
            "user": found.user.name,
            "role": found.user.role,
            "auth": found.auth,
            "context": run.choice.context or None,
            "endpoint": client.endpoint,
            "node": client.hello_answer.node if client.hello_answer is not None else None,
            "uid": found.uid,
            "scopes": found.scopes,
            "credential": found.credential,
            "source": source,
        }

    found = run.call(work)
    if run.output.structured:
        run.output.value(found)
    elif run.output.quiet:
        run.output.line(clean(found["user"]))
    else:
        where = f" on {clean(found['node'])}" if found["node"] else ""
        run.output.line(f"{clean(found['user'])} ({clean(found['role'])}) via {_proof(found)}{where}")


def _proof(found: Mapping[str, Any]) -> str:
    if found["auth"] == "peercred":
        return f"unix peer uid {found['uid']}"
    source = "" if found["source"] in (None, STORED) else f" from {found['source']}"
    if found["auth"] == "apikey":
        return f"an API key{source} (scopes: {clean(', '.join(found['scopes']))})"
    return f"an access token{source}" if source else "odctl login"
