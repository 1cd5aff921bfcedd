"""`ls` and `show`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from odctl.cli import show as view
from odctl.cli import watch_option
from odctl.cli.app import invocation
from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.filters import joined, quoted
from odctl.cli.output import Column
from odctl.cli.pager import paged
from odctl.client.errors import OdctlError, UsageError
from odctl.client.models import Detail, Job
from odctl.text import clean, rate

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

OPTIONAL = {"ls": watch_option.OPTIONAL}

FiltersArg = Annotated[
    list[str] | None, typer.Argument(metavar="FILTER", help="field=value; see odctl help filters.")
]
SortOpt = Annotated[
    str, typer.Option("--sort", "-s", metavar="FIELDS", help="As in '!size,name': ! is down; else attention.")
]
ColumnsOpt = Annotated[
    str, typer.Option("--columns", metavar="A,B", help="Only these fields, as the list shows them.")
]


def ls(
    ctx: typer.Context,
    filters: FiltersArg = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="Also what ended more than seven days ago.")] = False,
    sort: SortOpt = "",
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="At most so many.")] = None,
    offset: Annotated[int, typer.Option("--offset", metavar="N", help="Skip so many.")] = 0,
    columns: ColumnsOpt = "",
    mine: Annotated[bool, typer.Option("--mine", help="Only my own jobs.")] = False,
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Only this user's jobs.")] = "",
    summary: Annotated[bool, typer.Option("--summary", help="Only the totals.")] = False,
    watch: watch_option.WatchOpt = None,
) -> None:
    """List jobs: what runs, what is held or failed, what waits in its turn, what ended.

    With --sort '!id' the newest first.

    Examples:  odctl ls state=active    odctl ls -a --sort '!size' --limit 20    odctl ls --fields id,name -o csv
    """
    run = invocation(ctx)
    if limit is not None and limit < 1:
        raise UsageError("--limit has to be at least 1")
    if offset < 0:
        raise UsageError("--offset cannot be negative")
    shown = _chosen_columns(run, columns) if columns else view.JOB_COLUMNS
    where = joined([" ".join(filters or ())], f"user={quoted(user)}" if user else "")
    if watch is not None:
        from odctl.cli.following import check_watched, watch_list

        check_watched(limit)
        raise typer.Exit(
            watch_list(
                run, where=where, sort=sort, offset=offset, limit=limit, every=every, mine=mine,
                interval_ms=round(watch_option.seconds(watch) * 1000), columns=shown,
            )
        )  # fmt: skip

    async def work(client: DaemonClient) -> tuple[list[Job], int, str, str]:
        me = client.hello_answer.user if client.hello_answer is not None else ""
        text = joined([where], "mine") if mine else where
        jobs, total = await client.list_jobs(where=text, sort=sort, offset=offset, limit=limit, old=every)
        return jobs, total, me, "" if total or user in ("", me) else await _unknown(client, user)

    jobs, total, me, unknown = run.call(work)
    if unknown:
        run.output.note(f"odctl: {unknown}", always=True)
    if summary:
        _summary(run, jobs, total)
        return
    run.output.records(jobs, shown if columns else view.with_owners(shown, jobs, me), known=view.JOB_FIELDS)
    if run.output.format in ("table", "wide"):
        none = "no job fits" if where or mine else "no jobs; add one: odctl add SOURCE"
        run.output.note(view.totals(jobs, total) if total else none)


async def _unknown(client: DaemonClient, user: str) -> str:
    """What to say of a user that there is not; nothing to who may not know."""
    try:
        await client.accounts.user(user)
    except OdctlError as error:
        return clean(error.message) if error.exit_code == ExitCode.NOT_FOUND else ""
    return ""


def _chosen_columns(run: Invocation, columns: str) -> Sequence[Column]:
    """Of a table; in the other formats they narrow the fields."""
    names = tuple(name.strip() for name in columns.split(",") if name.strip())
    shown = view.job_columns(names)
    if run.output.format not in ("table", "wide"):
        run.output.fields = names
    return shown


def _summary(run: Invocation, jobs: list[Job], total: int) -> None:
    states: dict[str, int] = {}
    for job in jobs:
        states[job.shown_state] = states.get(job.shown_state, 0) + 1
    down, up = view.speed_of(jobs)
    if run.output.structured:
        run.output.value({"total": total, "states": states, "rate_down": down, "rate_up": up})
        return
    words = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    count = f"{total} job{'s' if total != 1 else ''}"
    run.output.line(f"{count}: {words or 'none'}; {rate(down)} down, {rate(up)} up")


def show(
    ctx: typer.Context,
    jobs: Annotated[list[str], typer.Argument(metavar="JOB", help="128, 128-131, a UUID, a hash or @last.")],
    files: Annotated[bool, typer.Option("--files", help="With its files.")] = False,
    peers: Annotated[bool, typer.Option("--peers", help="With its peers.")] = False,
    log: Annotated[int, typer.Option("--log", metavar="N", help="With its last N log lines.")] = 0,
    raw: Annotated[bool, typer.Option("--raw", help="With what the engine itself says of it (engine_raw).")] = False,
) -> None:
    """Everything about a job: state, reason, speed, placement, limits."""
    run = invocation(ctx)
    if log < 0:
        raise UsageError("--log cannot be negative")

    async def work(client: DaemonClient) -> tuple[list[Detail], dict[int, list[dict[str, Any]]]]:
        from odctl.client.models import Selection

        found = await client.get_jobs(Selection(ids=tuple(jobs)), files=files, peers=peers, raw=raw)
        logs: dict[int, list[dict[str, Any]]] = {}
        for detail in found if log else []:
            if detail.job is not None:
                lines = client.logs(job=str(detail.job.id), lines=log, follow=False, level="", since=None)
                logs[detail.job.id] = [line async for line in lines]
        return found, logs

    found, logs = run.call(work)
    there = [detail for detail in found if detail.job is not None]
    if run.output.format in ("table", "wide", "plain") and not run.output.fields and not run.output.quiet:
        from odctl.cli.commands.events import log_text

        with paged(run.output):
            for at, detail in enumerate(there):
                if at:
                    run.output.line()
                view.details(run.output, detail, files=files, peers=peers, raw=raw)
                for line in logs.get(detail.job.id, []) if detail.job else []:
                    run.output.line("  " + log_text(line, run.output))
    else:
        records = [view.full_record(detail, files=files, peers=peers, raw=raw) for detail in there]
        for record in records if log else []:
            record["log"] = logs.get(record["id"], [])
        run.output.records(records, (), known=view.JOB_FIELDS if not records else ())
    failed = [(detail.id, detail.failure) for detail in found if detail.failure is not None]
    raise typer.Exit(run.report(failed, len(found)))
