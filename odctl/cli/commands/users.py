"""`users …`: accounts, for admins; `users passwd` also for oneself."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from odctl.cli import passwords
from odctl.cli.app import invocation
from odctl.cli.context import Invocation
from odctl.cli.describe import counted
from odctl.cli.output import Column, check_fields
from odctl.client.errors import UsageError
from odctl.client.models import Usage, User, UserLimits
from odctl.text import clean, moment, parse_count, parse_duration, parse_size, size

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

FIELDS = tuple(User.__struct_fields__)
ROLES = ("user", "admin")
DEFAULT, UNLIMITED = ("default", "-"), ("none", "unlimited")
PASSWORD_STDIN = "--password-stdin"  # noqa: S105 - the name of an option
COLUMNS = (
    Column(title="NAME", show=lambda one: one.name, flexible=True),
    Column(title="ROLE", show=lambda one: one.role),
    Column(title="STATE", show=lambda one: "active" if one.active else "disabled"),
    Column(title="UNIX", show=lambda one: one.unix_user or "-"),
    Column(title="RUNNING", show=lambda one: one.jobs_active, right=True),
    Column(title="QUOTA", show=lambda one: limit(one.quota_bytes, size), right=True),
    Column(title="SEEN", show=lambda one: moment(one.last_seen_at)),
    Column(title="EMAIL", show=lambda one: one.email or "-", wide=True),
    Column(title="MADE", show=lambda one: moment(one.created_at), wide=True),
)

NameArg = Annotated[str, typer.Argument(metavar="NAME", help="As odctl users ls -q prints them.")]
UnixOpt = Annotated[str, typer.Option("--unix", metavar="USER", help="A name or uid of the daemon's machine.")]
RoleOpt = Annotated[str, typer.Option("--role", metavar="ROLE", help="user or admin.")]


def limit(value: int | None, show: Callable[[int], object] = str) -> str:
    if value is None:
        return "default"
    return str(show(value)) if value else "no limit"


def ls(ctx: typer.Context) -> None:
    """List the accounts."""
    run = invocation(ctx)
    found = run.call(lambda client: client.accounts.users())
    run.output.records(found, COLUMNS, known=FIELDS, ids="name")


def show(ctx: typer.Context, name: NameArg) -> None:
    """One account and its limits. Its API keys: odctl apikey ls --user NAME"""
    run = invocation(ctx)
    user = run.call(lambda client: client.accounts.user(name))
    if run.output.structured:
        run.output.value(_record(user))
        return
    if run.output.quiet:
        run.output.line(clean(user.name))
        return
    for word, value in _facts(user):
        if value:
            run.output.line(f"{word:<10} {clean(value)}")


def usage(
    ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="[NAME]", help="Default: yourself.")] = ""
) -> None:
    """What a user runs, has and stores, and what the limits allow."""
    run = invocation(ctx)
    found = run.call(lambda client: client.accounts.usage(name))
    if run.output.structured:
        run.output.value({field: getattr(found, field) for field in Usage.__struct_fields__})
        return
    most = found.limits
    ends = f", until {moment(found.day_ends_at)}" if most.served_per_day else ""
    for word, text in (
        ("user", found.user),
        ("running", _of(found.running, most.running)),
        ("jobs", f"{_of(found.jobs, most.jobs)} unfinished"),
        ("stored", _of(found.stored, most.storage, size)),
        ("served", _of(found.served_today, most.served_per_day, size) + f" today{ends}"),
        ("requests", "no limit" if most.requests_per_minute is None
         else _of(found.requests, most.requests_per_minute) + " in the last minute"),
    ):  # fmt: skip
        run.output.line(f"{word:<10} {clean(text)}")


def _of(value: int, most: int | None, shown: Callable[[int], object] = str) -> str:
    return f"{shown(value)}" if most is None else f"{shown(value)} of {shown(most)}"


def _facts(user: User) -> Iterator[tuple[str, str]]:
    yield "name", user.name
    yield "role", user.role
    yield "state", "active" if user.active else "disabled"
    yield "email", user.email or ""
    yield "unix", "" if user.unix_uid is None else f"{user.unix_user} (uid {user.unix_uid})"
    yield "password", "yes" if user.has_password else "none: cannot log in with one"
    yield "running", f"{user.jobs_active} job{'s' if user.jobs_active != 1 else ''}"
    yield "seen", moment(user.last_seen_at)
    yield "made", moment(user.created_at)
    yield "limits", f"{_limits(user)}; in figures: odctl users usage {user.name}"


def _limits(user: User) -> str:
    own = user.limits
    told = [
        f"{name} {limit(value, shown)}"
        for name, value, shown in (
            ("running", own.running, str), ("jobs", own.jobs, str), ("stored", own.storage, size),
            ("served a day", own.served_per_day, size), ("requests a minute", own.requests_per_minute, str),
        )
        if value is not None
    ]  # fmt: skip
    if not told:
        return "as the settings say"
    return ", ".join(told) + ("" if len(told) == len(own.__struct_fields__) else "; the others as the settings say")


def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits and _ . - only.")] = "",
    role: RoleOpt = "user",
    unix: UnixOpt = "",
    email: Annotated[str, typer.Option("--email", metavar="ADDRESS", help="For people to know whose it is.")] = "",
    password_stdin: Annotated[bool, typer.Option(PASSWORD_STDIN, help="The password is a line of stdin.")] = False,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="For a program: only API keys, or a uid, get in.")
    ] = False,
    invite: Annotated[
        bool, typer.Option("--invite", help="Make nothing but an invitation: who has it makes the account, once.")
    ] = False,
    ttl: Annotated[str, typer.Option("--ttl", metavar="DURATION", help="Of the invitation; default: 24h.")] = "",
) -> None:
    """Add an account, or invite somebody to make one. The password is asked for, unless --unix says who it is.

    Examples:  odctl users add maya    odctl users add maya --unix maya    odctl users add --invite
    """
    run = invocation(ctx)
    check_fields(run.output.fields, ("user", "invite"))
    _check_role(role)
    if invite:
        if unix or email or password_stdin or no_password:
            raise UsageError("--invite goes with --role and --ttl alone: who is invited chooses the rest")
        _invite(run, name, role, parse_duration(ttl, "--ttl") if ttl else 0.0)
        return
    if not name:
        raise UsageError("an account needs a name", hint="odctl users add NAME      or invite somebody: --invite")
    if ttl:
        raise UsageError("--ttl is how long an invitation lives", hint="add --invite")
    if password_stdin and no_password:
        raise UsageError(f"{PASSWORD_STDIN} and --no-password exclude each other")
    password = ""
    if password_stdin:
        (password,) = passwords.lines(PASSWORD_STDIN)
    elif not (no_password or unix):
        password = passwords.ask_new(run, f"Password of {clean(name)}", f"{PASSWORD_STDIN}, or add --no-password")
    user = run.call(
        lambda client: client.accounts.add_user(name, role=role, email=email, password=password, unix_user=unix)
    )
    if run.output.structured:
        run.output.value({"user": user, "invite": None})
    elif run.output.quiet:
        run.output.line(clean(user.name))
    else:
        linked = f", linked with {clean(user.unix_user)}" if user.unix_user else ""
        run.output.line(f"added {clean(user.name)} ({clean(user.role)}){linked}")


def _invite(run: Invocation, name: str, role: str, ttl_s: float) -> None:
    token, expires_at = run.call(lambda client: client.accounts.invite(role=role, ttl_s=ttl_s))
    if run.output.structured:
        run.output.value({"user": None, "invite": token})
        return
    run.output.line(token)
    as_whom = f" --user {clean(name)}" if name else " --user NAME"
    run.output.note(f"good once, for whoever has it, until {moment(expires_at)}: odctl login {token}{as_whom}")


def passwd(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose; default: your own.")] = "",
    stdin: Annotated[
        bool, typer.Option("--stdin", help="The new password is a line of stdin; before it the old one, if asked.")
    ] = False,
) -> None:
    """Set a password. Sessions, API keys and links of that user end.

    Your own needs the old one, unless the daemon knows you by your uid. Who runs the daemon needs none: that is how a
    forgotten one is replaced.
    """
    run = invocation(ctx)
    check_fields(run.output.fields, ("ok", "ended"))
    old = ""
    needs_old = not name and run.call(_proved_by_password)
    if stdin:
        *before, new = passwords.lines("--stdin", 2 if needs_old else 1)
        old = before[0] if before else ""
    else:
        if needs_old:
            old = passwords.ask(run, "Your password until now", "--stdin")
        new = passwords.ask_new(run, f"New password of {clean(name)}" if name else "Your new password", "--stdin")

    async def work(client: DaemonClient) -> dict[str, int]:
        if name:
            return (await client.accounts.set_password(name, new))[1]
        ended = await client.accounts.set_own_password(old, new)
        if client.credential is not None and client.credential.refresh_token:
            # the login ended with the old password
            user = client.credential.user
            client.keep(await client.accounts.login(user, new))
        return ended

    ended = run.call(work)
    if run.output.structured:
        run.output.value({"ok": True, "ended": ended})
    else:
        run.output.text(f"the password is set{_told(ended)}")


async def _proved_by_password(client: DaemonClient) -> bool:
    return (await client.accounts.whoami()).auth != "peercred"


def role(
    ctx: typer.Context,
    name: NameArg,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="admin or user.")],
) -> None:
    """Make somebody an admin, or a user again. Sessions, API keys and links of that user end."""
    run = invocation(ctx)
    _check_role(role)
    _ending(run, lambda client: client.accounts.set_role(name, role), f"is {role} now")


def disable(ctx: typer.Context, name: NameArg) -> None:
    """Lock somebody out: sessions, API keys and links end within a second. Jobs go on."""
    _ending(invocation(ctx), lambda client: client.accounts.set_active(name, False), "is disabled")


def enable(ctx: typer.Context, name: NameArg) -> None:
    """Let somebody in again. Sessions and links that ended are not back."""
    _ending(invocation(ctx), lambda client: client.accounts.set_active(name, True), "is enabled")


def rm(
    ctx: typer.Context,
    name: NameArg,
    keep_jobs: Annotated[bool, typer.Option("--keep-jobs", help="The jobs become yours.")] = False,
) -> None:
    """Remove an account with its jobs, API keys and links."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)
    jobs = "whose jobs become yours" if keep_jobs else "with all jobs, and the files that nobody else needs"
    if run.interactive and not run.yes:
        run.call(lambda client: client.accounts.user(name))  # nobody is asked about one that there is not
    run.confirm(f"remove {clean(name)}, {jobs}")
    _change(run, lambda client: client.accounts.remove_user(name, keep_jobs=keep_jobs), "is removed")


def link(
    ctx: typer.Context,
    name: NameArg,
    unix: UnixOpt = "",
    none: Annotated[bool, typer.Option("--none", help="Nobody acts as this account by the uid any more.")] = False,
) -> None:
    """Let a user of the daemon's machine act as this account, without a password."""
    if bool(unix) == none:
        raise UsageError("whom is it to be linked with?", hint="give --unix USER, or --none to end a link")
    done = f"is linked with {clean(unix)}" if unix else "is linked with nobody"
    _change(invocation(ctx), lambda client: client.accounts.link_user(name, unix), done)


def quota(
    ctx: typer.Context,
    name: NameArg,
    storage: Annotated[str, typer.Argument(metavar="[SIZE]", help="Of what may be stored, as in 500G.")] = "",
    running: Annotated[str, typer.Option("--running", metavar="N", help="Downloads at a time.")] = "",
    jobs: Annotated[str, typer.Option("--jobs", metavar="N", help="Jobs altogether.")] = "",
    served: Annotated[str, typer.Option("--served", metavar="SIZE", help="Bytes served in a day.")] = "",
    requests: Annotated[str, typer.Option("--requests", metavar="N", help="Requests in a minute.")] = "",
    reset: Annotated[bool, typer.Option("--reset", help="Those that are not named become the setting's.")] = False,
) -> None:
    """Set limits of one user; those that are not named stay. For each: a value, none, or default for the setting's.

    Examples:  odctl users quota maya 500G    odctl users quota maya --running 2 --served none
               odctl users quota maya --reset
    """
    run = invocation(ctx)
    changes: dict[str, int | None] = dict.fromkeys(UserLimits.__struct_fields__) if reset else {}
    for key, text, what, parse in (
        ("storage", storage, "SIZE", parse_size), ("running", running, "--running", _count),
        ("jobs", jobs, "--jobs", _count), ("served_per_day", served, "--served", parse_size),
        ("requests_per_minute", requests, "--requests", _count),
    ):  # fmt: skip
        if text:
            changes[key] = None if text in DEFAULT else 0 if text in UNLIMITED else parse(text, what)
    if not changes:
        raise UsageError("no limit was given", hint="as in: odctl users quota NAME 500G --running 2, or --reset")
    user = _change(run, lambda client: client.accounts.set_limits(name, changes), "")
    if not (run.output.structured or run.output.quiet):
        run.output.line(f"{clean(user.name)}: {_limits(user)}")


def _count(text: str, what: str) -> int:
    return parse_count(text, what, hint="write a number, none or default")


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise UsageError(f"'{clean(role)}' is no role", hint="admin or user")


def _change(
    run: Invocation, work: Callable[[DaemonClient], Coroutine[Any, Any, User]], done: str
) -> User:  # fmt: skip
    check_fields(run.output.fields, FIELDS)
    return _show(run, run.call(work), done)


def _ending(
    run: Invocation, work: Callable[[DaemonClient], Coroutine[Any, Any, tuple[User, dict[str, int]]]], done: str
) -> None:  # fmt: skip
    check_fields(run.output.fields, FIELDS)
    user, ended = run.call(work)
    _show(run, user, done + _told(ended))


def _told(ended: Mapping[str, int]) -> str:
    some = {kind: count for kind, count in ended.items() if count}
    return f"; ended: {counted(some)}" if some else ""


def _show(run: Invocation, user: User, done: str) -> User:
    if run.output.structured:
        run.output.value(_record(user))
    elif run.output.quiet:
        run.output.line(clean(user.name))
    elif done:
        run.output.line(f"{clean(user.name)} {done}")
    return user


def _record(user: User) -> Mapping[str, Any]:
    return {name: getattr(user, name) for name in FIELDS}
