"""A connection's bounds, without a network."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

from grpclib.client import Handler
from h2.config import H2Configuration
from h2.connection import H2Connection

from oddaemon.rpc import connection as rpc
from oddaemon.rpc.channel import GivenChannel
from oddaemon.rpc.connection import Connection, keepalive


class Wall(asyncio.Transport):
    """Takes everything, and nobody reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.held = 0
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.held += len(data)

    def get_write_buffer_size(self) -> int:
        return self.held

    def is_closing(self) -> bool:
        return self.aborted

    def close(self) -> None:
        self.aborted = True

    def abort(self) -> None:
        self.aborted = True


async def a_connection() -> tuple[Connection, Wall]:
    channel = GivenChannel(keepalive(60, 60))
    made = Connection(Handler(), channel._config, H2Configuration(client_side=False, header_encoding="ascii"))
    made.open_connections = set()
    wall = Wall()
    made.connection_made(wall)
    return made, wall


async def test_one_who_pings_and_never_reads_is_cut() -> None:
    made, wall = await a_connection()
    peer = H2Connection(H2Configuration(client_side=True))
    peer.initiate_connection()
    with patch.object(rpc, "MAX_UNSENT", 20_000):
        for _ in range(5000):
            peer.ping(b"12345678")
            made.data_received(peer.data_to_send())
            if wall.aborted:
                break
    assert wall.aborted
    assert wall.held < 30_000
    made.connection_lost(None)


async def test_what_comes_after_the_end_is_passed_over() -> None:
    made, wall = await a_connection()
    made.say_goodbye()
    assert wall.aborted
    held = wall.held
    made.data_received(b"junk" * 1000)
    assert wall.held == held
    made.connection_lost(None)
