"""`add --pick`: the files of a source as a numbered tree on stderr, and a question which of them are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.client.errors import OdctlError, UsageError
from odctl.client.models import File
from odctl.selecting import ALL, chosen, compact
from odctl.text import clean, size

QUESTION = "which (1,3-5  *.mkv  all  largest; q to leave)? [all] "


def check_interactive(run: Invocation) -> None:
    """Raises UsageError where nobody can be asked."""
    if not run.interactive:
        raise UsageError(
            "--pick asks which files are wanted, and nobody can be asked here",
            hint="give them by --files, as in --files '1,3-5' or --files '*.mkv'",
        )


def pick_files(files: Sequence[File], err: TextIO, ask: Callable[[], str]) -> str:
    """The selection that was chosen, as `--files` takes it. Raises OdctlError when the answer was to leave."""
    if len(files) < 2:
        return ALL
    err.writelines(f"{line}\n" for line in tree_lines(files))
    while True:
        err.write(QUESTION)
        err.flush()
        answer = ask()
        if not answer or answer.strip().lower() in ("q", "quit"):
            raise OdctlError("nothing was added", code="CANCELLED", exit_code=ExitCode.FAILURE)
        try:
            wanted = chosen(answer.strip() or ALL, files)
        except UsageError as error:
            err.write(f"  {clean(error.message)}\n")
            continue
        total = sum(file.size or 0 for file in files if file.index in wanted)
        err.write(f"  {len(wanted)} of {len(files)} files, {size(total)}\n")
        return compact(wanted, files)


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
