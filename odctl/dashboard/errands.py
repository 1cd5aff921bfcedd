"""Questions to the daemon that a part of the screen has under way: one of a kind at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from odctl.client.errors import OdctlError


class Errands:
    """`failed` is called after one that raised."""

    def __init__(self, whose: str, failed: Callable[[], None]) -> None:
        self._whose = whose
        self._failed = failed
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def on(self, name: str) -> bool:
        return name in self._under_way

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Nothing when one of its kind is under way."""
        if name in self._under_way:
            work.close()
            return
        task = self._under_way[name] = asyncio.create_task(work, name=f"{self._whose} {name}")

        def over(done: asyncio.Task[None]) -> None:
            if self._under_way.get(name) is done:
                del self._under_way[name]
            error = None if done.cancelled() else done.exception()
            if error is not None:
                self._failed()
                if not isinstance(error, OdctlError):
                    told = {"message": f"{self._whose} {name}", "exception": error}
                    asyncio.get_running_loop().call_exception_handler(told)

        task.add_done_callback(over)

    def stop(self, *names: str) -> None:
        for name in names:
            task = self._under_way.pop(name, None)
            if task is not None:
                task.cancel()

    def close(self) -> None:
        self.stop(*self._under_way)
