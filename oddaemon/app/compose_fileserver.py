"""What a file process is made of: no database, no gRPC, no framework, quick to start.

Started by `oddaemon.fileserver.processes` as `python -m oddaemon.app.compose_fileserver PIPE LISTENER DESCRIPTORS`,
three inherited ones: of the socket pair to the daemon, of the socket that all file processes accept from, and of the
pair over which the daemon hands them others.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from pathlib import Path
from typing import Any

from oddaemon.app.plugins import STORAGE, PluginTable
from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.errors import Unsupported
from oddaemon.fileserver.worker import Worker
from oddaemon.ports.plugin import Parts
from oddaemon.ports.storage import StorageProvider
from oddaemon.ports.supervisor import DaemonSpec, SupervisedDaemon, Supervisor


class NoChildren(Supervisor):
    """A file process starts none."""

    async def start(self, spec: DaemonSpec) -> SupervisedDaemon:
        raise Unsupported("a file process starts no other process")

    async def stop(self, name: str) -> None:
        return None

    async def stop_all(self) -> None:
        return None


def build_storage(choice: dict[str, Any]) -> StorageProvider:
    """The storage that the daemon chose."""
    plugin = PluginTable.installed().load(STORAGE, choice["provider"])
    parts = Parts(
        supervisor=NoChildren(), clock=SystemClock(), state_dir=Path(choice["state_dir"]),
        download_dir=Path(choice["download_dir"]),
    )  # fmt: skip
    built: StorageProvider = plugin.build(plugin.settings_type(**choice["settings"]), parts)
    return built


def main(arguments: list[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    pipe, listener, descriptors = (socket.socket(fileno=int(argument)) for argument in arguments)
    asyncio.run(Worker(pipe, listener, descriptors, build_storage).run())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
