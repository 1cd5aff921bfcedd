"""`context`: daemons by name. None of it but `test` needs a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from odctl.cli.app import invocation
from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import Column, check_fields
from odctl.client import contexts
from odctl.client.contexts import AUTO, COLORS, check_name
from odctl.client.endpoints import checked_address, choose
from odctl.client.errors import OdctlError, UsageError
from odctl.config import Environment
from odctl.text import clean

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient
    from odctl.client.models import Hello

FIELDS = ("name", "endpoint", "current", "source", "reachable")
COLUMNS = (
    Column(title="", show=lambda c: "*" if c["current"] else ""),
    Column(title="NAME", show=lambda c: c["name"]),
    Column(title="ADDRESS", show=lambda c: c["endpoint"], flexible=True),
    Column(title="WHY", show=lambda c: c["why"]),
)
COLOR_HELP = f"The colour of its name in the dashboard: {', '.join(COLORS)}."
NameArg = Annotated[str, typer.Argument(metavar="NAME", help="As in odctl context ls.")]
MaybeNameArg = Annotated[str, typer.Argument(metavar="[NAME]", help="Default: the one that is used now.")]


def ls(ctx: typer.Context) -> None:
    """List contexts; * marks the one that is used now, and the last column says why."""
    run = invocation(ctx)
    known = contexts.load()
    try:
        records = _records(run, known)
    except OdctlError as error:
        # what is chosen cannot be used; the list is where that is seen and put right
        run.output.note(f"odctl: {clean(error.message)}", always=True)
        records = [_record(name, _endpoint(known, name)) for name in (*known.known, AUTO)]
    _print(run, records)


def show(ctx: typer.Context, name: MaybeNameArg = "") -> None:
    """One context, and where it is chosen."""
    run = invocation(ctx)
    _print(run, [_named(run, contexts.load(), name)])


def use(ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="auto: none.")]) -> None:
    """Use a context from now on; auto goes back to the sockets of this machine."""
    run = invocation(ctx)
    _check_variables()
    with contexts.change() as known:
        if name != AUTO:
            checked_address(known.endpoint(name), f"context {name}")
        known.current = "" if name == AUTO else name
    _answer(run, name, f"odctl now uses {name}")


def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="How it is to be called.")],
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="unix:///path/to/control.sock.")],
    force: Annotated[bool, typer.Option("--force", help="Also where the name is taken.")] = False,
    use_it: Annotated[bool, typer.Option("--use", help="And use it from now on.")] = False,
    badge: Annotated[str, typer.Option("--badge", metavar="COLOR", help=COLOR_HELP)] = "",
) -> None:
    """Give a daemon a name.

    Example:  odctl context add box unix:///srv/box/control.sock --use
    """
    run = invocation(ctx)
    check_name(name)
    checked_address(address, "ADDRESS")
    if badge and badge not in COLORS:
        raise UsageError(f"--badge: {badge!r} is none of {', '.join(COLORS)}")
    if use_it:
        _check_variables()
    with contexts.change() as known:
        if name in known.known and not force:
            raise OdctlError(
                f"there is a context {name} already", code="ALREADY_EXISTS", exit_code=ExitCode.REFUSED,
                hint=f"see: odctl context show {name}      replace it: --force",
            )  # fmt: skip
        known.known[name] = {**known.known.get(name, {}), "endpoint": address, **({"color": badge} if badge else {})}
        if use_it:
            known.current = name
    _answer(run, name, f"added {name}" + (", which odctl now uses" if use_it else f"; use it: odctl -c {name} ls"))


def rm(ctx: typer.Context, names: Annotated[list[str], typer.Argument(metavar="NAME", help="Which.")]) -> None:
    """Forget contexts; nothing happens to the daemons."""
    run = invocation(ctx)
    with contexts.change() as known:
        for name in names:
            known.endpoint(name)
        for name in names:
            known.known.pop(name, None)
        was_used = known.current in names
        known.current = "" if was_used else known.current
    if run.output.structured:
        run.output.records([{"name": name} for name in names], (), known=("name",), ids="name")
        return
    run.output.text(f"forgot {clean(', '.join(names))}")
    if was_used:
        run.output.note("odctl looks at the sockets of this machine again")


def rename(
    ctx: typer.Context,
    name: NameArg,
    new: Annotated[str, typer.Argument(metavar="NEW", help="How it is to be called.")],
) -> None:
    """Give a context another name."""
    run = invocation(ctx)
    check_name(new)
    with contexts.change() as known:
        known.endpoint(name)
        if new in known.known and new != name:
            raise OdctlError(
                f"there is a context {new} already", code="ALREADY_EXISTS", exit_code=ExitCode.REFUSED,
                hint="take another name",
            )  # fmt: skip
        known.known = {new if key == name else key: table for key, table in known.known.items()}
        known.current = new if known.current == name else known.current
    _answer(run, new, f"{name} is now called {new}")


def try_(ctx: typer.Context, name: MaybeNameArg = "") -> None:
    """Connect to a context's daemon. Exit 5 when it cannot be reached."""
    run = invocation(ctx)
    record = _named(run, contexts.load(), name)
    hello = run.call(_hello, choose(None, context=name) if name else None)
    record["reachable"] = True
    if run.output.structured or run.output.quiet or hello is None:
        _print(run, [record])
    else:
        run.output.line(
            f"{clean(record['name'])}  oddaemon {clean(hello.server_version)} on {clean(hello.node)}, "
            f"you are {clean(hello.user)} ({clean(hello.role)})"
        )


async def _hello(client: DaemonClient) -> Hello | None:
    return client.hello_answer


def _check_variables() -> None:
    """Raises OdctlError where a variable would win over what is stored."""
    own = Environment.read()
    for variable, value in (("ODCTL_CONTEXT", own.context), ("ODCTL_HOST", own.host)):
        if value:
            raise OdctlError(
                f"{variable} is set and would win over this", code="CONFLICT", exit_code=ExitCode.REFUSED,
                hint=f"unset {variable}",
            )  # fmt: skip


def _answer(run: Invocation, name: str, sentence: str) -> None:
    check_fields(run.output.fields, FIELDS)
    if run.output.structured or run.output.quiet:
        known = contexts.load()
        current = (known.current or AUTO) == name
        _print(run, [_record(name, _endpoint(known, name), current=current, source="file" if current else None)])
    else:
        run.output.text(clean(sentence))


def _print(run: Invocation, records: list[dict[str, Any]]) -> None:
    told = [{name: record[name] for name in FIELDS} for record in records]
    plain = run.output.format in ("table", "wide", "plain") and not run.output.fields
    run.output.records(records if plain else told, COLUMNS, known=FIELDS, ids="name")


def _records(run: Invocation, known: contexts.Contexts) -> list[dict[str, Any]]:
    """All, and `auto`; an address that was given by itself comes first, having no name."""
    choice = run.choice
    used = choice.context or (AUTO if choice.source == "auto" else "")
    found = [] if used else [_record("", f"unix://{choice.paths[0]}")]
    found += [_record(name, _endpoint(known, name)) for name in (*known.known, AUTO)]
    for record in found:
        if record["name"] == used:
            record |= {"current": True, "source": choice.source, "why": choice.why or "nothing else is chosen"}
    return found


def _named(run: Invocation, known: contexts.Contexts, name: str) -> dict[str, Any]:
    if name and name != AUTO:
        known.endpoint(name)
    if not name:
        return next(record for record in _records(run, known) if record["current"])
    try:
        return next(record for record in _records(run, known) if record["name"] == name)
    except OdctlError:
        # what is chosen cannot be used, and is not what was asked about
        return _record(name, _endpoint(known, name))


def _record(name: str, endpoint: str, *, current: bool = False, source: str | None = None) -> dict[str, Any]:
    return {"name": name, "endpoint": endpoint, "current": current, "source": source, "reachable": None, "why": ""}


def _endpoint(known: contexts.Contexts, name: str) -> str:
    if name != AUTO:
        return known.endpoint(name)
    return " or ".join(f"unix://{path}" for path in choose(None, context=AUTO).paths)
