"""Writes docs/man/odctl.1 from the command tree: `python tools/manpage.py`. A test compares the two."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reference_cli import usage

from odctl.cli.app import EXAMPLES, build_root
from odctl.cli.commands.help import CONTEXTS, ENVIRONMENT, JSON
from odctl.cli.describe import describe, walk
from odctl.cli.exit_codes import MEANING
from odctl.cli.filter_help import FILTERS

TARGET = Path(__file__).resolve().parent.parent / "docs" / "man" / "odctl.1"
HEAD = """\
.\\" Generated from the command tree by `python tools/manpage.py`.
.TH ODCTL 1 "" OpenDebrid "User Commands"
.SH NAME
odctl \\- drive OpenDebrid, a self\\-hosted debrid
.SH SYNOPSIS
.B odctl
[OPTIONS] COMMAND [ARGS]...
.SH DESCRIPTION
Hand it a source, get links to the finished files. Without a command, on a terminal, it opens the dashboard.
Global options may stand anywhere on the line, up to \\-\\-.
"""


def render() -> str:
    tree = describe(build_root(), "odctl")
    lines = [HEAD.rstrip(), ".SH OPTIONS", *_parameters(tree["options"]), ".SH COMMANDS"]
    for path, command in walk(tree):
        if "commands" in command:
            continue
        lines += [f".SS {roff(usage(path, command))}", roff(command["summary"])]
        if command["aliases"]:
            lines += [".br", roff("Also: " + ", ".join(command["aliases"]))]
        lines += _parameters([*command["arguments"], *command["options"]])
    codes = "\n".join(f"{int(code):>4}  {meaning}" for code, meaning in MEANING.items())
    topics = (("FILTERS", FILTERS), ("JSON", JSON), ("CONTEXTS", CONTEXTS), ("ENVIRONMENT", ENVIRONMENT))
    for title, text in (*topics, ("EXIT STATUS", codes), ("EXAMPLES", EXAMPLES)):
        lines += [f".SH {title}", ".nf", *map(roff, text.splitlines()), ".fi"]
    return "\n".join(lines) + "\n"


def _parameters(parameters: list[dict[str, Any]]) -> Iterator[str]:
    for parameter in parameters:
        names = ", ".join(parameter["names"]) or parameter["metavar"] or parameter["name"].upper()
        value = f" {parameter['metavar']}" if parameter["names"] and parameter["metavar"] else ""
        yield from (".TP", f".B {roff(names + value)}", roff(parameter["help"] or names))


def roff(text: str) -> str:
    """`text` as it is to be read: nothing in it is a request, and a dash can be searched for and copied."""
    return re.sub(r"^(?=[.'])", r"\\&", text.replace("\\", "\\e").replace("-", "\\-"))


if __name__ == "__main__":
    TARGET.write_text(render())
