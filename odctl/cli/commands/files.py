"""`files` and `select`."""

from __future__ import annotations

from typing import Annotated

import typer

from odctl.cli import show as view
from odctl.cli.app import invocation
from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import check_fields
from odctl.cli.picking import check_interactive, pick_files
from odctl.client.errors import OdctlError, UsageError
from odctl.client.models import File
from odctl.selecting import matches
from odctl.text import clean, percent, size


def files(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="128, a UUID, a hash or @last.")],
    globs: Annotated[
        list[str] | None, typer.Option("--filter", "-f", metavar="GLOB", help="Only paths that fit; repeat for and.")
    ] = None,
    tree: Annotated[bool, typer.Option("--tree", help="By folders.")] = False,
) -> None:
    """The files of a job: their number, whether they are ready, size, how far they are."""
    run = invocation(ctx)
    found = run.call(lambda client: client.files.of(job))
    shown = [file for file in found if all(matches(file.path, glob) for glob in globs or ())]
    _tell(run, shown, tree, all_files=found)


def _tell(run: Invocation, found: list[File], tree: bool, all_files: list[File]) -> None:
    if tree and not run.output.structured and not run.output.quiet:
        _tree(run, found)
        return
    run.output.records(found, view.FILE_COLUMNS, known=view.FILE_FIELDS, ids="index")
    if run.output.format in ("table", "wide"):
        wanted = sum(file.selected for file in all_files)
        if not all_files:
            run.output.note("its files are not known yet")
            return
        if len(found) < len(all_files):
            run.output.note(f"{len(found)} of {len(all_files)} files fit")
        if wanted < len(all_files):
            run.output.note(f"{wanted} of {len(all_files)} selected: {_numbers(all_files)}")


def _numbers(found: list[File]) -> str:
    chosen = [str(file.index) for file in found if file.selected]
    return ",".join(chosen[:20]) + ("…" if len(chosen) > 20 else "") or "none"


def _tree(run: Invocation, found: list[File]) -> None:
    folder: tuple[str, ...] = ()
    for file in sorted(found, key=lambda file: file.path.split("/")):
        *parents, name = file.path.split("/")
        common = 0
        while common < min(len(parents), len(folder)) and parents[common] == folder[common]:
            common += 1
        for depth in range(common, len(parents)):
            run.output.line("  " * depth + clean(parents[depth]) + "/")
        folder = tuple(parents)
        figures = f"{file.index:>4} {view.mark(file)} {size(file.size)} {percent(file.progress)}"
        run.output.line("  " * len(parents) + f"{clean(name)}  [{figures.strip()}]")


def _picked(run: Invocation, job: str) -> str:
    """The selection that was chosen in the tree of the job's files."""
    check_interactive(run, f"give them after the job, as in: odctl select {job} '*.mkv'")
    known = run.call(lambda client: client.files.of(job))
    if not known:
        raise OdctlError(
            "its files are not known yet", code="FAILED_PRECONDITION", exit_code=ExitCode.REFUSED,
            hint=f"again after: odctl wait --for metadata {job}",
        )  # fmt: skip
    return pick_files(known, f"job {job}", run.output.err, what_if_left="the selection is as it was")


def select(
    ctx: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="128, a UUID, a hash or @last.")],
    spec: Annotated[
        list[str] | None, typer.Argument(metavar="SPEC", help="1,3-5 or *.mkv or all; +SPEC adds.")
    ] = None,
    pick: Annotated[bool, typer.Option("--pick", help="Choose in a tree, on a terminal.")] = False,
) -> None:
    """Choose which files are downloaded: SPEC, +SPEC to add, -- -SPEC to drop, all, largest. At least one stays."""
    run = invocation(ctx)
    check_fields(run.output.fields, view.FILE_FIELDS)
    text = ",".join(spec or ())
    if pick:
        if text:
            raise UsageError("--pick asks for what SPEC says: give one of them")
        text = _picked(run, job)
    elif not text.strip():
        raise UsageError("the selection is empty", hint="give 1,3-5 or *.mkv or all, or --pick")
    found = run.call(lambda client: client.files.select(job, text))
    _tell(run, found, tree=False, all_files=found)
