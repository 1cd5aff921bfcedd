"""`events` and `logs`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from odctl.cli.app import invocation
from odctl.cli.context import Invocation
from odctl.cli.filters import joined
from odctl.cli.output import Output, check_fields, dumps
from odctl.cli.pager import paged
from odctl.client.endpoints import find_socket
from odctl.client.errors import UsageError
from odctl.client.models import Event
from odctl.text import clean, moment, parse_count, parse_time

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

LEVELS = ("debug", "info", "warn", "error")
"""As the log and the setting logging.level call them."""
ALSO = {"warning": "warn", "critical": "error"}
"""As other programs call them."""
MOST_LINES = 10_000
"""Of the log that are asked for after a lost connection: as many as the daemon gives."""
EVENT_FIELDS = tuple(Event.__struct_fields__)
LOG_FIELDS = ("ts", "level", "event", "job", "node", "msg")


def events(
    ctx: typer.Context,
    types: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="As in job.* or cache.hit; repeat.")
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", "-f", metavar="FILTER",
            help="By type, job, node, user, seq and age, see odctl help filters; repeat for and.",
        ),
    ] = None,
    since: Annotated[str, typer.Option("--since", metavar="SEQ|TIME", help="From there; default: from now.")] = "",
    no_follow: Annotated[
        bool,
        typer.Option(
            "--no-follow", help="End with the last there is; without --since, begin with the first that is kept.",
        ),
    ] = False,
) -> None:
    """What happened and what happens, one event a line. After a lost connection it goes on where it was.

    Examples:  odctl events --type 'job.*' --since 1h    odctl events --since 0 --no-follow --json
    """
    run = invocation(ctx)
    check_fields(run.output.fields, EVENT_FIELDS)
    seq, time = _since(since)
    if no_follow and not since:
        seq = 0
    import asyncio

    with paged(run.output) if no_follow and not run.output.structured else nullcontext():
        asyncio.run(_events(run, types or [], joined(filters), seq, time, follow=not no_follow))


def _since(text: str) -> tuple[int | None, datetime | None]:
    if not text:
        return None, None
    if text.isascii() and text.isdigit():
        return parse_count(text, "--since"), None
    return None, parse_time(text, "--since", datetime.now(UTC))


async def _events(
    run: Invocation,
    types: list[str],
    where: str,
    seq: int | None,
    time: datetime | None,
    *,
    follow: bool,
) -> None:
    from odctl.cli.following import connector, tellers
    from odctl.client.watching import lasting

    def stream(client: DaemonClient) -> AsyncGenerator[Event | int, None]:
        return client.events(since_seq=seq, since_time=time, types=types, where=where, follow=follow)

    async def once() -> AsyncGenerator[Event | int, None]:
        async with run.client(deadlines=False) as client, aclosing(stream(client)) as items:
            async for item in items:
                yield item

    async with aclosing(lasting(connector(run), stream, *tellers(run)) if follow else once()) as events:
        async for event in events:
            if isinstance(event, int):
                run.output.note(f"odctl: events before {event} are not kept any more", always=True)
                continue
            if event.seq:
                seq, time = event.seq, None
            _tell_event(run, event)


def _tell_event(run: Invocation, event: Event) -> None:
    output = run.output
    if output.structured:
        output.stream(event, EVENT_FIELDS)
    elif output.quiet:
        output.line(str(event.seq))
    else:
        kind = output.paint(clean(event.type), event.type.rpartition(".")[2])
        where = " ".join(
            clean(part)
            for part in (
                "" if event.job is None else f"job {event.job}", event.node or "",
                " ".join(f"{key}={_short(value)}" for key, value in _pairs(event.data)),
            )
            if part
        )  # fmt: skip
        output.line(f"{event.seq:>6}  {output.paint(moment(event.ts), 'dim')} {kind} {where}".rstrip())
    output.out.flush()


def _pairs(data: object) -> list[tuple[str, Any]]:
    return list(data.items()) if isinstance(data, Mapping) else []


def _short(value: object) -> str:
    text = value if isinstance(value, str) else dumps(value)
    return text if len(text) <= 80 else text[:79] + "…"


def logs(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Without it: the daemon's log.")] = "",
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", help="So many of the last lines.")] = 100,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with new lines.")] = False,
    level: Annotated[str, typer.Option("--level", metavar="LEVEL", help="At least: " + ", ".join(LEVELS))] = "",
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="2026-01-31T12:00 or 2h.")] = "",
    node: Annotated[str, typer.Option("--node", metavar="NAME", help="Only of this node.")] = "",
) -> None:
    """The daemon's log, or what it says of one job."""
    run = invocation(ctx)
    least = ALSO.get(level.lower(), level.lower())
    if least and least not in LEVELS:
        raise UsageError(f"--level: '{clean(level)}' is none of " + ", ".join(LEVELS))
    if lines < 0:
        raise UsageError("--lines cannot be negative", hint="-n 0 --follow prints only what is new")
    start = parse_time(since, "--since", datetime.now(UTC)) if since else None

    def show(line: Mapping[str, Any]) -> None:
        if run.output.structured:
            run.output.stream(line, LOG_FIELDS, open_ended=True)
        else:
            run.output.line(log_text(line, run.output))
            run.output.out.flush()

    async def work(client: DaemonClient) -> None:
        async for line in client.logs(job=job, lines=lines, follow=False, level=least, since=start, node=node):
            show(line)

    async def go_on() -> None:
        from odctl.cli.following import connector, tellers
        from odctl.client.watching import lasting

        most, since, asked = lines, start, False

        def stream(client: DaemonClient) -> AsyncGenerator[dict[str, Any], None]:
            nonlocal most, since, asked
            if asked and not lines:
                # none was wanted of those before the beginning; of those after it none may be missed
                most, since = MOST_LINES, since or begun
            asked = True
            return client.logs(job=job, lines=most, follow=True, level=least, since=since, node=node)

        begun = datetime.now(UTC)
        async with aclosing(lasting(connector(run), stream, *tellers(run))) as items:
            async for line in items:
                show(line)
                # what comes after a lost connection goes on from here
                most, since = MOST_LINES, (line["ts"] or begun) + timedelta(microseconds=1)

    if follow:
        find_socket(run.choice)
        import asyncio

        asyncio.run(go_on())
        return
    with nullcontext() if run.output.structured else paged(run.output):
        run.call(work)


def log_text(line: Mapping[str, Any], output: Output) -> str:
    """One line of the log for people."""
    rest = " ".join(f"{key}={_short(value)}" for key, value in line.items() if key not in LOG_FIELDS)
    job = "" if line["job"] is None else f"job={line['job']}"
    level = clean(line["level"] or "")
    when, word = output.paint(moment(line["ts"]), "dim"), output.paint(f"{level:<7}", level)
    parts = (line["msg"] or line["event"] or "", job, rest)
    return "  ".join([when, word, *(clean(part) for part in parts if part)])
