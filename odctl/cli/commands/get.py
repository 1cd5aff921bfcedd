"""`get`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_futures
from typing import TYPE_CHECKING, Annotated

import typer

from odctl.cli.app import invocation
from odctl.cli.commands.links import ViaOpt, check_via
from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import check_fields
from odctl.cli.progress import FetchProgress, ProgressOpt, check_mode
from odctl.client.errors import OdctlError, UsageError
from odctl.client.fetch import Fetched, Limiter, Stopped, Task, fetch
from odctl.client.models import File, Job, Link
from odctl.client.pipe import stream_to
from odctl.client.placing import place
from odctl.selecting import matches
from odctl.text import clean, parse_size, percent

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

FIELDS = tuple(Fetched.__struct_fields__)
TICK_SECONDS = 0.2


def get(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="128, a UUID, a hash or @last.")],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE", help="Numbers, globs or paths; default: all.")
    ] = None,
    into: Annotated[str, typer.Option("--into", metavar="DIR", help="The folder; made if need be.")] = ".",
    target: Annotated[str, typer.Option("-o", metavar="FILE|-", help="For one file: its name, or - for stdout.")] = "",
    include: Annotated[list[str] | None, typer.Option("--include", metavar="GLOB", help="Only these; repeat.")] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Not these; repeat.")] = None,
    parallel: Annotated[int, typer.Option("--parallel", "-j", metavar="N", help="So many at a time.")] = 4,
    flat: Annotated[bool, typer.Option("--flat", help="Without folders.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read it again: length, and checksum if known.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    skip: Annotated[bool, typer.Option("--skip", help="Leave files that exist.")] = False,
    limit_rate: Annotated[str, typer.Option("--limit-rate", metavar="RATE", help="As in 2M, bytes a second.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job is complete.")] = False,
    progress: ProgressOpt = "auto",
    via: ViaOpt = "auto",
) -> None:
    """Fetch the files of a job to this machine. What was begun is gone on with; run it again after a break.

    Exit 1: a file could not be fetched, or --verify found it wrong; 6: only some of several; 7: with
    --wait, the job failed; 9: its files are not there.

    Examples:  odctl get @last --wait    odctl get 128 '*.mkv' --into ~/films    odctl get 128 1 -o - | tar x
    """
    run = invocation(ctx)
    check_via(via)
    _check(run, target, parallel, overwrite=overwrite, skip=skip, progress=progress)
    limiter = Limiter(parse_size(limit_rate, "--limit-rate") if limit_rate else 0)
    number, checksum = _ready(run, job, wait, progress)
    links, sums = _links(run, number, files or [], include or [], exclude or [], checksum)
    if target == "-":
        raise typer.Exit(_to_stdout(run, links))
    if target and len(links) > 1:
        raise UsageError(f"-o is for one file, these are {len(links)}", hint="use --into DIR")
    root, names = _targets(links, into, target, flat=flat)
    stop = threading.Event()
    tasks = [
        Task(
            link=link, root=root, relative=name, checksum=sums.get(link.index), mint=_minter(run, link), stop=stop,
            limiter=limiter, verify=verify, overwrite=overwrite, skip=skip,
        )
        for link, name in zip(links, names, strict=True)
    ]  # fmt: skip
    results = _fetch_all(run, tasks, parallel, stop, progress)
    raise typer.Exit(_report(run, results))


def _check(run: Invocation, target: str, parallel: int, *, overwrite: bool, skip: bool, progress: str) -> None:
    if overwrite and skip:
        raise UsageError("--overwrite and --skip exclude each other")
    if not 1 <= parallel <= 64:
        raise UsageError("--parallel has to be between 1 and 64")
    check_mode(progress)
    check_fields(run.output.fields, FIELDS)
    if target == "-" and run.output.is_json:
        raise UsageError("-o - and --json both want stdout")
    if target == "-" and sys.stdout.isatty():
        raise UsageError("-o - writes the file to stdout, which is a terminal", hint="odctl get … -o - | program")


def _ready(run: Invocation, text: str, wait: bool, progress: str) -> tuple[int, str | None]:
    """The job's number when its files are there, and the checksum that it was asked to have. Raises OdctlError, with
    exit 9 for one that still runs."""
    from odctl.cli.commands.follow import resolve_jobs

    found = resolve_jobs(run, [text])
    job = found[0].job if found else None
    if job is None or len(found) != 1:
        raise UsageError(f"{clean(text)} names {len(found)} jobs; get takes one")
    if wait and not job.over:
        from odctl.cli.following import Goal, wait_for

        code, seen = wait_for(run, [job.id], Goal.COMPLETED, progress=progress)
        if code not in (ExitCode.OK, ExitCode.JOB_FAILED):
            raise typer.Exit(code)
        if job.id not in seen:
            raise OdctlError(f"job {job.id} was removed", code="NOT_FOUND", exit_code=ExitCode.NOT_FOUND)
        job = seen[job.id]
    if job.state != "completed":
        raise _not_ready(job, ExitCode.JOB_FAILED if wait else ExitCode.REFUSED)
    extra = found[0].extra
    return job.id, None if extra is None else extra.checksum


def _not_ready(job: Job, code: ExitCode) -> OdctlError:
    if job.over:
        why = job.error.message if job.error else ""
        return OdctlError(
            f"job {job.id} {'was cancelled' if job.state == 'cancelled' else 'failed'}", code="NOT_READY",
            exit_code=code, why=why, hint=f"try again: odctl retry {job.id}",
        )  # fmt: skip
    return OdctlError(
        f"job {job.id} still runs ({job.shown_state}, {percent(job.progress)})", code="NOT_READY", exit_code=code,
        hint=f"wait for it: odctl get {job.id} --wait",
    )  # fmt: skip


def _links(
    run: Invocation, number: int, files: Sequence[str], include: Sequence[str], exclude: Sequence[str],
    checksum: str | None,
) -> tuple[list[Link], dict[int, str]]:  # fmt: skip
    """Links, and the checksums that are known by the files' numbers; `checksum`: that of the only file."""

    async def work(client: DaemonClient) -> tuple[list[Link], list[File]]:
        return await client.files.links(str(number), files), await client.files.of(str(number))

    links, known = run.call(work)
    sums = {file.index: f"sha256={file.sha256}" for file in known if file.sha256}
    wanted = [file.index for file in known if file.selected]
    if checksum and len(wanted) == 1:
        sums[wanted[0]] = checksum
    links = [
        link
        for link in links
        if (not include or any(matches(link.path, glob) for glob in include))
        and not any(matches(link.path, glob) for glob in exclude)
    ]
    if not links:
        raise OdctlError(
            "no file fits", code="NOT_FOUND", exit_code=ExitCode.NOT_FOUND, hint=f"see them: odctl files {number}"
        )
    return links, sums


def _targets(links: Sequence[Link], into: str, target: str, *, flat: bool) -> tuple[str, list[str]]:
    """The folder, made, and each file's place below it."""
    if target:
        # the user's own words: taken as they are
        target = os.path.join(into, target)
        folder, name = os.path.split(target)
        if not name or os.path.isdir(target):
            raise UsageError(f"-o: {clean(target)} is a folder", hint="use --into DIR")
        into, names = folder or ".", [name]
    else:
        names = place([link.path for link in links], flat=flat)
    os.makedirs(into, exist_ok=True)
    return into, names


def _minter(run: Invocation, link: Link) -> Callable[[], Link]:
    choice = run.choice

    async def work() -> Link:
        async with run.client(choice) as client:
            found = await client.files.links(str(link.job), [str(link.index)])
        for fresh in found:
            if fresh.index == link.index:
                return fresh
        raise OdctlError("the file is not ready any more", code="NOT_READY", exit_code=ExitCode.REFUSED)

    def mint() -> Link:
        import asyncio

        return asyncio.run(work())

    return mint


def _to_stdout(run: Invocation, links: Sequence[Link]) -> int:
    if len(links) != 1:
        raise UsageError(f"-o - is for one file, these are {len(links)}", hint="name one by its number")
    sys.stdout.flush()
    try:
        stream_to(links[0], _minter(run, links[0]), sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return ExitCode.OK


def _fetch_all(
    run: Invocation, tasks: Sequence[Task], parallel: int, stop: threading.Event, progress: str
) -> list[Fetched]:
    """In the order of the tasks. Ctrl-C keeps what is there and ends with 130."""
    display = FetchProgress(run.output, progress, tasks)
    pool = ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="get")
    futures: list[Future[Fetched]] = [pool.submit(fetch, task) for task in tasks]
    try:
        pending = set(futures)
        while pending:
            _, pending = wait_futures(pending, timeout=TICK_SECONDS, return_when=FIRST_COMPLETED)
            display.show()
        return [future.result() for future in futures]
    except (KeyboardInterrupt, Stopped):
        stop.set()
        display.clear()
        run.output.note("odctl: interrupted; the partial files are kept, the same command goes on with them")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        display.clear()
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _report(run: Invocation, results: Sequence[Fetched]) -> int:
    output = run.output
    if output.structured:
        output.records(results, (), known=FIELDS, ids="path")
    else:
        for result in results:
            if result.ok:
                output.line(clean(result.path))
            if result.verified == "length":
                output.note(f"no checksum is known for {clean(result.path)}; its length is right")
            elif result.ok and result.size and result.resumed_from == result.size:
                output.note(f"{clean(result.path)} was there already with that size; --overwrite replaces it")
    failed = [result for result in results if result.error is not None]
    for result in failed:
        told = result.error or {}
        output.error(
            OdctlError(
                f"{result.path}: {told['message']}", code=told["code"], exit_code=told["exit"], hint=told["hint"],
                details={"path": result.path},
            )
        )  # fmt: skip
    codes = {int((result.error or {})["exit"]) for result in failed}
    if not failed:
        return ExitCode.OK
    return codes.pop() if len(failed) == len(results) and len(codes) == 1 else ExitCode.PARTIAL
