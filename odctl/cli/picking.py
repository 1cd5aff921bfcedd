"""`--pick`: which files of a source are wanted, in a tree to move about in. On a terminal that cannot be drawn on, the
tree is numbered lines on stderr, and a question."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TextIO

import typer

from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.opening import show_picker
from odctl.client.errors import OdctlError, UsageError
from odctl.client.models import File
from odctl.dashboard.terminal import unfit
from odctl.selecting import ALL, chosen, compact
from odctl.text import clean, size

QUESTION = "which (1,3-5  *.mkv  all  largest; q to leave)? [all] "


def check_interactive(run: Invocation, hint: str) -> None:
    """Raises UsageError where nobody can be asked; `hint`: how else to say which files."""
    if not run.interactive:
        raise UsageError("--pick asks which files are wanted, and nobody can be asked here", hint=hint)


def pick_files(files: Sequence[File], name: str, err: TextIO, *, what_if_left: str, total: int = 0) -> str:
    """The selection that was chosen, as `--files` takes it; at first that of `files` is. `what_if_left` says what came
    of it when the person left, which raises OdctlError, or Exit when the picker was ended from outside. `total`: there
    are so many, of which only the first are known."""
    if len(files) < 2:
        return ALL
    if len(files) < total:
        name = f"{name} (the first {len(files)} of {total} files; the others stay wanted)"
    if unfit(err):
        picked = ask_for_files(files, err, sys.stdin.readline)
    else:
        picked, code = show_picker(files, name)
        if code == ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            raise typer.Exit(code)
    if picked is None:
        raise OdctlError(what_if_left, code="CANCELLED", exit_code=ExitCode.FAILURE)
    unseen = max(0, total - len(files))
    known = size(sum(file.size or 0 for file in files if file.index in picked))
    err.write(f"  {len(picked) + unseen} of {len(files) + unseen} files, {known}{' and more' if unseen else ''}\n")
    return compact(frozenset(picked), files, total)


def ask_for_files(files: Sequence[File], err: TextIO, ask: Callable[[], str]) -> Collection[int] | None:
    """The files that the answer names; None when it was to leave."""
    err.writelines(f"{line}\n" for line in tree_lines(files))
    while True:
        err.write(QUESTION)
        err.flush()
        answer = ask()
        if not answer or answer.strip().lower() in ("q", "quit"):
            return None
        try:
            return chosen(answer.strip() or ALL, files)
        except UsageError as error:
            err.write(f"  {clean(error.message)}\n")


def tree_lines(files: Sequence[File]) -> Iterator[str]:
    """By folders; each file behind its number and size."""
    width = len(str(max(file.index for file in files)))
    folder: list[str] = []
    for file in sorted(files, key=lambda file: file.path.split("/")):
        *parents, name = file.path.split("/")
        same = 0
        while same < min(len(parents), len(folder)) and parents[same] == folder[same]:
            same += 1
        for depth in range(same, len(parents)):
            yield f"{'':>{width}}  {'':>10}  {'  ' * depth}{clean(parents[depth])}/"
        folder = parents
        yield f"{file.index:>{width}}  {size(file.size):>10}  {'  ' * len(parents)}{clean(name)}"
