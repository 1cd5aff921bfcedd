"""Writes docs/reference/cli.md from the command tree: `python tools/reference_cli.py`. A test compares the two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from odctl.cli.app import build_root
from odctl.cli.describe import describe, walk

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
HEAD = """\
# odctl

Generated from the command tree by `python tools/reference_cli.py`; `odctl help --json` prints the same tree.

Global options may stand anywhere on the line, up to `--`. `odctl help filters|json|exit-codes|environment` says more.

## Global options
"""


def render() -> str:
    tree = describe(build_root(), "odctl")
    parts = [HEAD, table(tree["options"])]
    for path, command in walk(tree):
        parts.append(f"## odctl {' '.join(path)}\n")
        parts.append(command["summary"] + "\n")
        if command["aliases"]:
            parts.append("Also: " + ", ".join(f"`{alias}`" for alias in command["aliases"]) + "\n")
        if "commands" not in command:
            parts.append(f"```\n{usage(path, command)}\n```\n")
        rows = [*command["arguments"], *command["options"]]
        if rows:
            parts.append(table(rows))
    return "\n".join(parts)


def usage(path: tuple[str, ...], command: dict[str, Any]) -> str:
    words = ["odctl", *path, *(["[OPTIONS]"] if command["options"] else [])]
    for argument in command["arguments"]:
        word = argument["metavar"] or argument["name"].upper()
        word += "..." if argument["multiple"] and "..." not in word else ""
        words.append(word if argument["required"] else f"[{word}]")
    return " ".join(words)


def table(parameters: list[dict[str, Any]]) -> str:
    lines = ["| | |", "|---|---|"]
    for parameter in parameters:
        names = ", ".join(parameter["names"]) or parameter["metavar"] or parameter["name"].upper()
        value = f" {parameter['metavar']}" if parameter["names"] and parameter["metavar"] else ""
        shown = f"{names}{value}".replace("|", "\\|")
        lines.append(f"| `{shown}` | {parameter['help'].replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(render())
