"""grpclib's server with our connections. Who listens, and who is let in, is for others to say."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from grpclib._typing import IServable
from grpclib.config import Configuration
from grpclib.const import Cardinality, Status
from grpclib.const import Handler as Route
from grpclib.server import Server, Stream

from oddaemon.rpc.connection import Connection, RequestHandler
from oddaemon.rpc.messages import StrictCodec


class _Routes(dict[str, Route]):
    """A call that is not known is answered in a way that grpclib's own client understands: its server leaves out the
    content type, and its client then says only that."""

    def get(self, path: str, default: object = None) -> Route:
        return super().get(path, _UNKNOWN)


async def _not_known(stream: Stream[Any, Any]) -> None:
    await stream.send_trailing_metadata(status=Status.UNIMPLEMENTED, status_message="Method not found")


_UNKNOWN = Route(_not_known, Cardinality.UNARY_UNARY, None, None)


class BoundedServer(Server):
    """`guard` is put around every call: given its path and its route, it gives the route that is served."""

    connection_type: type[Connection] = Connection

    def __init__(
        self, services: Collection[IServable], config: Configuration, guard: Callable[[str, Route], Route]
    ) -> None:
        super().__init__(services, codec=StrictCodec(), config=config)
        self._mapping = _Routes((path, guard(path, route)) for path, route in self._mapping.items())
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
