"""`help`: commands, topics, and the command tree for machines."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from odctl.cli.app import invocation
from odctl.cli.describe import describe_path, member
from odctl.cli.exit_codes import MEANING
from odctl.cli.filter_help import FILTERS
from odctl.cli.pager import paged
from odctl.cli.suggest import TOPICS

JSON = """\
--json prints all fields, whether stdout is a terminal or not. Within API 1 fields are only added.

  sizes are bytes, rates bytes a second, durations (…_s) seconds, times RFC 3339 in UTC,
  states lower-case words; what is unknown is null; lists are bare arrays;
  a paused job has the state queued and the hold user: it is shown, and found, as paused;
  streams (events, logs, watch, ls -w) print one object a line

Errors are JSON, too, on stderr, one a line:
  {"error": {"code": "NOT_FOUND", "message": "…", "hint": "…", "details": {}, "exit": 3}}
Notes on stderr are {"note": "…"}. stdout parses as JSON or is empty, whatever happens.

--fields a,b narrows any format; -o csv and -o jsonl print the same fields. odctl help --json is the command tree."""

CONTEXTS = """\
A context is a daemon with a name. Which daemon a command speaks to, the first of these that is given:

  -c NAME, --context NAME        a context
  -H ADDRESS, --host ADDRESS     an address
  ODCTL_CONTEXT, ODCTL_HOST      the same as variables
  odctl context use NAME         kept in opendebrid/contexts.toml in the user's configuration
  otherwise                      the socket of one's own daemon, then that of the machine's

-c with -H is an error, and so are the two variables when they disagree. odctl context ls says which one it is and why;
-c auto, or odctl context use auto, goes back to the sockets of this machine.

  odctl context add box unix:///srv/box/control.sock
  odctl -c box ls

Addresses are those of Unix sockets; this version reaches no other."""
ENVIRONMENT = """\
ODCTL_CONTEXT     the daemon, by its name in odctl context ls; -c and -H win over it
ODCTL_CONFIG      the folder of odctl's own files, instead of opendebrid in XDG_CONFIG_HOME
ODCTL_HOST        the daemon: unix:///path/to/control.sock; -H wins over it
ODCTL_TOKEN_FILE  a file with an API key or access token, for programs; wins over odctl login
ODCTL_TOKEN       the key or token itself; processes of this machine may be able to read it, so prefer the file
ODCTL_OUTPUT      as -o: table, wide, plain, csv, json, jsonl
ODCTL_PAGER       a program, such as less, for lists and help that are longer than the terminal
ODCTL_NO_INPUT    as --no-input: never ask
ODCTL_DEBUG       as --debug: show the traceback of a failure
NO_COLOR          no colours; CLICOLOR=0 neither; CLICOLOR_FORCE=1 colours without a terminal
XDG_RUNTIME_DIR   where the socket of one's own daemon is looked for
XDG_CONFIG_HOME   what odctl is logged in with: opendebrid/credentials.toml
XDG_STATE_HOME    crash files, and the log of a daemon that odctl started
XDG_CACHE_HOME    what completion remembers

A switch that is 0, false, no or off is off.
The daemon's own variables begin with OD_: oddaemon --help"""



def help_(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="TOPIC", help="A command, or " + ", ".join(TOPICS) + ".")
    ] = None,
) -> None:
    """Help on a command or a topic. With --json: the command tree."""
    run = invocation(ctx)
    topic = words[0] if words else ""
    topics = {"contexts": CONTEXTS, "filters": FILTERS, "json": JSON, "environment": ENVIRONMENT}
    text = exit_codes() if topic == "exit-codes" else topics.get(topic)
    if run.output.is_json:
        told = describe_path(ctx.find_root().command, words or []) if text is None else {"topic": topic, "text": text}
        run.output.value(told)
    else:
        with paged(run.output):
            run.output.line(text or _command_help(ctx, words or []))


def exit_codes() -> str:
    return "\n".join(f"{int(code):>4}  {meaning}" for code, meaning in MEANING.items())


def _command_help(ctx: typer.Context, words: list[str]) -> str:
    root: Any = ctx.find_root()
    found, context = root.command, root
    for word in words:
        found = member(found, word)
        context = type(root)(found, info_name=word, parent=context)
    text: str = found.get_help(context)
    return text
