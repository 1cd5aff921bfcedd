"""`python -m odctl.cli.remembering KIND JOB HOST CONTEXT`: asks the daemon for what completion is going to need.

A program of its own, without the command line's parser: a TAB waits for it, though not for long.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from odctl.cli import snapshots
from odctl.client.errors import OdctlError

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

MOST_JOBS = 200


async def ask(client: DaemonClient, kind: str, about: str) -> list[tuple[object, object]]:
    """Words and what they stand for. Raises OdctlError."""
    if kind == "jobs":
        return [(job.id, job.name) for job in (await client.list_jobs(sort="!id", limit=MOST_JOBS))[0]]
    if kind == "files":
        return [(file.index, file.path) for file in await client.files.of(about)]
    if kind == "keys":
        return [(entry["key"], entry["name"]) for entry in await client.cache.entries()]
    if kind == "settings":
        return [(setting["key"], setting["description"]) for setting in await client.upkeep.settings()]
    if kind == "node_tokens":
        return [(one.id, one.name or one.state) for one in await client.nodes.tokens() if one.state == "good"]
    if kind == "nodes":
        return [(node["id"], node["state"]) for node in (await client.status())["nodes"]]
    if kind == "users":
        return [(user.name, user.role) for user in await client.accounts.users()]
    if kind == "apikeys":
        return [(key.name, ",".join(key.scopes)) for key in await client.accounts.api_keys()]
    return [(engine["name"], engine["version"] or "") for engine in await client.upkeep.engines()]


def remember(kind: str, about: str, host: str, context: str) -> None:
    """Raises OdctlError."""
    from odctl.client.endpoints import choose, find_socket

    choice = choose(host or None, context=context or None)
    find_socket(choice)  # the missing daemon is told before anything heavy is imported
    from odctl.client.credentials import Keyring
    from odctl.client.daemon import DaemonClient

    async def work() -> None:
        async with DaemonClient(choice, keyring=Keyring()) as client:
            snapshots.remember(kind, about, host, context, await ask(client, kind, about))

    with snapshots.only_one(kind, about, host, context) as alone:
        if alone:
            asyncio.run(work())


def main() -> None:
    """Nobody hears of a failure: what was known before is good enough for a TAB."""
    code = 0
    try:
        remember(*sys.argv[1:5])
    except OdctlError:
        code = 1
    # as odctl's own end: to take the modules apart again is left to the system
    os._exit(code)


if __name__ == "__main__":
    main()
