"""`version`: works without a daemon."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import typer
from odproto import API_MAJOR, API_MINOR

from odctl import __version__
from odctl.cli.app import invocation
from odctl.client.errors import OdctlError, Unreachable
from odctl.text import clean

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient
    from odctl.client.models import Hello


def version(ctx: typer.Context) -> None:
    """Versions of the client, of the daemon if one answers, and of the interface between them."""
    run = invocation(ctx)
    own = f"{API_MAJOR}.{API_MINOR}"
    server: Hello | None = None
    problem = ""
    try:
        server = run.call(_hello)
    except Unreachable as error:
        problem = "not reachable" if error.absent else error.message
    except OdctlError as error:
        problem = error.message
    theirs = None if server is None else f"{server.api_major}.{server.api_minor}"
    if run.output.structured:
        run.output.value(
            {
                "client": __version__,
                "server": server.server_version if server is not None else None,
                "api": {"client": own, "server": theirs},
                "python": platform.python_version(),
            }
        )
        return
    run.output.line(f"odctl     {__version__}  (API {own}, Python {platform.python_version()})")
    told = clean(problem) if server is None else f"{clean(server.server_version)}  (API {theirs})"
    run.output.line(f"oddaemon  {told}")


async def _hello(client: DaemonClient) -> Hello | None:
    return client.hello_answer
