"""A private BitTorrent swarm on the loopback: a tracker of our own and a real aria2c that seeds. No DHT, LPD, PEX."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qsl, unquote_to_bytes

from tests.support.torrents import Torrent, bencode


@dataclass(slots=True)
class _Peer:
    port: int
    seeder: bool


class Tracker:
    """Answers announces (BEP 3, compact form of BEP 23) and counts them."""

    def __init__(self) -> None:
        self.peers: dict[bytes, dict[bytes, _Peer]] = {}
        self.announces: list[tuple[str, str]] = []
        """(info-hash in hex, event) in the order they came."""
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Tracker:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/announce"

    def announce_peer(self, torrent: Torrent, port: int) -> None:
        """As if a peer on this machine had announced itself."""
        self.peers.setdefault(bytes.fromhex(torrent.info_hash), {})[b"scripted"] = _Peer(port, True)

    def seeders(self, torrent: Torrent) -> int:
        return sum(p.seeder for p in self.peers.get(bytes.fromhex(torrent.info_hash), {}).values())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            target = head.split(b" ", 2)[1].decode("ascii", "replace")
            body = self._announce(target.partition("?")[2])
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _announce(self, query: str) -> bytes:
        raw = dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair)
        info_hash, peer_id = unquote_to_bytes(raw["info_hash"]), unquote_to_bytes(raw["peer_id"])
        said = dict(parse_qsl(query, encoding="latin-1"))
        event = said.get("event", "")
        self.announces.append((info_hash.hex(), event))
        peers = self.peers.setdefault(info_hash, {})
        if event == "stopped":
            peers.pop(peer_id, None)
        else:
            peers[peer_id] = _Peer(int(said["port"]), said.get("left") == "0")
        packed = b"".join(
            b"\x7f\x00\x00\x01" + p.port.to_bytes(2, "big") for key, p in peers.items() if key != peer_id
        )
        return bencode({"interval": 2, "min interval": 1, "peers": packed})


class MetadataPeer:
    """Gives a torrent's metadata (BEP 9, BEP 10) and nothing else: for torrents that no real seeder would take."""

    def __init__(self, torrent: Torrent) -> None:
        start = torrent.data.index(b"4:info") + len(b"4:info")
        self._info = torrent.data[start:-1]
        self._hash = bytes.fromhex(torrent.info_hash)
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> MetadataPeer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            opening = await asyncio.wait_for(reader.readexactly(68), 60)
            if opening[28:48] != self._hash:
                return  # an encrypted opening, for example: the other side tries again in the clear
            extensions = bytes([0, 0, 0, 0, 0, 0x10, 0, 0])
            writer.write(b"\x13BitTorrent protocol" + extensions + self._hash + b"-XX0001-" + b"x" * 12)
            self._send(writer, 0, {"m": {"ut_metadata": 3}, "metadata_size": len(self._info)})
            theirs = 1
            while True:
                length = int.from_bytes(await reader.readexactly(4), "big")
                message = await reader.readexactly(length) if length else b""
                if message[:2] == b"\x14\x00":
                    found = re.search(rb"11:ut_metadatai(\d+)e", message)
                    theirs = int(found[1]) if found else theirs
                elif message[:2] == b"\x14\x03" and b"8:msg_typei0e" in message:
                    header = {"msg_type": 1, "piece": 0, "total_size": len(self._info)}
                    self._send(writer, theirs, header, self._info)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _send(self, writer: asyncio.StreamWriter, kind: int, header: object, tail: bytes = b"") -> None:
        body = b"\x14" + bytes([kind]) + bencode(header) + tail
        writer.write(len(body).to_bytes(4, "big") + body)


class Seeder:
    """One aria2c child that holds the whole content of one torrent and uploads it until closed."""

    def __init__(self, torrent: Torrent, directory: Path, *, rate: str = "0") -> None:
        self._torrent, self._directory, self._rate = torrent, directory, rate
        self._child: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Seeder:
        """The caller waits on `Tracker.seeders`: announcing takes a moment."""
        aria2c = shutil.which("aria2c")
        assert aria2c, "the tests need aria2c"
        await asyncio.to_thread(self._prepare)
        self._child = await asyncio.create_subprocess_exec(
            aria2c, "--no-conf", "--enable-dht=false", "--bt-enable-lpd=false", "--enable-peer-exchange=false",
            "--listen-port=20000-29999", f"--dir={self._directory}", "--check-integrity=true", "--seed-ratio=0.0",
            f"--max-upload-limit={self._rate}", "--bt-tracker-interval=1", "--quiet", "--file-allocation=none",
            "--stop=300", str(self._directory / "content.torrent"),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        return self

    def _prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._torrent.write_to(self._directory)
        (self._directory / "content.torrent").write_bytes(self._torrent.data)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._child is not None
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGKILL)
        await asyncio.wait_for(self._child.wait(), 60)
