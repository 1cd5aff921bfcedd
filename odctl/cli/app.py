"""The front: global options, lazily loaded commands, and the one place where errors become words and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from odctl.cli import tree
from odctl.cli.context import Invocation, build
from odctl.cli.encoding import tolerate
from odctl.cli.exit_codes import ExitCode
from odctl.cli.hoist import CommandOptions, hoist
from odctl.cli.output import Output
from odctl.cli.params import plain_command
from odctl.client.errors import OdctlError, UsageError
from odctl.config import Environment

SETTINGS = {"help_option_names": ["-h", "--help"]}
EPILOG = "Global options (odctl --help) may stand anywhere on the line."
EXAMPLES = """\
Examples:
  odctl add 'magnet:?xt=urn:btih:…' --wait   download, and wait for it
  odctl ls                                   what is there
  odctl get @last                            fetch the files of the last add
  odctl link 128                             signed links to share
  odctl help exit-codes                      also: contexts, filters, json, environment"""


class LazyCommands(Mapping[str, Any]):
    """The members of a group, each imported when it is looked up. Hidden names are found but not listed."""

    def __init__(
        self, members: Mapping[str, tree.Entry | tree.Group], hidden: Mapping[str, tree.Entry]
    ) -> None:
        self.members = members
        aliases = {alias: members[name] for alias, name in tree.aliases(members).items()}
        self._hidden: Mapping[str, tree.Entry | tree.Group] = {**aliases, **hidden}
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            item = self.members[name] if name in self.members else self._hidden[name]
            self._made[name] = make_group(name, item) if isinstance(item, tree.Group) else make_command(name, item)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, name: object) -> bool:
        return name in self.members or name in self._hidden

    def summaries(self) -> list[tuple[str, str]]:
        return [(name, item.summary) for name, item in self.members.items()]


class LazyGroup(TyperGroup):
    """Lists its members without importing them."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        if isinstance(self.commands, LazyCommands):
            with formatter.section("Commands"):
                formatter.write_dl(self.commands.summaries())

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if ctx.parent is None:
            formatter.write("\n" + EXAMPLES + "\n")
        else:
            super().format_epilog(ctx, formatter)


def _new(**options: Any) -> typer.Typer:
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=SETTINGS,
        epilog=EPILOG,
        **options,
    )


def _help(ctx: Any, param: Any, value: bool) -> None:
    """Answers --help."""
    if not value or ctx.resilient_parsing:
        return
    root = ctx.find_root()
    # the globals of the line, which the root has not been called with while it parses its own --help
    output = root.obj if isinstance(root.obj, Output) else root.obj.output
    if output.is_json:
        from odctl.cli.describe import describe_path

        output.value(describe_path(root.command, ctx.command_path.split()[1:]))
    else:
        output.line(ctx.get_help())
    ctx.exit()


def make_command(name: str, entry: tree.Entry) -> Any:
    module = importlib.import_module(f"odctl.cli.commands.{entry.module}")
    app = _new()
    settings = {**SETTINGS, **getattr(module, "CONTEXT", {}).get(entry.name, {})}
    kind = getattr(module, "CLASSES", {}).get(entry.name)
    app.command(name, cls=kind, context_settings=settings, epilog=EPILOG)(getattr(module, entry.name))
    command: Any = typer.main.get_command(app)
    plain_command(command, _help)
    command.optional_values = getattr(module, "OPTIONAL", {}).get(entry.name, {})
    return command


def make_group(name: str, group: tree.Group) -> Any:
    app = _new(cls=LazyGroup, name=name, help=group.summary, no_args_is_help=True)

    @app.callback()
    def nothing() -> None:
        """Only its members do anything."""

    command: Any = typer.main.get_command(app)
    plain_command(command, _help)
    command.help = group.summary
    command.commands = LazyCommands(group.members, {})
    return command


def root_options(
    ctx: typer.Context,
    host: Annotated[
        str | None, typer.Option("--host", "-H", metavar="ADDRESS", help="The daemon: unix:///path/to/control.sock.")
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", "-c", metavar="NAME", help="The daemon by its name: odctl context ls.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="All fields, as JSON.")] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FORMAT", help="table, wide, plain, csv, json or jsonl.")
    ] = None,
    fields: Annotated[str | None, typer.Option("--fields", metavar="A,B", help="Only these fields.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only ids; no notes.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="As --color never.")] = False,
    color: Annotated[str | None, typer.Option("--color", metavar="WHEN", help="auto, always or never.")] = None,
    no_input: Annotated[bool, typer.Option("--no-input", help="Never ask.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer questions with yes.")] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="DURATION", help="How long to wait for an answer, or to wait.")
    ] = None,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose", "-v", count=True, show_default=False,
            help="Say where it is connected and how long calls took.",
        ),
    ] = 0,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")] = False,
    version: Annotated[bool, typer.Option("--version", "-V", help="The client's version.")] = False,
) -> None:
    """Drive OpenDebrid: hand it a source, get links to the finished files."""
    if version:
        from odctl import __version__

        if ctx.obj.is_json:
            ctx.obj.value({"client": __version__})
        else:
            ctx.obj.line(f"odctl {__version__}")
        raise typer.Exit(0)
    ctx.obj = build(
        host=host, context=context, json=json, output=output, fields=fields, quiet=quiet, no_color=no_color,
        color=color, timeout=timeout, yes=yes, no_input=no_input, verbose=verbose, debug=debug,
    )  # fmt: skip
    if ctx.invoked_subcommand is None:
        raise typer.Exit(_bare(ctx))


def _bare(ctx: typer.Context) -> int:
    """The dashboard on a terminal that it can be drawn on; elsewhere that is a mistake, and gets short help."""
    from odctl.dashboard.terminal import unfit

    problem = unfit()
    if ctx.obj.output.is_json:
        raise UsageError("no command was given", hint="odctl --help lists the commands")
    if not problem:
        from odctl.cli.opening import show_dashboard

        return show_dashboard(ctx.obj)
    why = f"odctl: {problem}\n\n" if sys.stdin.isatty() and sys.stdout.isatty() else ""
    sys.stderr.write(f"{why}Usage: odctl [OPTIONS] COMMAND [ARGS]...\n\n{EXAMPLES}\n\nAll commands: odctl --help\n")
    return ExitCode.USAGE


def build_root() -> Any:
    app = _new(cls=LazyGroup, name="odctl", invoke_without_command=True)
    app.callback()(root_options)
    root: Any = typer.main.get_command(app)
    plain_command(root, _help)
    root.commands = LazyCommands(tree.TREE, tree.HIDDEN)
    return root


def lookup_in(root: Any) -> Callable[[Sequence[str]], CommandOptions | None]:
    """For the hoister: the options of the command with this path."""

    def lookup(path: Sequence[str]) -> CommandOptions | None:
        found = root
        for name in path:
            members = getattr(found, "commands", None)
            if members is None or name not in members:
                return None
            found = members[name]
        values: set[str] = set()
        flags: set[str] = set()
        optional: dict[str, str] = {}
        may_lack = getattr(found, "optional_values", {})
        for param in found.params:
            options = [name for name in (*param.opts, *param.secondary_opts) if name.startswith("-")]
            takes_none = getattr(param, "is_flag", False) or getattr(param, "count", False)
            (flags if takes_none else values).update(options)
            optional |= {name: may_lack[param.name] for name in options if param.name in may_lack}
        is_group = hasattr(found, "commands")
        return CommandOptions(values=values, flags=flags, optional=optional, is_group=is_group)

    return lookup


def run(argv: Sequence[str]) -> int:
    """Parses and carries out. The exit code."""
    for stream in (sys.stdout, sys.stderr):
        tolerate(stream)
    root = build_root()
    line = list(argv)
    try:
        if line[:1] == ["__complete"]:
            # the words of a line that is not finished: none of them is an option of this one
            line.insert(1, "--")
        else:
            line = hoist(argv, lookup_in(root))
        code = root.main(args=line, prog_name="odctl", standalone_mode=False, obj=_output(line))
        sys.stdout.flush()
        return int(code or 0)
    except BrokenPipeError:
        return _broken_pipe()
    except SystemExit as end:
        # the parser's own answer to a reader that went away; nothing else of ours raises it
        return _broken_pipe() if end.code == 1 else int(end.code or 0)
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except OdctlError as error:
        return _tell(error, line)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        if hasattr(error, "format_message"):
            return _usage(error, line)
        return _crash(error, line)


def _output(line: Sequence[str]) -> Output:
    """For errors that come before, or from, the parsing of the global options."""
    head = line[: line.index("--")] if "--" in line else line
    wants_json = "--json" in head or Environment.read().output in ("json", "jsonl")
    for at, word in enumerate(head):
        value = word.partition("=")[2] if word.startswith("--output=") else word[2:] if word.startswith("-o") else ""
        if word in ("-o", "--output") and at + 1 < len(head):
            value = head[at + 1]
        wants_json = wants_json or value in ("json", "jsonl")
    return Output(format="json" if wants_json else "table", out=sys.stdout, err=sys.stderr)


def _tell(error: OdctlError, line: Sequence[str]) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _broken_pipe()
    if "--debug" in line or Environment.read().debug:
        _print_traceback(error)
    _output(line).error(error)
    return int(error.exit_code)


def _usage(error: Any, line: Sequence[str]) -> int:
    """The parser's complaint, in our form. A group without a member prints its help."""
    context = getattr(error, "ctx", None)
    output = _output(line)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None and not output.is_json:
        first = next(iter(context.command.commands))
        path = context.command_path
        sys.stderr.write(f"{context.get_help()}\n\nodctl: a command is missing, as in: {path} {first}\n")
        return ExitCode.USAGE
    message = str(error.format_message()).strip().splitlines()[0].rstrip(".")
    path = context.command_path if context is not None else "odctl"
    message = message[:1].lower() + message[1:] if not message[:2].isupper() else message
    output.error(UsageError(message, hint=f"see: {path} --help"))
    return ExitCode.USAGE


def _print_traceback(error: BaseException) -> None:
    import traceback

    traceback.print_exception(error)


def _broken_pipe() -> int:
    # whatever is still buffered has no reader: the interpreter must not complain about it at exit
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return ExitCode.BROKEN_PIPE


def _crash(error: Exception, line: Sequence[str]) -> int:
    """An exception that nobody expected: one line, and the traceback in a file."""
    output = _output(line)
    if "--debug" in line or Environment.read().debug:
        _print_traceback(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        output.error(OdctlError(f"{where}{error.strerror or error}", code="IO"))
        return ExitCode.FAILURE
    from odctl.crash import crash_file

    kind = type(error).__name__
    output.error(OdctlError(f"unexpected {kind}: {error}", code="BUG", hint=crash_file(error)))
    return ExitCode.FAILURE


def invocation(ctx: typer.Context) -> Invocation:
    found: Invocation = ctx.find_root().obj
    return found
