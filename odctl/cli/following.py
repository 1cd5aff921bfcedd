"""Waiting for jobs and watching them. Ctrl-C only detaches: the jobs go on."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from odctl.cli import show as view
from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.filters import joined
from odctl.cli.output import CLEAR, Column, check_fields, dumps
from odctl.cli.progress import Progress
from odctl.client.daemon import DaemonClient
from odctl.client.errors import OdctlError, UsageError
from odctl.client.models import Event, Job, Selection, jsonable
from odctl.client.pages import Update
from odctl.client.watching import Wanted, follow
from odctl.text import clean, duration

MOST_WATCHED = 200
BESIDE_JOBS = 3
"""Lines of `ls -w` that are no jobs: the heading, the totals and where the cursor stands."""


class Goal(Enum):
    METADATA = "metadata"
    COMPLETED = "completed"
    IDLE = "idle"

    def reached(self, job: Job) -> bool:
        """Nothing is left to wait for: also when the job ended otherwise."""
        if self is Goal.METADATA:
            return job.over or job.files_total > 0
        if self is Goal.IDLE:
            return job.over or job.state != "active"
        return job.over


def connector(run: Invocation) -> Callable[[], DaemonClient]:
    """Makes clients for streams: --timeout bounds the wait as a whole."""
    choice = run.choice
    return lambda: run.client(choice, deadlines=False)


Told = tuple[Callable[[str], None], Callable[[], None]]


def tellers(run: Invocation) -> Told:
    """What `lasting` tells of a connection that is lost and back, on stderr."""
    return (
        lambda message: run.output.note(f"odctl: {clean(message)}; trying again", always=True),
        lambda: run.output.note("odctl: connected again", always=True),
    )


def wait_for(
    run: Invocation,
    ids: Sequence[int],
    goal: Goal,
    *,
    progress: str,
    events: bool = False,
    first: bool = False,
    to_stdout: bool = False,
) -> tuple[int, dict[int, Job]]:
    """Returns when the jobs (with `first`: one of them) reached the goal: the exit code (0, 7, 8, 130), and the jobs as
    last seen. A job that somebody removes meanwhile counts as cancelled."""
    shown = Progress(run.output, progress, to_stdout=to_stdout)
    seen: dict[int, Job] = {}
    try:
        asyncio.run(_wait(run, list(ids), goal, shown, seen, events=events, first=first))
    except TimeoutError:
        shown.clear()
        words = f"after {duration(run.timeout)}"
        pending = [number for number in ids if number not in seen or not goal.reached(seen[number])]
        message, code = f"timed out {words}", ExitCode.TIMEOUT
        run.output.error(OdctlError(message, code="DEADLINE_EXCEEDED", exit_code=code, hint=_goes_on(pending, seen)))
        return ExitCode.TIMEOUT, seen
    except KeyboardInterrupt:
        shown.clear()
        pending = [number for number in ids if number not in seen or not seen[number].over]
        run.output.note(_goes_on(pending, seen), always=not run.output.is_json)
        return ExitCode.INTERRUPTED, seen
    finally:
        shown.clear()
    ended = [job for job in seen.values() if goal.reached(job)]
    bad = [job for job in ended if job.state in ("failed", "cancelled")]
    if first and len(bad) < len(ended):
        return ExitCode.OK, seen
    gone = [number for number in ids if number not in seen]
    for number in gone:
        run.output.note(f"job {number} was removed")
    return (ExitCode.JOB_FAILED if bad or (gone and not first) else ExitCode.OK), seen


def _goes_on(ids: Sequence[int], seen: Mapping[int, Job]) -> str:
    if len(ids) == 1:
        if ids[0] in seen and seen[ids[0]].hold == "user":
            return f"job {ids[0]} is paused: odctl resume {ids[0]}"
        return f"job {ids[0]} keeps running"
    return f"jobs {', '.join(map(str, ids[:10]))}{'…' if len(ids) > 10 else ''} keep running"


async def _wait(
    run: Invocation,
    ids: list[int],
    goal: Goal,
    shown: Progress,
    seen: dict[int, Job],
    *,
    events: bool,
    first: bool,
) -> None:
    wanted = Wanted(which=Selection(ids=tuple(str(number) for number in ids)))
    connect = connector(run)
    listener = asyncio.create_task(_tell_events(connect, set(ids), shown), name="events") if events else None
    try:
        async with asyncio.timeout(run.timeout):
            async with contextlib.aclosing(follow(connect, wanted, _lost(shown))) as updates:
                async for update in updates:
                    if _note(update, goal, shown, seen, ids, first=first):
                        return
    finally:
        if listener is not None:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)


def _note(update: Update, goal: Goal, shown: Progress, seen: dict[int, Job], ids: list[int], *, first: bool) -> bool:
    """Takes an update in; whether the wait is over."""
    seen.update(update.jobs)
    for number in set(seen) - set(update.jobs):
        del seen[number]
    shown.show(update.jobs.values(), [update.jobs[number] for number in sorted(update.changed)])
    reached = [job for job in seen.values() if goal.reached(job)]
    return bool(reached) if first else len(reached) == len(seen)


def _lost(shown: Progress) -> Callable[[str], None]:
    return lambda message: shown.say(f"odctl: {clean(message)}; trying again")


async def _tell_events(connect: Callable[[], DaemonClient], ids: set[int], shown: Progress) -> None:
    """The jobs' events as lines, as long as the connection lasts: chatter beside the wait."""
    with contextlib.suppress(OdctlError):
        async with connect() as client:
            stream = client.events(since_seq=None, since_time=None, types=["job.*"], follow=True)
            async for event in stream:
                if isinstance(event, Event) and event.job in ids and event.type != "job.progress":
                    shown.say(f"{event.job}  {clean(event.type)}")


def check_watched(limit: int | None) -> None:
    """Raises UsageError for more jobs than can be kept current."""
    if limit is not None and limit > MOST_WATCHED:
        raise UsageError(
            f"-w keeps at most {MOST_WATCHED} jobs current",
            hint=f"--limit {MOST_WATCHED}, with --offset for later ones; or without -w",
        )


def watch_list(
    run: Invocation, *, where: str, sort: str, offset: int, limit: int | None, every: bool, mine: bool,
    interval_ms: int = 0, columns: Sequence[Column] = view.JOB_COLUMNS,
) -> int:  # fmt: skip
    """`ls -w`: the list again whenever it changes; with --json a line for each change. Ends with Ctrl-C. Without a
    `limit` as many jobs as the terminal has room for."""
    output = run.output
    check_fields(output.fields, view.JOB_FIELDS)
    output.pager = ""  # it would wait for its user before the list could change
    drawn = told_of_more = False

    def tell(update: Update) -> None:
        nonlocal drawn, told_of_more
        below = output.format in ("table", "wide")
        if not (below or limit or told_of_more) and MOST_WATCHED == len(update.jobs) < update.total - offset:
            told_of_more = True
            output.note(f"odctl: {MOST_WATCHED} of {update.total:,} jobs; --offset shows later ones", always=True)
        if output.is_json:
            for number in sorted(update.removed):
                output.line(dumps({"op": "del", "job": {"id": number}}))
            for number in update.jobs:
                if number in update.changed:
                    record = output.narrowed(jsonable(update.jobs[number]))
                    output.line(dumps({"op": "set", "job": record}))
        elif update.changed or update.removed or not drawn:
            drawn = True
            if output.out.isatty():
                output.out.write(CLEAR)
            jobs = list(update.jobs.values())
            output.records(jobs, view.redrawn(view.with_owners(columns, jobs)), known=view.JOB_FIELDS)
            if below:
                output.out.flush()
                output.note(view.totals(jobs, update.total) if update.total else "no job fits")
        output.out.flush()

    async def work() -> None:
        text = joined([where], "mine") if mine else where
        room = shutil.get_terminal_size().lines - BESIDE_JOBS if output.out.isatty() else MOST_WATCHED
        most = limit or max(1, min(room, MOST_WATCHED))
        wanted = Wanted(where=text, sort=sort, offset=offset, limit=most, old=every, interval_ms=interval_ms)

        async with contextlib.aclosing(follow(connector(run), wanted, tellers(run)[0])) as updates:
            async for update in updates:
                tell(update)

    try:
        asyncio.run(work())
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return ExitCode.OK
