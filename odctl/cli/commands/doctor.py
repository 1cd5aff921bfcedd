"""`doctor`: what the client can see, then what the daemon sees of itself."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from odctl import __version__
from odctl.cli.app import invocation
from odctl.cli.checks import Check, of_the_client, of_what_a_daemon_needs
from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import raw_column
from odctl.client.errors import ConnectionLost, OdctlError, Unreachable
from odctl.text import clean

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient
    from odctl.client.models import Hello

FIELDS = ("check", "status", "detail", "hint", "fix")
COLUMNS = tuple(raw_column(name) for name in FIELDS)
MARKS = {"ok": "✓", "warn": "!", "fail": "✗", "skip": "-"}
MOST_SKEW = 5.0
"""Seconds that two clocks may differ before the ends of links surprise people."""
CONNECT_SECONDS = 2.0


def doctor(
    ctx: typer.Context,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what can be mended safely: nothing is installed or deleted.")
    ] = False,
) -> None:
    """Find out what is wrong. Works without a daemon. Exit 0 when nothing failed, else 9.

    For a bug report: odctl doctor --json
    """
    run = invocation(ctx)
    checks = _look(run)
    if fix and _mend(run, checks):
        checks = _look(run)
    if run.output.format in ("table", "wide") and not run.output.fields and not run.output.quiet:
        for check in checks:
            _tell(run, check)
    else:
        records = [{name: getattr(check, name) for name in FIELDS} for check in checks]
        run.output.records(records, COLUMNS, known=FIELDS, ids="check")
    failed = any(check.status == "fail" for check in checks)
    raise typer.Exit(ExitCode.REFUSED if failed else ExitCode.OK)


def _look(run: Invocation) -> list[Check]:
    return [*of_the_client(run.choice), *daemon_checks(run)]


def _mend(run: Invocation, checks: Sequence[Check]) -> bool:
    """Whether anything was mended."""
    done = False
    for check in checks:
        if check.mend is None or check.status not in ("warn", "fail"):
            continue
        try:
            check.mend()
        except (OSError, OdctlError) as error:
            run.output.note(f"odctl: {check.check} could not be fixed: {clean(error)}", always=not run.output.is_json)
        else:
            run.output.note(f"fixed {check.check}: {clean(check.fix or '')}")
            done = True
    return done


def _tell(run: Invocation, check: Check) -> None:
    word = "" if check.status == "ok" else f"{check.status}: "
    mark = run.output.paint(MARKS.get(check.status, "?"), check.status)
    run.output.line(f"{mark} {clean(check.check):<22} {word}{clean(check.detail)}")
    for line in (check.hint, check.fix and f"fix: {check.fix}"):
        if line:
            run.output.line(f"    {clean(line)}")


def daemon_checks(run: Invocation) -> Sequence[Check]:
    try:
        hello, ahead, files_url = run.call(_first_look)
    except OdctlError as error:
        # the socket that is missing or closed to this user has a line of its own
        if isinstance(error, Unreachable):
            skipped = Check(check="daemon", status="skip", detail=error.message, hint=error.hint or None)
            return [skipped, *of_what_a_daemon_needs()]
        hangs = isinstance(error, ConnectionLost) or error.exit_code == ExitCode.TIMEOUT
        detail = f"it takes connections and does not answer: {error.message}" if hangs else error.message
        hint = "its process may be stopped or hang: look at its log, start it again" if hangs else error.hint or None
        return [Check(check="daemon", status="fail", detail=detail, hint=hint)]
    api = f"API {hello.api_major}.{hello.api_minor}"
    detail = f"oddaemon {hello.server_version}, {api}, you are {hello.user} ({hello.role})"
    differs = "client and daemon are of different versions" if hello.server_version != __version__ else None
    seen = [
        Check(check="daemon", status="warn" if differs else "ok", detail=detail, hint=differs),
        clocks(ahead),
        links(files_url),
    ]
    try:
        found = run.call(lambda client: client.upkeep.diagnose())
    except OdctlError as error:
        return [
            *seen, Check(check="daemon's checks", status="skip", detail=error.message, hint=error.hint or None)
        ]  # fmt: skip
    return [*seen, *(Check(**check) for check in found)]


async def _first_look(client: DaemonClient) -> tuple[Hello, float | None, str]:
    """The greeting, by how many seconds the daemon's clock is ahead of ours, and the address of its links."""
    before = datetime.now(UTC)
    hello = await client.hello()
    after = datetime.now(UTC)
    ahead = None if hello.now is None else (hello.now - (before + (after - before) / 2)).total_seconds()
    try:
        return hello, ahead, (await client.status())["server"]["files_url"] or ""
    except OdctlError:
        return hello, ahead, ""  # what ails the daemon, its own checks tell


def clocks(ahead: float | None) -> Check:
    """Links and pauses end by the daemon's clock, and people read them by theirs."""
    if ahead is None:
        return Check(check="clock skew", status="skip", detail="this daemon does not tell its time")
    if abs(ahead) <= MOST_SKEW:
        return Check(check="clock skew", status="ok", detail=f"daemon and client agree within {MOST_SKEW:g} s")
    return Check(
        check="clock skew", status="warn",
        detail=f"the daemon's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine's",
        hint="links end at another time than shown: set the clocks", fix="timedatectl set-ntp true",
    )  # fmt: skip


def links(url: str) -> Check:
    """Whether the address that links have can be reached from here."""
    parts = urlsplit(url)
    if not parts.hostname:
        return Check(check="links", status="skip", detail="this daemon does not tell where its links point")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname, port), CONNECT_SECONDS).close()
    except OSError as error:
        return Check(
            check="links", status="warn", detail=f"{url} cannot be reached from here: {error.strerror or error}",
            hint="get, play and links need it; the daemon listens there by node.file_server_host and _port",
        )  # fmt: skip
    return Check(check="links", status="ok", detail=f"{url} answers")
