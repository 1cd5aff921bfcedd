"""`nodes ls` and `nodes show`: the nodes that the daemon's status knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from odctl.cli import watch_option
from odctl.cli.app import invocation
from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import Column, Output, check_fields
from odctl.client.errors import OdctlError
from odctl.text import clean, duration, moment, rate, size

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

FIELDS = (
    "id", "role", "state", "version", "address", "engines", "disk_total", "disk_free", "reserve", "jobs_active",
    "rate_down", "rate_up", "heartbeat_age_s", "labels", "storage_missing",
    "name", "draining", "offline_since", "cpu_load", "set_labels", "limits", "running_limit",
)  # fmt: skip
BAR = 10
OPTIONAL = {"ls": watch_option.OPTIONAL, "show": watch_option.OPTIONAL}


def disk_bar(node: Mapping[str, Any]) -> str:
    """How full the disk is; what is not known is no bar."""
    total, free = node["disk_total"] or 0, node["disk_free"] or 0
    used = round(BAR * (total - free) / total) if total > 0 else 0
    filled = min(BAR, max(0, used))
    return "#" * filled + "." * (BAR - filled) if total > 0 else "-"


def state(node: Mapping[str, Any]) -> str:
    if node["state"] == "offline" and node["draining"]:
        return "offline, draining"
    return "storage missing" if node["storage_missing"] and node["state"] != "offline" else str(node["state"])


def load(node: Mapping[str, Any]) -> str:
    """Of its cores, in the last minute."""
    known = node["cpu_load"] is not None and node["state"] != "offline"
    return f"{round(node['cpu_load'] * 100)}%" if known else "-"


def engines(node: Mapping[str, Any]) -> str:
    return " ".join(engine["name"] + ("" if engine["ok"] else "(fail)") for engine in node["engines"])


COLUMNS = (
    Column(title="NODE", show=lambda n: n["id"]),
    Column(title="ROLE", show=lambda n: n["role"], wide=True),
    Column(title="STATE", show=lambda n: state(n)),
    Column(title="DISK", show=disk_bar),
    Column(title="FREE", show=lambda n: size(n["disk_free"]), right=True),
    Column(title="ACTIVE", show=lambda n: n["jobs_active"], right=True),
    Column(title="LOAD", show=lambda n: load(n), right=True),
    Column(title="DOWN", show=lambda n: rate(n["rate_down"]), right=True),
    Column(title="UP", show=lambda n: rate(n["rate_up"]), right=True),
    Column(title="SEEN", show=lambda n: duration(n["heartbeat_age_s"]), right=True),
    Column(title="ENGINES", show=engines, flexible=True),
    Column(title="VERSION", show=lambda n: n["version"] or "-", wide=True),
    Column(title="ADDRESS", show=lambda n: n["address"] or "-", wide=True),
)


def ls(ctx: typer.Context, watch: watch_option.WatchOpt = None) -> None:
    """List nodes: state, disk, jobs, speed, and how long ago each was heard of."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)

    def draw(nodes: Sequence[Mapping[str, Any]]) -> None:
        run.output.records(nodes, COLUMNS, known=FIELDS)

    if watch is not None:
        raise typer.Exit(_watch(run, (), watch, draw))
    draw(run.call(lambda client: client.status())["nodes"])


def show(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NODE", help="As in odctl nodes ls.")],
    watch: watch_option.WatchOpt = None,
) -> None:
    """Everything about a node. With --json its object; of several a list of them."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)

    def draw(nodes: Sequence[Mapping[str, Any]]) -> None:
        if run.output.is_json and len(names) == 1 and watch is None:
            run.output.value(nodes[0])
        elif run.output.structured or run.output.quiet:
            run.output.records(nodes, COLUMNS, known=FIELDS)
        else:
            for node in nodes:
                _details(run.output, node)

    known = _by_name(run.call(lambda client: client.status()))
    found = [known[name] for name in names if name in known]
    missing = [name for name in names if name not in known]
    if found and watch is None:
        draw(found)
    for name in missing:
        run.output.error(_unknown(name, list(known)))
    if watch is not None and found:
        raise typer.Exit(_watch(run, names, watch, draw))
    if missing:
        raise typer.Exit(ExitCode.PARTIAL if found else ExitCode.NOT_FOUND)


def _by_name(status: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["id"]: node for node in status["nodes"]}


def _watch(
    run: Invocation, names: Sequence[str], every: str, draw: Callable[[Sequence[Mapping[str, Any]]], None]
) -> int:
    """These nodes, or all, until Ctrl-C."""
    from odctl.cli.looking import look_often

    async def ask(client: DaemonClient) -> list[dict[str, Any]]:
        known = _by_name(await client.status())
        return [known[name] for name in names or known if name in known]

    seconds = watch_option.seconds(every)
    return look_often(run, ask, draw, what="node", seconds=seconds, restless=("heartbeat_age_s", "cpu_load"))


def _unknown(name: str, known: list[str]) -> OdctlError:
    from difflib import get_close_matches

    near = get_close_matches(name[:80], known, n=1)
    hint = f"did you mean {near[0]}?" if near else "nodes: " + ", ".join(known)
    return OdctlError(
        f"there is no node {name!r}", code="NOT_FOUND", exit_code=ExitCode.NOT_FOUND, hint=hint, details={"id": name}
    )


LIMITS = {"running": "running", "min_disk_free": "reserve", "weight": "weight"}
"""What each is called here."""


def _limits(node: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[Any], str], Any]]:
    """Those that an admin set."""
    for key, shown in (("running", str), ("min_disk_free", size), ("weight", lambda value: f"{value:g}")):
        if node["limits"][key] is not None:
            yield key, shown, node["limits"][key]


def _heard(age: float | None) -> str:
    return "not since the controller started" if age is None else f"{duration(age)} ago"


def _details(output: Output, node: Mapping[str, Any]) -> None:
    named = f" ({clean(node['name'])})" if node["name"] != node["id"] else ""
    output.line(f"{clean(node['id'])}{named}  {clean(node['role'])}  {state(node)}")
    free = f"{size(node['disk_free'])} of {size(node['disk_total'])} free, {size(node['reserve'])} reserved"
    rows = [
        ("version", clean(node["version"] or "-")), ("address", clean(node["address"] or "-")),
        ("disk", "storage missing" if node["storage_missing"] else f"{disk_bar(node)}  {free}"),
        ("jobs", f"{node['jobs_active']} active, {node['running_limit'] or 'any number'} at once"),
        ("speed", f"{rate(node['rate_down'])} down, {rate(node['rate_up'])} up"),
        ("load", load(node)),
        ("heard of", _heard(node["heartbeat_age_s"])),
        *([("offline", f"since {moment(node['offline_since'])}")] if node["offline_since"] else []),
        *(
            ("label", clean(f"{key}={value}") + ("  (set)" if key in node["set_labels"] else ""))
            for key, value in node["labels"].items()
        ),
        *(("limit", f"{LIMITS[key]} {shown(value)}") for key, shown, value in _limits(node)),
    ]  # fmt: skip
    for engine in node["engines"]:
        health = "ok" if engine["ok"] else "fail"
        running = f"{engine['active']}/{engine['limit']} running"
        text = f"{clean(engine['name'])} {clean(engine['version'] or '-')}  {output.paint(health, health)}  {running}"
        rows.append(("engine", text))
    for title, text in rows:
        output.line(f"  {title:<10}{text}")
