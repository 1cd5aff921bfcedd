"""`cache …`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import structs

from odctl.cli.app import invocation
from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.filters import quoted
from odctl.cli.output import Column, check_fields
from odctl.client.errors import OdctlError, UsageError
from odctl.client.models import Failure
from odctl.text import clean, moment, parse_duration, parse_size, size

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

COLUMNS = (
    Column(title="KEY", show=lambda e: e["key"], flexible=True),
    Column(title="SIZE", show=lambda e: size(e["size"]), right=True),
    Column(title="HITS", show=lambda e: e["hits"], right=True),
    Column(title="USED", show=lambda e: moment(e["last_used_at"])),
    Column(title="JOBS", show=lambda e: ",".join(map(str, e["jobs"])) or "-"),
    Column(title="PIN", show=lambda e: _pinned(e)),
    Column(title="WHERE", show=lambda e: ",".join(f"{r['node']}:{r['state']}" for r in e["replicas"]), wide=True),
    Column(title="NAME", show=lambda e: e["name"], flexible=True),
)
WIDE = (replace(COLUMNS[0], flexible=False), *COLUMNS[1:])
"""With keys whole."""
FIELDS = (
    "key", "jobs", "name", "engine", "replicas", "size", "hits", "last_used_at", "pinned", "users", "generation",
    "current", "created_at", "files", "private", "wished",
)  # fmt: skip
PLAN_FIELDS = ("plan", "freed_bytes", "applied")
KEY_HELP = "The first part of a key that no other has, or the number of a job: its entry."
MOST_NAMED = 5
"""Keys that a complaint names."""
KeysArg = Annotated[list[str], typer.Argument(metavar="KEY", help=KEY_HELP)]
DryOpt = Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")]


def ls(
    ctx: typer.Context,
    filters: Annotated[
        list[str] | None, typer.Argument(metavar="FILTER", help="As in pinned=true engine=aria2.")
    ] = None,
    sort: Annotated[str, typer.Option("--sort", "-s", metavar="FIELDS", help="As in last_used or '!size'.")] = "",
) -> None:
    """List cached contents."""
    run = invocation(ctx)
    found = run.call(lambda client: client.cache.entries(where=" ".join(filters or []), sort=sort))
    columns = WIDE if run.output.format == "wide" else COLUMNS
    run.output.records(found, columns, known=FIELDS, ids="key")
    if run.output.format in ("table", "wide"):
        run.output.note(f"{_count(len(found))}, {size(sum(entry['size'] or 0 for entry in found))}")


def show(ctx: typer.Context, key: Annotated[str, typer.Argument(metavar="KEY", help=KEY_HELP)]) -> None:
    """One entry: where it lies, who needs it, how often it was used."""
    run = invocation(ctx)

    async def look(client: DaemonClient) -> list[dict[str, Any]]:
        return await client.cache.entries(key=await _meant(client, key))

    found = run.call(look)
    if not found:
        raise _none(key)
    # generations share a key: the one that the next job gets, and that `pin` keeps
    entry = next((item for item in found if item["current"]), found[0])
    if run.output.structured:
        run.output.value(entry)
        return
    if run.output.quiet:
        run.output.line(clean(entry["key"]))
        return
    for name, value in _facts(entry):
        if value:
            run.output.line(f"{name:<10} {clean(value)}")


async def _meant(client: DaemonClient, word: str) -> str:
    """The key that a word of the command line stands for; the word itself where it is the beginning of none, and the
    daemon says so. Raises OdctlError for one that stands for several, and for a job without an entry."""
    if word.isascii() and word.isdigit():
        return await _of_job(client, word)
    found = await client.cache.entries(where=f"key~{quoted(word)}")
    keys = list(dict.fromkeys(entry["key"] for entry in found if entry["key"].startswith(word)))
    if word in keys or not keys:
        return word
    if len(keys) == 1:
        return str(keys[0])
    more = "" if len(keys) <= MOST_NAMED else f" and {len(keys) - MOST_NAMED} more"
    raise UsageError(
        f"'{clean(word)}' is the beginning of {len(keys)} keys", hint="  ".join(map(clean, keys[:MOST_NAMED])) + more
    )


async def _of_job(client: DaemonClient, number: str) -> str:
    from odctl.cli.context import as_error
    from odctl.client.models import Selection

    (detail,) = await client.get_jobs(Selection(ids=(number,)))
    if detail.failure is not None:
        raise as_error(detail.failure)
    if detail.job is None or not detail.job.cache_key:
        raise _none(f"for job {number}")
    return detail.job.cache_key


def _none(what: str) -> OdctlError:
    return OdctlError(
        f"there is no cache entry {clean(what)}", code="NOT_FOUND", exit_code=ExitCode.NOT_FOUND,
        hint="odctl cache ls shows them",
    )  # fmt: skip


def _facts(entry: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield "key", entry["key"]
    yield "name", entry["name"]
    yield "engine", entry["engine"]
    yield "size", size(entry["size"]) + (f" in {entry['files']} files" if entry["files"] > 1 else "")
    for replica in entry["replicas"]:
        place = f"  {replica['uri']}" if replica["uri"] else ""
        held = size(replica["size"])
        if replica["state"] == "copying":
            held = f"{held} of {size(replica['wanted'])}" + (f"  {replica['reason']}" if replica["reason"] else "")
        yield "where", f"{replica['node']}  {replica['state']}  {held}{place}"
    yield "jobs", ", ".join(map(str, entry["jobs"])) or "none"
    yield "users", ", ".join(entry["users"])
    yield "used", f"{moment(entry['last_used_at'])}, {entry['hits']} hits"
    yield "made", moment(entry["created_at"])
    yield "pinned", ("yes" if entry["wished"] == 1 else f"to {entry['wished']} nodes") if entry["pinned"] else ""
    yield "private", "yes: no other user gets it" if entry["private"] else ""
    yield "version", "" if entry["current"] else f"generation {entry['generation']}, superseded"


def _pinned(entry: Mapping[str, Any]) -> str:
    return ("pinned" if entry["wished"] == 1 else f"pinned×{entry['wished']}") if entry["pinned"] else ""


def pin(
    ctx: typer.Context,
    keys: KeysArg,
    replicas: Annotated[
        int | None,
        typer.Option("--replicas", metavar="N", min=1, help="Have each lie on so many nodes while it is pinned."),
    ] = None,
) -> None:
    """Keep entries: neither clean-up nor the last removal takes them. With --json the entries, a list."""
    _pin(invocation(ctx), keys, unpin=False, replicas=replicas)


def unpin(ctx: typer.Context, keys: KeysArg) -> None:
    """Stop keeping entries. One that no job needs may go then. With --json the entries, a list."""
    _pin(invocation(ctx), keys, unpin=True)


def copy(
    ctx: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help=KEY_HELP)],
    to: Annotated[str, typer.Option("--to", metavar="NODE", help="The node that gets a copy.")],
) -> None:
    """Have an entry lie on one more node. Goes on in the background: `odctl cache show KEY` tells how far it is."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)

    async def work(client: DaemonClient) -> dict[str, Any]:
        return await client.cache.copy(await _meant(client, key), to)

    entry = run.call(work)
    if run.output.structured:
        run.output.value(entry)
    elif run.output.quiet:
        run.output.line(clean(entry["key"]))
    else:
        for replica in entry["replicas"]:
            run.output.line(f"{clean(replica['node'])}  {replica['state']}  {clean(entry['key'])}")


def _pin(run: Invocation, keys: Sequence[str], *, unpin: bool, replicas: int | None = None) -> None:
    check_fields(run.output.fields, FIELDS)

    async def work(client: DaemonClient) -> list[dict[str, Any]]:
        meant = [await _meant(client, key) for key in keys]
        return await client.cache.pin(meant, unpin=unpin, replicas=replicas)

    found = run.call(work)
    if run.output.structured or run.output.quiet:
        run.output.records(found, COLUMNS, known=FIELDS, ids="key")
        return
    for entry in found:
        run.output.line(f"{'unpinned' if unpin else 'pinned'} {clean(entry['key'])}  {clean(entry['name'])}")


def rm(ctx: typer.Context, keys: KeysArg, dry_run: DryOpt = False) -> None:
    """Remove entries that no job needs."""
    run = invocation(ctx)
    check_fields(run.output.fields, ("key", "freed_bytes"))

    async def work(client: DaemonClient) -> list[dict[str, Any]]:
        meant = [await _meant(client, key) for key in keys]
        return [await _remove(client, key, dry_run) for key in dict.fromkeys(meant)]

    parts = run.call(work)
    result = {
        "items": [item for part in parts for item in part["items"]],
        "freed_bytes": sum(part["freed_bytes"] for part in parts),
        "applied": not dry_run,
    }
    done = [item for item in result["items"] if item["failure"] is None]
    if run.output.structured or run.output.quiet:
        records = [{"key": item["entry"]["key"], "freed_bytes": item["freed_bytes"]} for item in done]
        run.output.records(records, (), known=("key", "freed_bytes"), ids="key")
    else:
        _lines(run, result, done)
    raise typer.Exit(_failures(run, result))


async def _remove(client: DaemonClient, key: str, dry_run: bool) -> dict[str, Any]:
    """One key by itself: another that does not exist must not keep it from going."""
    try:
        return await client.cache.remove([key], dry_run=dry_run)
    except OdctlError as error:
        if error.exit_code == ExitCode.UNREACHABLE:
            raise
        told = Failure(code=error.code, message=error.message, hint=error.hint, details=error.details)
        return {"items": [{"entry": {"key": key}, "freed_bytes": 0, "failure": told}], "freed_bytes": 0}


def cleanup(
    ctx: typer.Context,
    older: Annotated[str, typer.Option("--older", metavar="AGE", help="Not used for so long, as in 30d.")] = "",
    until_free: Annotated[str, typer.Option("--until-free", metavar="SIZE", help="Until so much is free.")] = "",
    node: Annotated[str, typer.Option("--node", metavar="NAME", help="Only there.")] = "",
    verify: Annotated[bool, typer.Option("--verify", help="Look for lost files first.")] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="KEY#N", help="Of that only this generation of a key; repeat.")
    ] = None,
    dry_run: DryOpt = False,
) -> None:
    """Remove what no job needs, the least recently used first. A yes is for the entries that were shown, no others."""
    run = invocation(ctx)
    check_fields(run.output.fields, PLAN_FIELDS)
    age = parse_duration(older, "--older") if older else 0.0
    wanted = parse_size(until_free, "--until-free") if until_free else 0
    if not (older or until_free or verify):
        raise UsageError("nothing to go by was given", hint="give --older 30d, --until-free 100G or --verify")

    def ask(shown: Sequence[tuple[str, int]] | None, *, dry: bool) -> dict[str, Any]:
        return run.call(
            lambda client: client.cache.cleanup(
                older_s=age, until_free=wanted, node=node, dry_run=dry, verify=verify, only=shown
            )
        )

    plan = ask([_generation(name) for name in only] if only else None, dry=True)
    if not dry_run and plan["items"]:
        for item in plan["items"] if not run.yes else ():
            run.output.note(_line("would remove", item))
        run.confirm(f"remove {_count(len(plan['items']))} of the cache ({size(plan['freed_bytes'])})")
    going = [(item["entry"]["key"], item["entry"]["generation"]) for item in plan["items"] if item["entry"]]
    result = plan if dry_run else ask(going, dry=False)
    done = [item for item in result["items"] if item["failure"] is None]
    if run.output.structured:
        entries = [item["entry"] for item in result["items"]]
        run.output.value({"plan": entries, "freed_bytes": result["freed_bytes"], "applied": result["applied"]})
    elif run.output.quiet:
        run.output.records([item["entry"] for item in done], COLUMNS, ids="key")
    else:
        _lines(run, result, done)
    raise typer.Exit(_failures(run, result))


def _generation(name: str) -> tuple[str, int]:
    """Raises UsageError."""
    key, separator, number = name.rpartition("#")
    if not (separator and key and number.isascii() and number.isdigit() and len(number) < 19):
        raise UsageError(f"--only: '{clean(name)}' is not KEY#GENERATION", hint="as --dry-run --json names them")
    return key, int(number)


def _lines(run: Invocation, result: dict[str, Any], done: Sequence[dict[str, Any]]) -> None:
    word = "removed" if result["applied"] else "would remove"
    for item in done:
        run.output.line(_line(word, item))
    if not result["items"]:
        run.output.note("nothing to remove")
    if done:
        run.output.note(f"{size(result['freed_bytes'])} {'freed' if result['applied'] else 'would be freed'}")


def _count(entries: int) -> str:
    return f"{entries} {'entries' if entries != 1 else 'entry'}"


def _line(word: str, item: Mapping[str, Any]) -> str:
    entry = item["entry"]
    return f"{word} {clean(entry['key'])}  {clean(entry['name'])}  ({size(item['freed_bytes'])})"


def _failures(run: Invocation, result: dict[str, Any]) -> int:
    items = result["items"]
    failed = [(item["entry"]["key"] if item["entry"] else "", item["failure"]) for item in items if item["failure"]]
    named = [
        (key, told if key in told.message else structs.replace(told, message=f"{key}: {told.message}"))
        for key, told in failed
    ]
    return run.report(named, len(items))
