"""The port that workers come to: closed until somebody is expected, so that an installation of one machine has none."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from oddaemon.app.exit_codes import StartFailed
from oddaemon.app.listeners import listen
from oddaemon.app.node_certificate import node_certificate
from oddaemon.app.settings import NodesSettings
from oddaemon.domain.errors import Unavailable
from oddaemon.ports.node_transport import NodeDoor, NodeTransport
from oddaemon.services.nodes import Doorway

log = logging.getLogger(__name__)


@dataclass(slots=True)
class NodePort:
    """Meets services.nodes.NodePort."""

    settings: NodesSettings
    data_dir: Path
    transport: NodeTransport
    door: NodeDoor
    _way: Doorway | None = None
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def address(self) -> str:
        """Empty while it is closed."""
        return "" if self._way is None else self._way.address

    async def open(self) -> Doorway:
        try:
            return await self.open_at_start()
        except StartFailed as error:
            raise Unavailable(f"workers could not come in: {error.message}", hint=error.hint) from error

    async def open_at_start(self) -> Doorway:
        """Raises StartFailed."""
        async with self._opening:
            if self._way is None:
                self._way = await self._opened()
            return self._way

    async def _opened(self) -> Doorway:
        certificate = await asyncio.to_thread(node_certificate, self.settings, self.data_dir, self.transport)
        listening = await asyncio.to_thread(_listen, self.settings)
        with listening:
            self.door.context = certificate.context
            await self.door.serve(listening)
            port = listening.getsockname()[1]
        door = Doorway(told_address(self.settings, port), certificate.fingerprint)
        log.info("listening for workers", extra={"action": "node_port_open", "port": port, "address": door.address})
        return door


def _listen(settings: NodesSettings) -> socket.socket:
    everywhere = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104  where workers come from is not known
    return listen(settings.host or everywhere, settings.port, setting="nodes.port", variable="OD_NODES_PORT")


def told_address(settings: NodesSettings, port: int) -> str:
    """host:port, as a worker is told."""
    parts = urlsplit(f"//{settings.address}")
    here = socket.gethostname() if settings.host in ("", "::", "0.0.0.0") else settings.host  # noqa: S104  not bound here
    host = parts.hostname or here
    return f"{f'[{host}]' if ':' in host else host}:{parts.port or port}"
