"""Questions of many at once, asked as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class Together(Generic[K, V]):
    """Whoever asks before the event loop comes round again is answered by one call of `answer`, which begins after all
    of them have asked. What it raises, each of them gets."""

    answer: Callable[[Collection[K]], Awaitable[Mapping[K, V]]]
    _waiting: dict[K, list[asyncio.Future[V | None]]] = field(default_factory=dict)
    _asking: set[asyncio.Task[None]] = field(default_factory=set)

    async def ask(self, key: K) -> V | None:
        """None when the answer has nothing for the key."""
        if not self._waiting:
            task = asyncio.create_task(self._ask(), name="ask together")
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        future: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(future)
        return await future

    async def _ask(self) -> None:
        waiting, self._waiting = self._waiting, {}
        try:
            found = await self.answer(waiting.keys())
        except BaseException as error:
            for future in (future for some in waiting.values() for future in some if not future.done()):
                if isinstance(error, Exception):
                    future.set_exception(error)
                else:
                    future.cancel()
            if not isinstance(error, Exception):
                raise
            return
        for key, some in waiting.items():
            for future in some:
                if not future.done():
                    future.set_result(found.get(key))
