"""An FTP origin on the loopback (RFC 959 with SIZE, MDTM and REST of RFC 3659, EPSV of RFC 2428), with faults."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from types import TracebackType

from tests.support.wait import until


@dataclass(slots=True)
class FtpFile:
    body: bytes
    modified: str | None = "20240102030405"
    """What MDTM answers; None: the command is not known."""
    told: int | None = None
    """What SIZE answers in place of the truth."""
    rate: float | None = None
    drop_at: list[int] = field(default_factory=list)
    """For each of the next RETRs: the connection is cut after so many bytes."""
    sent: int = 0


class FtpOrigin:
    """`async with FtpOrigin() as ftp:`; `ftp.files["/dir/name"] = FtpFile(b"...")`."""

    def __init__(self, *, user: str = "anonymous", password: str | None = None) -> None:
        self.files: dict[str, FtpFile] = {}
        self.commands: list[str] = []
        self._user, self._password = user, password
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def __aenter__(self) -> FtpOrigin:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await until(lambda: not self._writers, every=0.01, what="the connections to end")

    def url(self, path: str) -> str:
        return f"ftp://127.0.0.1:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        session = _Session(self, reader, writer)
        try:
            await session.run()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            await session.close_data()
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def allows(self, user: str, password: str) -> bool:
        return user == self._user and self._password in (None, password)


class _Session:
    """One control connection."""

    def __init__(self, origin: FtpOrigin, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._origin, self._reader, self._writer = origin, reader, writer
        self._user, self._allowed, self._cwd, self._offset = "", False, "/", 0
        self._data: asyncio.Server | None = None
        self._peer: asyncio.Future[asyncio.StreamWriter] | None = None

    async def run(self) -> None:
        await self._say("220 ready")
        while line := await self._reader.readline():
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            verb, _, argument = text.partition(" ")
            self._origin.commands.append("PASS ***" if verb.upper() == "PASS" else text)
            if verb.upper() == "QUIT":
                await self._say("221 bye")
                return
            await self._answer(verb.upper(), argument)

    async def _answer(self, verb: str, argument: str) -> None:
        if verb == "USER":
            self._user = argument
            await self._say("331 password please")
        elif verb == "PASS":
            self._allowed = self._origin.allows(self._user, argument)
            await self._say("230 in" if self._allowed else "530 not you")
        elif not self._allowed:
            await self._say("530 log in first")
        elif verb == "TYPE":
            await self._say("200 ok")
        elif verb == "PWD":
            await self._say(f'257 "{self._cwd}"')
        elif verb == "CWD":
            self._cwd = self._path(argument)
            await self._say("250 ok")
        elif verb in ("SIZE", "MDTM"):
            file = self._origin.files.get(self._path(argument))
            value = None if file is None else file.modified
            if file is not None and verb == "SIZE":
                value = str(len(file.body) if file.told is None else file.told)
            await self._say(f"213 {value}" if value is not None else "550 no such file")
        elif verb == "REST":
            self._offset = int(argument)
            await self._say("350 ok")
        elif verb in ("EPSV", "PASV"):
            await self._passive(verb)
        elif verb == "RETR":
            await self._send(self._path(argument))
        else:
            await self._say("502 unknown")

    def _path(self, argument: str) -> str:
        return argument if argument.startswith("/") else f"{self._cwd.rstrip('/')}/{argument}"

    async def _passive(self, verb: str) -> None:
        await self.close_data()
        peer: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if not peer.done():
                peer.set_result(writer)
            else:
                writer.close()

        self._peer = peer
        self._data = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = self._data.sockets[0].getsockname()[1]
        if verb == "EPSV":
            await self._say(f"229 Entering Extended Passive Mode (|||{port}|)")
        else:
            await self._say(f"227 Entering Passive Mode (127,0,0,1,{port // 256},{port % 256})")

    async def _send(self, path: str) -> None:
        file = self._origin.files.get(path)
        if file is None or self._peer is None:
            await self._say("550 no such file" if file is None else "425 no data connection")
            return
        await self._say("150 here it comes")
        writer = await asyncio.wait_for(self._peer, 60)
        body, self._offset = file.body[self._offset :], 0
        cut = file.drop_at.pop(0) if file.drop_at else None
        for at in range(0, len(body), 16384):
            piece = body[at : at + 16384]
            writer.write(piece)
            await writer.drain()
            file.sent += len(piece)
            if cut is not None and at + len(piece) >= cut:
                writer.transport.abort()
                self._writer.transport.abort()
                return
            if file.rate:
                await asyncio.sleep(len(piece) / file.rate)
        await self.close_data()
        await self._say("226 done")

    async def close_data(self) -> None:
        if self._peer is not None:
            if self._peer.done() and not self._peer.cancelled():
                self._peer.result().close()
            else:
                self._peer.cancel()
            self._peer = None
        if self._data is not None:
            self._data.close()
            self._data = None

    async def _say(self, line: str) -> None:
        self._writer.write(f"{line}\r\n".encode())
        await self._writer.drain()
