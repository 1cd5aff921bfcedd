"""For plug-ins: tasks that belong to an object rather than to a call, and locks that go with what they guard."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class TaskScope:
    """A TaskGroup that can be opened and closed from different tasks. Tasks handle their own errors: one that escapes
    ends them all."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._keeper: asyncio.Task[None] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        if self._keeper is not None:
            return
        opened = asyncio.Event()
        # the group has to be entered and left by one and the same task; this is that task
        self._keeper = asyncio.create_task(self._keep(opened), name=self._name)
        await opened.wait()

    async def _keep(self, opened: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            opened.set()
            await asyncio.Event().wait()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        if self._group is None:
            work.close()
            raise RuntimeError("the scope is not open")
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Cancels what runs and waits for it."""
        keeper, self._keeper, self._group = self._keeper, None, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])


class KeyedLocks:
    """A lock for each key that somebody holds or waits for."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def holding(self, key: Hashable) -> AsyncIterator[None]:
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            users = self._locks[key][1] - 1
            if users:
                self._locks[key] = (lock, users)
            else:
                del self._locks[key]


async def to_the_end(work: asyncio.Future[T]) -> T:
    """What the work comes to. Cancelled, however often, it waits for the end of the work all the same and is cancelled
    then: for clean-up that nothing may cut short. The work has to have a deadline of its own."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return work.result()


async def end_task(task: asyncio.Task[None] | None) -> None:
    """Cancels a task and waits for its end, without taking over its fate. A task may not end itself."""
    if task is not None and not task.done() and task is not asyncio.current_task():
        task.cancel()
        await asyncio.wait([task])
