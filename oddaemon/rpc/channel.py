"""grpclib's client on a connection that is there already, however it came about (ADR 0007, 0019)."""

from __future__ import annotations

from grpclib.client import Channel, Handler
from grpclib.config import Configuration

from oddaemon.rpc.connection import Connection
from oddaemon.rpc.messages import MAX_MESSAGE, StrictCodec


class GivenChannel(Channel):
    """`connection` is its one connection's protocol, for whoever makes the connection. When that is lost, calls raise
    ConnectionError: it does not connect by itself."""

    def __init__(self, config: Configuration, max_message: int = MAX_MESSAGE) -> None:
        super().__init__(config=config, codec=StrictCodec())
        self._live: set[Connection] = set()
        self.connection = Connection(Handler(), self._config, self._h2_config)
        self.connection.open_connections = self._live
        self.connection.max_message = max_message

    @property
    def alive(self) -> bool:
        return bool(self._live) and self._connected

    def opened(self) -> None:
        """The connection is made: calls go over it."""
        self._protocol = self.connection

    def widen(self, config: Configuration, max_message: int = MAX_MESSAGE) -> None:
        """From now on more may come at a time, see Connection."""
        self.connection.max_message = max_message
        self.connection.widen(config, streams=self.connection.max_streams)

    async def _create_connection(self) -> Connection:
        raise ConnectionError("the connection is gone")

    def close(self) -> None:
        """Idempotent; what waits for an answer hears of it at once."""
        if self._live:
            self.connection.processor.close("Closed here")
        self._protocol = None
