"""`pause`, `resume`, `cancel`, `retry`, `rm` and `set`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from odctl.cli import show as view
from odctl.cli.app import invocation
from odctl.cli.context import Invocation
from odctl.cli.filters import joined
from odctl.cli.output import check_fields
from odctl.client.errors import UsageError
from odctl.sources import parse_options
from odctl.text import clean, parse_duration, size

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient
    from odctl.client.models import Outcome, Selection

Change = Callable[["DaemonClient", "Selection", bool], Awaitable[list["Outcome"]]]
REMOVED = ("id", "freed_bytes")
_CHANGE = re.compile(r"[a-z_]+[+-]?=.*", re.DOTALL)

JobsArg = Annotated[list[str] | None, typer.Argument(metavar="JOB", help="128, 128-131, a UUID, a hash or @last.")]
FilterOpt = Annotated[
    list[str] | None,
    typer.Option("--filter", "-f", metavar="FILTER", help="Every job that fits all of these; see odctl help filters."),
]
AllOpt = Annotated[bool, typer.Option("--all", help="All of your jobs.")]
DryOpt = Annotated[bool, typer.Option("--dry-run", help="Say what would change; change nothing.")]
QUEUE_SETTING = "scheduler.paused"


def pause(
    ctx: typer.Context,
    jobs: JobsArg = None,
    where: FilterOpt = None,
    every: AllOpt = False,
    for_: Annotated[str, typer.Option("--for", metavar="DURATION", help="Resume by itself after that.")] = "",
    queue: Annotated[
        bool, typer.Option("--queue", help="The queue instead: nothing new starts; what runs finishes.")
    ] = False,
    dry_run: DryOpt = False,
) -> None:
    """Pause jobs, or the queue. What they have is kept; their slots are free for others."""
    if queue:
        if for_:
            raise UsageError("--for is for jobs: the queue is paused until odctl resume --queue")
        _queue(invocation(ctx), jobs, where, every=every, paused=True, dry_run=dry_run)
        return
    seconds = parse_duration(for_, "--for") if for_ else 0.0
    if for_ and seconds <= 0:
        raise UsageError("--for has to be more than zero")

    async def change(client: DaemonClient, which: Selection, dry: bool) -> list[Outcome]:
        return await client.pause(which, for_s=seconds, dry_run=dry)

    _bulk(invocation(ctx), ("pause", "paused"), change, jobs, where, every=every, dry_run=dry_run)


def resume(
    ctx: typer.Context,
    jobs: JobsArg = None,
    where: FilterOpt = None,
    every: AllOpt = False,
    queue: Annotated[bool, typer.Option("--queue", help="The queue instead: new ones start again.")] = False,
    dry_run: DryOpt = False,
) -> None:
    """Resume paused jobs, or the queue."""
    if queue:
        _queue(invocation(ctx), jobs, where, every=every, paused=False, dry_run=dry_run)
        return

    async def change(client: DaemonClient, which: Selection, dry: bool) -> list[Outcome]:
        return await client.resume(which, dry_run=dry)

    _bulk(invocation(ctx), ("resume", "resumed"), change, jobs, where, every=every, dry_run=dry_run)


def _queue(
    run: Invocation, jobs: Sequence[str] | None, filters: Sequence[str] | None, *, every: bool, paused: bool,
    dry_run: bool,
) -> None:  # fmt: skip
    if jobs or filters or every:
        raise UsageError("--queue is for the queue as a whole: name no jobs with it")
    if paused or dry_run:
        values = {QUEUE_SETTING: "true" if paused else "false"}
        run.call(lambda client: client.upkeep.set_settings(values, dry_run=dry_run))
    else:
        run.call(lambda client: client.upkeep.unset_settings([QUEUE_SETTING]))
    if run.output.is_json:
        run.output.records([], view.JOB_COLUMNS, known=view.JOB_FIELDS)
        return
    what = "paused: what runs finishes, nothing new starts" if paused else "resumed"
    run.output.note(f"the queue {'would be' if dry_run else 'is'} {what}")


def cancel(
    ctx: typer.Context, jobs: JobsArg = None, where: FilterOpt = None, every: AllOpt = False, dry_run: DryOpt = False
) -> None:
    """Give jobs up; of a completed one that is seeded, end that.

    They stay listed, and odctl retry takes them up again. What was downloaded goes unless somebody else wants it: to
    keep it, odctl pause.
    """

    async def change(client: DaemonClient, which: Selection, dry: bool) -> list[Outcome]:
        return await client.cancel(which, dry_run=dry)

    _bulk(invocation(ctx), ("cancel", "cancelled"), change, jobs, where, every=every, dry_run=dry_run)


def retry(
    ctx: typer.Context,
    jobs: JobsArg = None,
    where: FilterOpt = None,
    every: AllOpt = False,
    failed: Annotated[bool, typer.Option("--failed", help="All jobs that failed.")] = False,
    node: Annotated[str, typer.Option("--node", metavar="NAME", help="Somewhere else.")] = "",
    engine: Annotated[str, typer.Option("--engine", "-e", metavar="NAME", help="With another engine.")] = "",
    opt: Annotated[
        list[str] | None, typer.Option("--opt", "-O", metavar="K=V", help="As for add: credentials again.")
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="Also jobs that wait for their next try: it comes at once.")
    ] = False,
    dry_run: DryOpt = False,
) -> None:
    """Try failed or cancelled jobs again, keeping the bytes that are there."""
    options = parse_options(opt or [])
    if now and (node or engine or options):
        raise UsageError("--now tries again as it is: it goes with none of --node, --engine and --opt")
    if failed:
        where = [*(where or ()), "state=failed"]

    async def change(client: DaemonClient, which: Selection, dry: bool) -> list[Outcome]:
        return await client.retry(which, node=node, engine=engine, options=options, now=now, dry_run=dry)

    words = ("retry", "due now" if now else "queued again")
    _bulk(invocation(ctx), words, change, jobs, where, every=every, dry_run=dry_run)


def rm(
    ctx: typer.Context,
    jobs: JobsArg = None,
    where: FilterOpt = None,
    every: AllOpt = False,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Keep the finished content in the cache.")] = False,
    dry_run: DryOpt = False,
) -> None:
    """Remove jobs, and their files unless another job needs them. Their links die within a second."""

    async def change(client: DaemonClient, which: Selection, dry: bool) -> list[Outcome]:
        return await client.remove(which, keep_data=keep_data, dry_run=dry)

    _bulk(invocation(ctx), ("remove", "removed"), change, jobs, where, every=every, dry_run=dry_run, removal=True)


def set_(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="JOB... KEY=VALUE...", help="The jobs, then the changes.")],
    where: FilterOpt = None,
    every: AllOpt = False,
    dry_run: DryOpt = False,
) -> None:
    """Change jobs: priority=high position=top name=… tags+=tv tags-=new rate_down=2M rate_up=0 seed_ratio=1.5

    Examples:  odctl set 128 priority=high    odctl set 128-131 tags+=tv,new    odctl set @last position=top
    """
    # no name of a job holds an equals sign
    changes = [_checked(word) for word in words if "=" in word]
    jobs = [word for word in words if "=" not in word]
    if not changes:
        raise UsageError("nothing to change was given", hint="as in: odctl set 128 priority=high")

    async def change(client: DaemonClient, which: Selection, dry: bool) -> list[Outcome]:
        return await client.set_jobs(which, changes, dry_run=dry)

    _bulk(invocation(ctx), ("change", "changed"), change, jobs, where, every=every, dry_run=dry_run)


def _checked(change: str) -> str:
    """Raises UsageError for what no key can be: whether there is such a key is the daemon's to say."""
    if _CHANGE.fullmatch(change):
        return change
    key, _, value = change.partition("=")
    meant = key.lower().replace("-", "_") if key.rstrip("+-") else ""
    hint = f"did you mean {clean(meant)}={clean(value)}" if _CHANGE.fullmatch(f"{meant}=") else ""
    raise UsageError(f"'{clean(change)}' is not KEY=VALUE", hint=hint or "as in: odctl set 128 priority=high")


def _bulk(
    run: Invocation,
    words: tuple[str, str],
    change: Change,
    jobs: Sequence[str] | None,
    filters: Sequence[str] | None,
    *,
    every: bool,
    dry_run: bool,
    removal: bool = False,
) -> None:
    """Asks only when a filter or --all meets more than one job: ids that were named are meant. Exits."""
    check_fields(run.output.fields, REMOVED if removal else view.JOB_FIELDS)
    where = joined(filters)
    if bool(jobs) + bool(where) + every != 1:
        some = bool(jobs) or bool(where) or every
        hint = "give job numbers, or -f FILTER, or --all"
        raise UsageError("give jobs, a filter or --all, not several of them" if some else "no job was named", hint=hint)
    outcomes: list[Outcome] = []
    if not jobs and not dry_run:
        found = _change(run, change, jobs, where, every=every, dry_run=True)
        if not found:
            _tell(run, words, outcomes, dry_run=False, removal=removal)
            return
        if len(found) > 1 and not run.yes:
            run.confirm(f"{words[0]} {len(found)} jobs")
            # what comes to fit while the question is open was not asked about
            jobs, where, every = [outcome.id for outcome in found], "", False
    outcomes = _change(run, change, jobs, where, every=every, dry_run=dry_run)
    raise typer.Exit(_tell(run, words, outcomes, dry_run=dry_run, removal=removal))


def _change(
    run: Invocation, change: Change, jobs: Sequence[str] | None, where: str, *, every: bool, dry_run: bool
) -> list[Outcome]:
    async def work(client: DaemonClient) -> list[Outcome]:
        from odctl.client.models import Selection

        return await change(client, Selection(ids=tuple(jobs or ()), filter=where, all=every), dry_run)

    return run.call(work)


def _tell(run: Invocation, words: tuple[str, str], outcomes: Sequence[Outcome], *, dry_run: bool, removal: bool) -> int:
    output = run.output
    done = [outcome for outcome in outcomes if outcome.failure is None]
    if output.structured or output.quiet:
        if removal:
            removed = [{"id": _number(outcome), "freed_bytes": outcome.freed_bytes} for outcome in done]
            output.records(removed, (), known=REMOVED)
        else:
            changed = [outcome.job for outcome in done if outcome.job is not None]
            output.records(changed, view.JOB_COLUMNS, known=view.JOB_FIELDS)
    elif not outcomes:
        output.note("no job fits")
    else:
        _lines(run, words, done, dry_run=dry_run, removal=removal)
    return run.report_outcomes(outcomes)


def _number(outcome: Outcome) -> int | str:
    if outcome.job is not None:
        return outcome.job.id
    return int(outcome.id) if outcome.id.isascii() and outcome.id.isdigit() else outcome.id


def _lines(run: Invocation, words: tuple[str, str], done: Sequence[Outcome], *, dry_run: bool, removal: bool) -> None:
    prefix = "would " + words[0] if dry_run else words[1]
    if words[0] == "resume":
        # a paused job has to wait for its turn first
        running = [outcome for outcome in done if outcome.job is not None and outcome.job.state == "active"]
        done = [outcome for outcome in done if outcome not in running]
        for outcome in running:
            run.output.line(f"{_number(outcome)} is running already")
    retried = words[0] == "retry" and not dry_run
    if len(done) > 1 and not dry_run and not retried:
        total = sum(outcome.freed_bytes for outcome in done)
        run.output.line(f"{prefix} {len(done)} jobs" + (f"  ({size(total)})" if removal and total else ""))
        return
    for outcome in done:
        name = clean(outcome.job.name) if outcome.job is not None else ""
        freed = f"  ({size(outcome.freed_bytes)})" if removal and outcome.freed_bytes else ""
        line = f"{prefix} {_number(outcome)}  {name}".rstrip()
        if retried:
            attempt = f" (attempt {outcome.attempts + 1})" if outcome.attempts else ""
            line = f"{_number(outcome)} {prefix}{attempt}  {name}".rstrip()
        run.output.line(line + freed)
