"""`probe`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from odctl.cli.app import invocation
from odctl.cli.commands.add import MOST_FILES, EngineOpt, ensure_daemon, errors, orders_of
from odctl.cli.context import Invocation
from odctl.cli.output import Column
from odctl.client.errors import OdctlError
from odctl.sources import Order, parse_options
from odctl.text import clean, size

if TYPE_CHECKING:
    import asyncio

    from odctl.client.daemon import DaemonClient

PROBE_SECONDS = 60.0
AT_ONCE = 4
FORMATS = (
    Column(title="ID", show=lambda f: f["id"]),
    Column(title="EXT", show=lambda f: f["extension"]),
    Column(title="SIZE", show=lambda f: size(f["size"]), right=True),
    Column(title="PICTURE", show=lambda f: f"{f['width']}x{f['height']}" if f["width"] else "-", right=True),
    Column(title="VIDEO", show=lambda f: f["video_codec"] or "-"),
    Column(title="AUDIO", show=lambda f: f["audio_codec"] or "-"),
    Column(title="NOTE", show=lambda f: f["description"], flexible=True),
)


def probe(
    ctx: typer.Context,
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE", help="As for add; - reads stdin.")],
    engine: EngineOpt = "",
    node: Annotated[str, typer.Option("--node", "-n", metavar="NAME", help="As this node sees it.")] = "",
    opt: Annotated[list[str] | None, typer.Option("--opt", "-O", metavar="K=V", help="As for add.")] = None,
    formats: Annotated[bool, typer.Option("--formats", help="List the formats of a media page.")] = False,
    playlist: Annotated[
        bool | None,
        typer.Option("--playlist/--no-playlist", help="Of a video in a playlist: the whole list, or the video alone."),
    ] = None,
) -> None:
    """Look at a source: its name, size and files, whether it is cached, which node would take it. Stores nothing.

    It takes at most a minute; --timeout says otherwise.
    """
    run = invocation(ctx)
    options = parse_options(opt or [])
    if playlist is not None:
        options["no-playlist"] = "false" if playlist else "true"
    orders = orders_of(sources, Order(input="", engine=engine, node=node, options=options))
    ensure_daemon(run)

    async def work(client: DaemonClient) -> list[dict[str, Any] | OdctlError]:
        import asyncio

        room = asyncio.Semaphore(AT_ONCE)
        return await asyncio.gather(*(_look(client, order, run.timeout or PROBE_SECONDS, room) for order in orders))

    results = run.call(work, deadlines=False)
    records = [result for result in results if not isinstance(result, OdctlError)]
    if run.output.structured:
        run.output.records(records, (), known=() if records else ("input", "name", "engine", "size"))
    else:
        for record in records:
            _tell(run, record, formats)
    raise typer.Exit(errors(run, results))


async def _look(
    client: DaemonClient, order: Order | OdctlError, seconds: float, room: asyncio.Semaphore
) -> dict[str, Any] | OdctlError:
    if isinstance(order, OdctlError):
        return order
    item = order.item()
    try:
        async with room:
            answer = await client.probe(
                source=item["source"], torrent=item["torrent"], engine=item["engine"], options=item["options"],
                timeout_s=seconds, node=item["node"], max_files=MOST_FILES,
            )  # fmt: skip
    except OdctlError as error:
        # what the engine says of the source, as a job that failed says it
        cause = error.details.get("failure")
        if isinstance(cause, dict) and cause.get("code"):
            error.code = cause["code"]
        error.details = {**order.origin, **error.details}
        return error
    return {"input": order.input, **answer}


def _tell(run: Invocation, record: dict[str, Any], formats: bool) -> None:
    output = run.output
    output.line(clean(record["name"] or record["input"]))
    cached = {None: "not known", True: "yes", False: "no"}[None if record["cache"] is None else record["cache"]["hit"]]
    where = record["would_run_on"] or "nowhere now"
    if record["placement"]:
        where += f" ({record['placement']})"
    for name, value in (
        ("engine", record["engine"]),
        ("size", size(record["size"])),
        ("cached", cached),
        ("node", where),
    ):
        output.line(f"  {name:<8} {clean(value)}")
    for file in record["files"]:
        output.line(f"  {file.index:>6}  {size(file.size):>10}  {clean(file.path)}")
    if record["files_total"] > len(record["files"]):
        output.note(f"{record['files_total']} files; these are the first {len(record['files'])}")
    if formats:
        output.records(record["formats"], FORMATS)
