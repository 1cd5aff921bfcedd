"""grpclib's server with our connections. Who listens, and who is let in, is for others to say."""

from __future__ import annotations

from collections.abc import Callable, Collection

from grpclib._typing import IServable
from grpclib.config import Configuration
from grpclib.const import Handler as Route
from grpclib.server import Server

from oddaemon.rpc.connection import Connection, RequestHandler
from oddaemon.rpc.messages import StrictCodec


class BoundedServer(Server):
    """`guard` is put around every call: given its path and its route, it gives the route that is served."""

    connection_type: type[Connection] = Connection

    def __init__(
        self, services: Collection[IServable], config: Configuration, guard: Callable[[str, Route], Route]
    ) -> None:
        super().__init__(services, codec=StrictCodec(), config=config)
        self._mapping = {path: guard(path, route) for path, route in self._mapping.items()}
        self.live: set[Connection] = set()
        """The connections that are open."""

    def _protocol_factory(self) -> Connection:
        handler = RequestHandler(self._mapping, self._codec, self._status_details_codec, self.__dispatch__)
        self._handlers.add(handler)
        connection = self.connection_type(handler, self._config, self._h2_config)
        connection.open_connections = self.live
        self.__gc_step__()
        return connection

    def connection(self) -> Connection:
        """The protocol of one connection that somebody else makes."""
        return self._protocol_factory()
