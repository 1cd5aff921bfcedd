"""Builds the file server of a worker: without a store, it goes by what its controller tells."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from oddaemon.app.compose_node import Node
from oddaemon.app.exit_codes import ExitCode, StartFailed
from oddaemon.app.settings import Settings
from oddaemon.domain.errors import InvalidArgument
from oddaemon.domain.proxies import Proxies
from oddaemon.domain.types import LinkId, Seconds
from oddaemon.fileserver.processes import FileServer, FileServerOptions
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_files import FilesThere
from oddaemon.services.worker_files import WorkerFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedFiles:
    server: FileServer
    files: WorkerFiles
    """What the link to the controller keeps up to date."""
    url: str
    """Where it listens."""


async def serve_worker_files(
    settings: Settings, node: Node, clock: Clock, instance: str, stack: AsyncExitStack
) -> ServedFiles:
    """It listens, and serves nothing until the controller has told what. `instance`: of this run of the program. Raises
    StartFailed."""
    own, unheard = settings.node, Seconds(settings.node.serve_unheard)

    def client_of(peer: str, forwarded: str) -> str:
        return Proxies(settings.server.trusted_proxies).client(peer, [forwarded])

    files = WorkerFiles(clock=clock, there=FilesThere(instance=instance))
    server = FileServer(
        host=own.file_server_host, port=own.file_server_port, storage=node.storage_choice, keys=(),
        look_up=files.look_up, on_usage=files.on_usage, on_use=files.on_use, on_gone=files.on_gone,
        client_of=client_of, read_revoked=_nothing_yet, processes=own.file_server_processes,
        options=FileServerOptions(
            referers=tuple(own.file_referers), stale_seconds=unheard, leased=True, takes_tickets=True
        ),
    )  # fmt: skip
    try:
        host, port = await server.start()
    except InvalidArgument as error:
        raise StartFailed(error.message, code=ExitCode.UNAVAILABLE, hint=error.hint) from error
    stack.push_async_callback(server.stop)
    node.agent.file_endpoint = own.file_endpoint or None
    there = FilesThere(
        instance=instance, endpoint=own.file_endpoint or None, near=_near(host, port), unheard=unheard
    )  # fmt: skip
    files.serve(server, there)
    shown = f"[{host}]" if ":" in host else host
    return ServedFiles(server=server, files=files, url=f"http://{shown}:{port}")


async def _nothing_yet() -> Mapping[LinkId, datetime]:
    """The controller will tell."""
    return {}


def _near(host: str, port: int) -> str | None:
    """Where a controller on this machine finds it."""
    address = ip_address(host.partition("%")[0])
    if address.is_unspecified:
        return f"127.0.0.1:{port}" if address.version == 4 else f"[::1]:{port}"
    if not address.is_loopback:
        return None
    return f"[{host}]:{port}" if address.version == 6 else f"{host}:{port}"
