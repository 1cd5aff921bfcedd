"""`web`: the dashboard in a browser of this machine. Its server is imported when it is started, never before."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from odctl.cli.app import invocation
from odctl.cli.commands.dashboard import PANES
from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.client.errors import OdctlError, UsageError
from odctl.text import clean

if TYPE_CHECKING:
    from odctl.web.server import WebServer

LOOPBACK = ("127.0.0.1", "localhost")


def web(
    ctx: typer.Context,
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="0: one that the system chooses.")
    ] = 0,
    bind: Annotated[str, typer.Option("--bind", metavar="ADDRESS", help="127.0.0.1; no other is possible.")] = (
        "127.0.0.1"
    ),
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
    print_: Annotated[
        bool, typer.Option("--print", help="Print the address and nothing else; do not open a browser.")
    ] = False,
    screen: Annotated[str, typer.Option("--screen", metavar="NAME", help=", ".join(PANES) + ".")] = "jobs",
    filter_: Annotated[str, typer.Option("--filter", "-f", metavar="FILTER", help="See odctl help filters.")] = "",
    read_only: Annotated[bool, typer.Option("--read-only", help="Look, and change nothing.")] = False,
) -> None:
    """The dashboard in a browser of this machine, until Ctrl-C. The address that it prints is good once, for one
    browser: whoever has it can do what you can do."""
    if bind not in LOOPBACK:
        raise UsageError(
            f"--bind: '{clean(bind)}' is refused: the dashboard is served on 127.0.0.1 alone, as it is not encrypted",
            hint="from another machine: odctl web --port 8090 --print here, ssh -L 8090:127.0.0.1:8090 HOST there",
        )
    if screen not in PANES:
        raise UsageError(f"--screen: '{clean(screen)}' is none of {', '.join(PANES)}")
    own = invocation(ctx)
    choice = own.choice
    from odctl.web.task import Task

    task = Task(
        paths=tuple(map(str, choice.paths)), source=choice.source, context=choice.context, timeout=own.timeout,
        pane=screen, filter=filter_, read_only=read_only,
    )  # fmt: skip
    from odctl.web.server import WebServer

    server = WebServer(task, lambda text: own.output.note(f"odctl: {text}"))
    asyncio.run(_serve(own, server, port, opened=not (no_open or print_), quiet=print_))


async def _serve(own: Invocation, server: WebServer, port: int, *, opened: bool, quiet: bool) -> None:
    """Until SIGINT or SIGTERM."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, done.set)
    try:
        await server.start(port)
    except OSError as error:
        raise OdctlError(
            f"cannot listen on 127.0.0.1:{port}: {os.strerror(error.errno or 0)}", code="UNAVAILABLE",
            exit_code=ExitCode.FAILURE, hint="--port 0 takes one that is free",
        ) from error  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="odctl-web-") as folder:
        try:
            if own.output.is_json:
                own.output.value({"url": server.url})
            else:
                own.output.line(server.url)
            own.output.out.flush()
            if not quiet:
                own.output.note("The address is good once. Ctrl-C ends the server; downloads keep running.")
            if opened:
                _open(server.url, Path(folder))
            await done.wait()
        finally:
            await server.close()


def _open(url: str, folder: Path) -> None:
    """Through a page that leads there: the address must not stand in the list of processes."""
    page = folder / "open.html"
    with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(f'<meta http-equiv="refresh" content="0;url={url}">\n')
    # a browser of the terminal would wait here
    threading.Thread(target=webbrowser.open, args=(page.as_uri(),), name="browser", daemon=True).start()
