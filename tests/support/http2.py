"""A gRPC client that behaves as badly as the test wants: it reads, and gives credit, only when told."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, Event, StreamReset
from h2.settings import SettingCodes

DEADLINE = 60.0


@dataclass(slots=True)
class RawClient:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    h2: H2Connection
    data: dict[int, bytearray] = field(default_factory=lambda: defaultdict(bytearray))
    events: list[Event] = field(default_factory=list)

    async def open(self, path: str, body: bytes, *more: tuple[str, str]) -> int:
        """Sends one whole call; its stream's number."""
        stream = self.h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers"),
            ("content-type", "application/grpc+proto"), *more,
        ]  # fmt: skip
        self.h2.send_headers(stream, headers)
        self.h2.send_data(stream, struct.pack("!?I", False, len(body)) + body, end_stream=True)
        await self.flush()
        return stream

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def allow(self, stream: int, size: int) -> None:
        """Credit for `size` more bytes of `stream`."""
        self.h2.increment_flow_control_window(size, stream)
        self.h2.increment_flow_control_window(size)
        await self.flush()

    async def read(self) -> bool:
        """Takes in what comes next; False at the end of the connection."""
        async with asyncio.timeout(DEADLINE):
            received = await self.reader.read(65536)
        if not received:
            return False
        for event in self.h2.receive_data(received):
            self.events.append(event)
            if isinstance(event, DataReceived):
                self.data[event.stream_id] += event.data
        await self.flush()
        return True

    async def until_over(self, stream: int) -> Event | None:
        """The event that ended a stream or everything; None: the connection was closed."""
        while True:
            for event in self.events:
                if isinstance(event, ConnectionTerminated):
                    return event
                if isinstance(event, StreamReset) and event.stream_id == stream:
                    return event
            if not await self.read():
                return None

    def messages(self, stream: int) -> list[bytes]:
        """The whole messages that came."""
        held, found = bytes(self.data[stream]), []
        while len(held) >= 5:
            (size,) = struct.unpack("!I", held[1:5])
            if len(held) < 5 + size:
                break
            found.append(held[5 : 5 + size])
            held = held[5 + size :]
        return found


@contextlib.asynccontextmanager
async def raw_client(socket: Path, *, window: int = 65535) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False))
        h2.local_settings[SettingCodes.INITIAL_WINDOW_SIZE] = window
        h2.local_settings.acknowledge()
        h2.initiate_connection()
        client = RawClient(reader, writer, h2)
        await client.flush()
        yield client
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
