"""Looks at sources while they are being written: a few at once, each once, and none whose line has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from odctl.client.errors import OdctlError
from odctl.sources import Order, resolve

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

AT_ONCE = 3
SECONDS = 60.0
REMEMBERED = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A source as it was written, and as whom it is looked at."""

    text: str
    engine: str = ""
    node: str = ""


def lines_of(text: str) -> list[str]:
    """The sources of a text: one a line; blank ones and `#` comments are none; the same twice is one."""
    lines = (line.strip() for line in text.splitlines())
    return list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


class Probes:
    """`client` gives the connection, `changed` is told that there is news."""

    def __init__(self, client: Callable[[], DaemonClient | None], changed: Callable[[], None]) -> None:
        self.told: dict[Line, dict[str, Any] | OdctlError] = {}
        self._client = client
        self._changed = changed
        self._tasks: dict[Line, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    def want(self, lines: Sequence[Line]) -> None:
        """These from here on."""
        wanted = set(lines)
        for line in [line for line in self._tasks if line not in wanted]:
            self._tasks.pop(line).cancel()
        for line in lines:
            if line not in self.told and line not in self._tasks:
                task = self._tasks[line] = asyncio.create_task(self._look(line), name="probe")
                task.add_done_callback(lambda done, line=line: self._over(line, done))  # type: ignore[misc]
        while len(self.told) > REMEMBERED:
            self.told.pop(next(iter(self.told)))

    def looking(self, line: Line) -> bool:
        return line in self._tasks

    def stop(self) -> None:
        self.want([])

    def _over(self, line: Line, done: asyncio.Task[None]) -> None:
        if self._tasks.get(line) is done:
            del self._tasks[line]
            self._changed()

    async def _look(self, line: Line) -> None:
        async with self._room:
            try:
                order = await asyncio.to_thread(resolve, Order(input=line.text), line.text)
                client = self._client()
                if client is None:
                    return
                self.told[line] = await client.probe(
                    source=order.source, torrent=order.torrent, engine=line.engine, options={}, timeout_s=SECONDS,
                    node=line.node,
                )  # fmt: skip
            except OdctlError as error:
                self.told[line] = error
