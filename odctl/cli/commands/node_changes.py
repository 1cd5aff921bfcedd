"""`nodes drain`, `undrain`, `set` and `rm`: what an admin does with machines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from odctl.cli.app import invocation
from odctl.cli.commands.nodes import COLUMNS, FIELDS
from odctl.cli.commands.nodes import LIMITS as CALLED
from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import check_fields
from odctl.client.errors import OdctlError, UsageError
from odctl.text import clean, parse_size

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

REMOVED_FIELDS = ("removed", "jobs_requeued")
LOOK_SECONDS = 1.0
LIMITS = {word: field for field, word in CALLED.items()}
NodeArg = Annotated[str, typer.Argument(metavar="NODE", help="As in odctl nodes ls.")]


def drain(
    ctx: typer.Context,
    name: NodeArg,
    wait: Annotated[bool, typer.Option("--wait", help="Until nothing runs there any more.")] = False,
) -> None:
    """Start nothing new on a node; what runs goes on, and its files are served. It stays so until undrain."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)
    node: Mapping[str, Any] = run.call(lambda client: client.nodes.change(name, draining=True))
    if wait:
        node = _drained(run, node)
    left = node["jobs_active"]
    word = clean(node["id"])
    _tell(run, node, f"draining {word}: {_jobs(left)} left" if left else f"draining {word}: nothing runs there")


def undrain(ctx: typer.Context, name: NodeArg) -> None:
    """Let a node take work again."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)
    node = run.call(lambda client: client.nodes.change(name, draining=False))
    _tell(run, node, f"{clean(node['id'])} takes work again")


def set_(
    ctx: typer.Context,
    name: NodeArg,
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE",
            help="label.NAME=TEXT, running=N, reserve=SIZE, weight=X. Nothing behind the = takes it back.",
        ),
    ],
) -> None:
    """Set labels and limits of a node. The node's own labels stay; yours go before them.

    running: downloads at once (0: no limit). reserve: what stays free on its disk. weight: its share, where nodes are
    weighed.

    Examples:  odctl nodes set nas label.room=attic running=3    odctl nodes set nas label.room= running=
    """
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)
    wanted = _changes(changes)
    node = run.call(lambda client: client.nodes.change(name, **wanted))
    _tell(run, node, f"{clean(node['id'])} is changed")


def rm(ctx: typer.Context, name: NodeArg) -> None:
    """Remove a node for good: it is shut out, and what it did goes back to the queue.

    Its files stay on its disk, where nobody serves them any more. To come back it needs a new join token.
    """
    run = invocation(ctx)
    check_fields(run.output.fields, REMOVED_FIELDS)
    if not run.yes:
        # nobody is asked about one that there is not, or that stays
        _removable(run, name)
    run.confirm_name(f"remove the node {clean(name)} for good, and give its downloads to others", name)
    removed, requeued = run.call(lambda client: client.nodes.remove(name))
    if run.output.structured:
        run.output.value({"removed": removed, "jobs_requeued": requeued})
    elif run.output.quiet:
        run.output.line(clean(removed))
    else:
        run.output.text(f"removed {clean(removed)}; {_jobs(len(requeued))} went back to the queue")


def _removable(run: Invocation, name: str) -> None:
    nodes = run.call(lambda client: client.status())["nodes"]
    found = next((node for node in nodes if name in (node["id"], node["name"])), None)
    if found is not None and found["role"] == "controller":
        raise OdctlError(
            f"{clean(found['id'])} is the controller's own node and cannot be removed", code="CONFLICT",
            exit_code=ExitCode.REFUSED, hint="to empty it, remove its downloads and clean up its cache",
        )  # fmt: skip
    if found is None:
        raise OdctlError(
            f"there is no node {clean(name)!r}", code="NOT_FOUND", exit_code=ExitCode.NOT_FOUND,
            hint="nodes: " + ", ".join(node["id"] for node in nodes), details={"id": name},
        )  # fmt: skip


def _drained(run: Invocation, node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The node when nothing runs there any more, or when it is drained no longer."""

    async def look(client: DaemonClient) -> Mapping[str, Any]:
        before = -1
        while True:
            nodes = (await client.status())["nodes"]
            found = next((one for one in nodes if one["id"] == node["id"]), None)
            if found is None:
                raise OdctlError(f"the node {node['id']} was removed", code="NOT_FOUND", exit_code=ExitCode.NOT_FOUND)
            if not found["jobs_active"]:
                return found  # type: ignore[no-any-return]
            if not found["draining"]:
                raise OdctlError(
                    f"{node['id']} takes work again: it is not drained any more", code="WRONG_STATE",
                    exit_code=ExitCode.REFUSED,
                )  # fmt: skip
            if found["jobs_active"] != before:
                before = found["jobs_active"]
                run.output.note(f"draining {clean(node['id'])}: {_jobs(before)} left")
            await asyncio.sleep(LOOK_SECONDS)

    async def bounded(client: DaemonClient) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(run.timeout):
                return await look(client)
        except TimeoutError as error:
            raise OdctlError(
                f"{node['id']} is still busy", code="DEADLINE_EXCEEDED", exit_code=ExitCode.TIMEOUT,
                hint="it goes on draining; odctl nodes show says how much is left",
            ) from error  # fmt: skip

    return run.call(bounded, deadlines=False)


def _changes(words: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments of `client.nodes.change`. Raises UsageError."""
    found: dict[str, Any] = {"set_labels": {}, "unset_labels": [], "unset_limits": []}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator:
            raise UsageError(f"'{clean(word)}' is no KEY=VALUE", hint="as in label.room=attic or running=3")
        if key.startswith("label.") and key != "label.":
            label = key.removeprefix("label.")
            if value:
                found["set_labels"][label] = value
            else:
                found["unset_labels"].append(label)
        elif key not in LIMITS:
            raise UsageError(f"a node has no '{clean(key)}'", hint="label.NAME, " + ", ".join(LIMITS))
        elif not value:
            found["unset_limits"].append(LIMITS[key])
        else:
            found[LIMITS[key]] = _limit(key, value)
    return found


def _limit(key: str, value: str) -> float | int:
    if key == "reserve":
        return parse_size(value, key)
    try:
        number = float(value) if key == "weight" else int(value)
    except ValueError:
        number = -1
    if not 0 <= number < 1e6 or (key == "weight" and not number):
        raise UsageError(f"{key}: '{clean(value)}' is no {'number above 0' if key == 'weight' else 'whole number'}")
    return number


def _jobs(count: int) -> str:
    return f"{count} job{'s' if count != 1 else ''}"


def _tell(run: Invocation, node: Mapping[str, Any], said: str) -> None:
    if run.output.is_json:
        run.output.value(node)
    elif run.output.structured or run.output.quiet:
        run.output.records([node], COLUMNS, known=FIELDS)
    else:
        run.output.text(said)
