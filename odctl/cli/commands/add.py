"""`add`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import replace

from odctl.cli import show as view
from odctl.cli.app import invocation
from odctl.cli.context import Invocation, absent_and_unconfigured, as_error
from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import Output, check_fields, get
from odctl.cli.picking import check_interactive, pick_files
from odctl.cli.progress import ProgressOpt, check_mode
from odctl.client.endpoints import find_socket
from odctl.client.errors import OdctlError, Unreachable, UsageError
from odctl.client.models import File, Job
from odctl.sources import Order, parse_options, parse_priority, read_batch, resolve
from odctl.text import clean, parse_size

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient
    from odctl.client.models import Outcome

Result = Job | OdctlError
MOST_FILES = 10_000
"""Of a source that is looked at; more are not told of."""
PROBE_SECONDS = 60.0
"""For looking at a source whose files are to be picked."""

SourcesArg = Annotated[
    list[str], typer.Argument(metavar="SOURCE", help="Magnet, URL, info-hash, .torrent file; - for stdin.")
]
EngineOpt = Annotated[str, typer.Option("--engine", "-e", metavar="NAME", help="auto, aria2, ytdlp.")]
LabelsOpt = Annotated[
    list[str] | None, typer.Option("--node-label", metavar="K=V", help="Only on a node that has this label; repeat.")
]
OptionsOpt = Annotated[
    list[str] | None, typer.Option("--opt", "-O", metavar="K=V", help="An option of the engine; repeat.")
]
PriorityOpt = Annotated[
    str, typer.Option("--priority", "-p", metavar="P", help="low, normal, high or a number.")
]


def add(
    ctx: typer.Context,
    sources: SourcesArg,
    engine: EngineOpt = "",
    node: Annotated[str, typer.Option("--node", "-n", metavar="NAME", help="Where to download.")] = "",
    node_label: LabelsOpt = None,
    files: Annotated[str, typer.Option("--files", metavar="SPEC", help="1,3-5 or *.mkv or largest or all.")] = "",
    pick: Annotated[bool, typer.Option("--pick", help="Look first, then choose files in a tree.")] = False,
    opt: OptionsOpt = None,
    format: Annotated[str, typer.Option("--format", metavar="FMT", help="yt-dlp's format.")] = "",
    audio_only: Annotated[bool, typer.Option("--audio-only", help="Only the sound of a media page.")] = False,
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="How the job is called.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", metavar="TAG", help="Repeat for several.")] = None,
    priority: PriorityOpt = "normal",
    paused: Annotated[bool, typer.Option("--paused", help="Look at it; start when it is resumed.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch it again, whatever is cached.")] = False,
    checksum: Annotated[str, typer.Option("--checksum", metavar="ALGO=HEX", help="As in sha-256=….")] = "",
    max_rate: Annotated[str, typer.Option("--max-rate", metavar="RATE", help="As in 2M, bytes a second.")] = "",
    nul: Annotated[bool, typer.Option("-0", "--null", help="With -: sources end with NUL.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is complete.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="As --wait, with the job's events.")] = False,
    progress: ProgressOpt = "auto",
    print_id: Annotated[bool, typer.Option("--print-id", help="Print the job's number only; as -q.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen; add nothing.")] = False,
) -> None:
    """Download something. It returns at once; see --wait.

    Examples:  odctl add 'magnet:?xt=urn:btih:…' --files '*.mkv'    odctl add - < list.txt
    """
    run = invocation(ctx)
    check_mode(progress)
    check_fields(run.output.fields, view.JOB_FIELDS)
    run.output.quiet = run.output.quiet or print_id
    if pick:
        _check_pick(run, sources, files)
    options = parse_options(opt or []) | _media_options(format, audio_only=audio_only)
    engine = engine or ("ytdlp" if format or audio_only else "")  # nobody else knows them
    order = Order(
        input="", engine=engine, node=node, node_labels=parse_options(node_label or [], "--node-label"), files=files,
        options=options, name=name, tags=tuple(tag or ()), priority=parse_priority(priority), paused=paused,
        force=force, checksum=checksum, max_rate_down=parse_size(max_rate, "--max-rate") if max_rate else None,
    )  # fmt: skip
    orders = orders_of(sources, order, nul)
    if pick:
        orders = _picked(run, orders)
    waits = (wait or follow) and not dry_run
    results = _send(run, orders, dry_run=dry_run, waits=waits)
    if waits:
        raise typer.Exit(_wait(run, orders, results, progress, follow))
    raise typer.Exit(report(run, orders, results, dry_run))


def _check_pick(run: Invocation, sources: Sequence[str], files: str) -> None:
    """Raises UsageError where files cannot be asked for, or what is given says already which."""
    check_interactive(run, "give them by --files, as in --files '1,3-5' or --files '*.mkv'")
    if files:
        raise UsageError("--pick asks for what --files says: give one of them")
    if "-" in sources:
        raise UsageError("--pick reads the answers from the terminal: give the sources on the line")


def _media_options(format: str, *, audio_only: bool) -> dict[str, str]:
    return ({"format": format} if format else {}) | ({"audio-only": "true"} if audio_only else {})


def orders_of(sources: Sequence[str], order: Order, nul: bool = False) -> list[Order | OdctlError]:
    """What is to be added or looked at, in the order of the line; what is wrong with one stands in its place."""
    found: list[Order | OdctlError] = []
    for text in sources:
        if text == "-":
            if sys.stdin.isatty():
                raise UsageError("- reads sources from stdin, which is a terminal", hint="odctl add - < list.txt")
            found += read_batch(sys.stdin.buffer, order, nul=nul)
            continue
        try:
            found.append(resolve(order, text))
        except OdctlError as error:
            error.details = {"input": text[:500], **error.details}
            found.append(error)
    if not found:
        raise UsageError("stdin holds no source", hint="one a line; lines that start with # are comments")
    if order.name and len(found) > 1:
        raise UsageError("--name is for one source", hint="give each its name in a JSON line on stdin")
    return found


def _picked(run: Invocation, orders: Sequence[Order | OdctlError]) -> list[Order | OdctlError]:
    """The orders, each with the files that were chosen. A source that cannot be looked at fails as an add would."""
    ensure_daemon(run)

    async def look(client: DaemonClient, order: Order) -> tuple[Sequence[File], str, int]:
        found = await client.probe(
            source=order.source, torrent=order.torrent, engine="" if order.engine == "auto" else order.engine,
            options=order.options, timeout_s=run.timeout or PROBE_SECONDS, node=order.node,
            max_files=MOST_FILES,
        )  # fmt: skip
        files = [replace(file, selected=True) for file in found["files"]]
        return files, found["name"] or order.input, found["files_total"]

    picked: list[Order | OdctlError] = []
    for order in orders:
        if isinstance(order, OdctlError):
            picked.append(order)
            continue
        run.output.note(f"looking at {clean(order.input[:200])} …")
        try:
            files, name, total = run.call(
                lambda client, order=order: look(client, order), deadlines=False  # type: ignore[misc]
            )  # fmt: skip
        except OdctlError as error:
            error.details = {**order.origin, **error.details}
            picked.append(error)
            continue
        wanted = pick_files(files, name, run.output.err, what_if_left="nothing was added", total=total)
        picked.append(replace(order, files=wanted))
    return picked


def _send(run: Invocation, orders: Sequence[Order | OdctlError], *, dry_run: bool, waits: bool) -> list[Result]:
    """Results in the order of the input; a source that the client refused never reaches the daemon."""
    items = [order.item() for order in orders if isinstance(order, Order)]
    outcomes: list[Outcome] = []
    if items:
        ensure_daemon(run)

        async def work(client: DaemonClient) -> list[Outcome]:
            return await client.add(items, dry_run=dry_run)

        # --timeout with --wait bounds the wait: a job must not be stored without its number being told
        outcomes = run.call(work, deadlines=not waits)
    answers = iter(outcomes)
    results: list[Result] = []
    for order in orders:
        if isinstance(order, OdctlError):
            results.append(order)
            continue
        answer = next(answers, None)
        if answer is not None and answer.failure is not None:
            error = as_error(answer.failure)
            error.details = {**order.origin, **error.details}
            results.append(error)
        elif answer is not None and answer.job is not None:
            results.append(answer.job)
        else:
            results.append(OdctlError("the daemon did not say what became of it", code="UNKNOWN"))
    return results


def ensure_daemon(run: Invocation) -> None:
    """Starts a daemon if none runs and none was named."""
    choice = run.choice
    try:
        find_socket(choice)
    except Unreachable as error:
        if not absent_and_unconfigured(error, choice):
            raise
        from odctl.cli.spawn import spawn

        pid, log = spawn(choice)
        stop = "stop it: odctl daemon stop"
        run.output.note(f"odctl: started a daemon (pid {pid}, log {log}); {stop}", always=True)


def report(run: Invocation, orders: Sequence[Order | OdctlError], results: Sequence[Result], dry_run: bool) -> int:
    output = run.output
    jobs = [result for result in results if isinstance(result, Job)]
    if output.is_json:
        _json(output, [_record(*pair) for pair in zip(orders, results, strict=True)], unmade=dry_run)
    elif output.structured:
        shown = [_unmade(job) for job in jobs] if dry_run else jobs
        output.records(shown, view.JOB_COLUMNS, known=view.JOB_FIELDS)
    elif dry_run:
        for job in jobs if not output.quiet else ():
            output.line(view.planned(job))
    else:
        for job in jobs:
            output.line(str(job.id) if output.quiet else view.added(job))
    return errors(run, results)


def errors(run: Invocation, results: Sequence[object]) -> int:
    """Tells of the failures; the exit code of the batch."""
    failed = [result for result in results if isinstance(result, OdctlError)]
    for error in failed:
        given, line = error.details.get("input"), error.details.get("line")
        if given and (len(results) > 1 or line) and not run.output.is_json:
            where = f"line {line}: " if line else ""
            error.message = f"{where}{clean(str(given)[:100])}: {error.message}"
    run.output.errors(failed)
    if not failed:
        return ExitCode.OK
    codes = {int(error.exit_code) for error in failed}
    return codes.pop() if len(failed) == len(results) and len(codes) == 1 else ExitCode.PARTIAL


def _record(order: Order | OdctlError, result: Result) -> dict[str, Any]:
    given = order.input if isinstance(order, Order) else str(order.details.get("input", ""))
    if isinstance(result, Job):
        return {"input": given, "ok": True, "job": result}
    return {"input": given, "ok": False, "error": result.as_json()}


def _unmade(job: Job) -> dict[str, Any]:
    """A job that --dry-run only thought of: nobody can ask for it by a number."""
    return {name: None if name in ("id", "uuid") else getattr(job, name) for name in view.JOB_FIELDS}


def _json(output: Output, records: Sequence[dict[str, Any]], *, unmade: bool = False) -> None:
    fields = output.fields
    for record in records if unmade else ():
        if record["ok"]:
            record["job"] = _unmade(record["job"])
    if fields:
        from odctl.client.models import jsonable

        # --fields narrows the job: the frame around it is what tells success from failure
        for record in records:
            if record["ok"]:
                record["job"] = {name: jsonable(get(record["job"], name)) for name in fields}
    output.fields = ()
    output.records(records, (), known=("input", "ok", "job", "error"))
    output.fields = fields


def _wait(
    run: Invocation, orders: Sequence[Order | OdctlError], results: list[Result], progress: str, follow: bool
) -> int:
    from odctl.cli.following import Goal, wait_for

    if not run.output.is_json:
        for result in results:
            if isinstance(result, Job) and not run.output.quiet:
                run.output.note(view.added(result))
    ids = [result.id for result in results if isinstance(result, Job)]
    ended: dict[int, Job] = {}
    code: int = ExitCode.OK
    if ids:
        code, ended = wait_for(run, ids, Goal.COMPLETED, progress=progress, events=follow)
    results = [ended.get(result.id, result) if isinstance(result, Job) else result for result in results]
    if run.output.is_json:
        _json(run.output, [_record(*pair) for pair in zip(orders, results, strict=True)])
    else:
        for result in results:
            if isinstance(result, Job):
                run.output.line(str(result.id) if run.output.quiet else view.last_line(result))
    failed = errors(run, results)
    return code or failed
