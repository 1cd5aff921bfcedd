"""`status`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from odctl.cli.app import invocation
from odctl.cli.output import Output
from odctl.text import clean, duration, rate, size

DEGRADED = 3


def status(
    ctx: typer.Context,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit 0 when healthy, 3 when degraded, 5 when down.")
    ] = False,
) -> None:
    """How the daemon is: jobs by state, speed, engines, disk, warnings."""
    run = invocation(ctx)
    found = run.call(lambda client: client.status())
    if run.output.structured:
        run.output.value(found)
    else:
        _screen(run.output, found)
    raise typer.Exit(DEGRADED if exit_code and degraded(found) else 0)


def degraded(found: dict[str, Any]) -> bool:
    sick = any(not engine["ok"] for node in found["nodes"] for engine in node["engines"])
    return bool(found["warnings"]) or sick


def _screen(output: Output, found: dict[str, Any]) -> None:
    server, jobs, rates = found["server"], found["jobs"], found["rates"]
    pid = f", pid {server['pid']}" if server["pid"] else ""
    output.line(
        f"oddaemon {clean(server['version'])}  up {duration(server['uptime_s'])}{pid}  {clean(server['endpoint'])}"
    )
    states = [(clean(name), count) for name, count in sorted(jobs.items()) if count and name != "total"]
    output.line("jobs      " + (", ".join(f"{count} {output.paint(name, name)}" for name, count in states) or "none"))
    output.line(f"speed     {rate(rates['down'])} down, {rate(rates['up'])} up")
    if server["download_dir"]:
        output.line(f"downloads {clean(server['download_dir'])}")
    if server["http_url"]:
        output.line(f"http      {clean(server['http_url'])}")
    if server["files_url"]:
        output.line(f"links     {clean(server['files_url'])}")
    for node in found["nodes"]:
        if server["role"] == "worker" and node["state"] != "offline":
            output.line("reached   the controller, which knows it")
        # a worker is not told what is kept free on it
        kept = f", {size(node['reserve'])} reserved" if server["role"] != "worker" else ""
        free = f"{size(node['disk_free'])} of {size(node['disk_total'])} free{kept}"
        missing = "  " + output.paint("STORAGE MISSING", "red") if node["storage_missing"] else ""
        output.line(f"node      {clean(node['id'])}  {clean(node['state'])}  {free}{missing}")
        for engine in node["engines"]:
            health = output.paint("ok", "ok") if engine["ok"] else output.paint("NOT OK", "fail")
            version = clean(engine["version"] or "-")
            output.line(
                f"  engine  {clean(engine['name'])} {version}  {health}  {engine['active']}/{engine['limit']} running"
            )
    for warning in found["warnings"]:
        hint = f"  ({clean(warning['hint'])})" if warning["hint"] else ""
        output.line(f"{output.paint('warning', 'warn')}   {clean(warning['message'])}{hint}")
