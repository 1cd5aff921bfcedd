"""`wait` and `watch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from odctl.cli import show as view
from odctl.cli.app import invocation
from odctl.cli.context import Invocation
from odctl.cli.filters import joined
from odctl.cli.output import check_fields
from odctl.cli.progress import FIELDS as PROGRESS_FIELDS
from odctl.cli.progress import ProgressOpt, check_mode
from odctl.client.errors import UsageError
from odctl.text import clean

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient
    from odctl.client.models import Detail


def wait(
    ctx: typer.Context,
    jobs: Annotated[list[str], typer.Argument(metavar="JOB", help="128, 128-131, a UUID, a hash or @last.")],
    goal: Annotated[str, typer.Option("--for", metavar="WHAT", help="completed or metadata.")] = "completed",
    first: Annotated[bool, typer.Option("--any", help="Until one of them is there.")] = False,
    progress: Annotated[
        str, typer.Option("--progress", metavar="HOW", help="none, auto, bar, plain or jsonl.")
    ] = "none",
) -> None:
    """Wait until jobs end, in silence unless --progress says otherwise; a line for each at the end.

    Exit 0: all completed (with --any one of them); 7: one failed or was cancelled; 8: --timeout passed. Ctrl-C ends
    the waiting, not the jobs.
    """
    run = invocation(ctx)
    check_mode(progress)
    check_fields(run.output.fields, view.JOB_FIELDS)
    from odctl.cli.following import Goal, wait_for

    if goal not in ("completed", "metadata"):
        raise UsageError(f"--for: '{clean(goal)}' is neither completed nor metadata")
    found = resolve_jobs(run, jobs)
    ids = _numbers(found)
    code, ended = wait_for(run, ids, Goal(goal), progress=progress, first=first)
    if run.output.structured or run.output.quiet:
        run.output.records(list(ended.values()), view.JOB_COLUMNS, known=view.JOB_FIELDS)
    else:
        for job in ended.values():
            run.output.line(view.last_line(job))
    raise typer.Exit(code)


def resolve_jobs(run: Invocation, jobs: list[str]) -> list[Detail]:
    """The jobs behind these ids. Raises OdctlError for the first id that names none."""
    from odctl.cli.context import as_error

    async def work(client: DaemonClient) -> list[Detail]:
        from odctl.client.models import Selection

        return await client.get_jobs(Selection(ids=tuple(jobs)))

    found = run.call(work, deadlines=False)
    for detail in found:
        if detail.failure is not None:
            raise as_error(detail.failure, detail.id)
    return found


def watch(
    ctx: typer.Context,
    jobs: Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Default: what is not over.")] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", "-f", metavar="FILTER", help="See odctl help filters; repeat for and."),
    ] = None,
    until: Annotated[str, typer.Option("--until", metavar="WHAT", help="completed or idle.")] = "completed",
    progress: ProgressOpt = "auto",
) -> None:
    """Follow jobs until all of them have ended. Ctrl-C ends the watching, not the jobs."""
    run = invocation(ctx)
    check_mode(progress)
    check_fields(run.output.fields, PROGRESS_FIELDS)
    from odctl.cli.following import Goal, wait_for

    if until not in ("completed", "idle"):
        raise UsageError(f"--until: '{clean(until)}' is neither completed nor idle")
    where = joined(filters)
    if jobs and where:
        raise UsageError("give jobs or a filter, not both")
    ids = _matching(run, where or "state=queued,active") if not jobs else _numbers(resolve_jobs(run, jobs))
    if not ids:
        run.output.note("nothing to watch")
        return
    code, ended = wait_for(run, ids, Goal(until), progress=progress, to_stdout=run.output.is_json)
    for job in ended.values():
        run.output.note(view.last_line(job))
    raise typer.Exit(code)


def _numbers(found: list[Detail]) -> list[int]:
    return [detail.job.id for detail in found if detail.job is not None]


def _matching(run: Invocation, where: str) -> list[int]:
    async def work(client: DaemonClient) -> list[int]:
        jobs, _ = await client.list_jobs(where=where)
        return [job.id for job in jobs]

    return run.call(work, deadlines=False)
