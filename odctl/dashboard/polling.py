"""What a screen asks for while it is shown: at once, at every change of what it wants, and now and then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from odctl.client.errors import UNREACHABLE, OdctlError
from odctl.dashboard import messages as m
from odctl.dashboard.messages import Message, Query

if TYPE_CHECKING:
    from odctl.client.daemon import DaemonClient

Ask = Callable[["DaemonClient", Query, int, int], Awaitable[tuple[Sequence[Any], int]]]
"""The items that the query finds, from an offset on and at most so many, and how many there are."""


class Poll:
    """`query` and `window` say what is wanted when it is asked for: a filter and an order, an offset and a limit."""

    def __init__(
        self, name: str, ask: Ask, *, query: Callable[[], Query], window: Callable[[], tuple[int, int]],
        post: Callable[[Message], None], seconds: float,
    ) -> None:  # fmt: skip
        self.name = name
        self._ask = ask
        self._query, self._window = query, window
        self._post = post
        self._seconds = seconds
        self._again = asyncio.Event()

    def again(self) -> None:
        """Asks now."""
        self._again.set()

    async def __call__(self, client: DaemonClient) -> None:
        """Until it is cancelled. Raises OdctlError when the daemon is gone."""
        while True:
            self._again.clear()
            query, (offset, limit) = self._query(), self._window()
            try:
                items, total = await self._ask(client, query, offset, limit)
            except OdctlError as error:
                if error.exit_code == UNREACHABLE:
                    raise
                self._post(m.ListRefused(list=self.name, query=query, error=error))
            else:
                found = tuple(items)
                self._post(m.ListTold(list=self.name, query=query, offset=offset, items=found, total=total))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._again.wait()
