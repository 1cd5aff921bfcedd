"""Asks an ftp origin for a file's size and time (RFC 959, RFC 3659), before and after aria2 fetches it."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import unquote

from oddaemon.domain.errors import InvalidSource
from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.domain.types import Seconds
from oddaemon.domain.url import Url, parse_url
from oddaemon.engines.aria2.origin import DEADLINE, Ask, FillFailed, Origin, believable, name_of_url, words_of

_ANSWER_LIMIT = 64 * 1024
_CLOSE = Seconds(2)
_BUSY = frozenset({421, 425, 426, 430, 434, 450, 451, 452})
_DENIED = frozenset({530, 532, 331, 332})


async def ask_ftp(ask: Ask, *, deadline: Seconds = DEADLINE) -> Origin:
    """Raises FillFailed."""
    try:
        url = parse_url(ask.url, schemes=frozenset({"ftp"}))
    except InvalidSource as error:
        raise FillFailed(Failure(code=FailureCode.BAD_SOURCE, message=error.message)) from error
    try:
        async with asyncio.timeout(deadline):
            return await _ask(url, ask)
    except TimeoutError as error:
        message = f"the origin did not answer within {deadline:g} s"
        raise FillFailed(Failure(code=FailureCode.TIMEOUT, message=message, retry=Retry.PASSING)) from error
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        what = words_of(error)
        message = f"the origin cannot be reached: {what}"
        raise FillFailed(Failure(code=FailureCode.NETWORK, message=message, retry=Retry.PASSING)) from error


async def _ask(url: Url, ask: Ask) -> Origin:
    reader, writer = await asyncio.open_connection(url.host.strip("[]"), url.port or 21, limit=_ANSWER_LIMIT)
    try:
        talk = _Talk(reader, writer)
        await talk.answer()
        await talk.command(f"USER {ask.user or 'anonymous'}", accept=(230, 331))
        if talk.last == 331:
            await talk.command(f"PASS {ask.password or 'guest@'}", accept=(230, 202))
        await talk.command("TYPE I", accept=(200,))
        *folders, name = (unquote(part, errors="surrogateescape") for part in url.path.lstrip("/").split("/"))
        for folder in folders:
            # as aria2 does, folder by folder (RFC 1738 section 3.2.2); an empty one would mean the home folder
            if folder:
                await talk.command(f"CWD {folder}", accept=(250, 200))
        size = await talk.optional(f"SIZE {name}")
        modified = await talk.optional(f"MDTM {name}")
        with contextlib.suppress(OSError):
            await talk.send("QUIT")
        return Origin(
            length=believable(int(size)) if size is not None and size.isascii() and size.isdigit() else None,
            last_modified=modified,
            name=name_of_url(url),
            url=ask.url,
        )
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE):
                await writer.wait_closed()


class _Talk:
    """Commands and answers of the control connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.last = 0
        self._text = ""

    async def send(self, line: str) -> None:
        if any(c in line for c in "\r\n\0"):
            raise FillFailed(Failure(code=FailureCode.BAD_SOURCE, message="an ftp command holds no line ends"))
        self._writer.write(line.encode("utf-8", "surrogateescape") + b"\r\n")
        await self._writer.drain()

    async def answer(self) -> None:
        """RFC 959 section 4.2: an answer of several lines ends with the line that begins with its code and a blank."""
        first = (await self._reader.readuntil(b"\n")).decode("utf-8", "replace").rstrip()
        if not first[:3].isdigit():
            raise ValueError("not an ftp answer")
        line, lines = first, 0
        while first[3:4] == "-" and not (line[:3] == first[:3] and line[3:4] == " "):
            line = (await self._reader.readuntil(b"\n")).decode("utf-8", "replace").rstrip()
            lines += 1
            if lines > 1000:
                raise ValueError("an ftp answer without end")
        self.last, self._text = int(first[:3]), line[4:]
        if self.last in _BUSY:
            message = f"the origin answered {self.last}"
            raise FillFailed(Failure(code=FailureCode.ORIGIN_BUSY, message=message, retry=Retry.PASSING))

    async def command(self, line: str, *, accept: tuple[int, ...]) -> None:
        await self.send(line)
        await self.answer()
        if self.last not in accept:
            code = FailureCode.ORIGIN_DENIED if self.last in _DENIED else FailureCode.ORIGIN_GONE
            raise FillFailed(Failure(code=code, message=f"the origin answered {self.last} to {line.split()[0]}"))

    async def optional(self, line: str) -> str | None:
        """The answer's text, None where the origin does not know the command. 550: there is no such file."""
        await self.send(line)
        await self.answer()
        if self.last == 550 and line.startswith("SIZE"):
            raise FillFailed(Failure(code=FailureCode.ORIGIN_GONE, message="the origin answered 550: no such file"))
        return self._text.strip() if self.last == 213 else None
