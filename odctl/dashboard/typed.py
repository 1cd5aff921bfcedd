"""What is typed, one key after the other: each meets what the one before it left, as whoever types expects.

Textual gives a key to what has the focus when the key arrives, while the one before it may still be on its way: of
`/dd` in one go the list would get all three, and the `d`s would ask for what nobody meant.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from textual import events
from textual.app import App
from textual.message_pump import MessagePump

ROUNDS = 3
"""Ways from the focus up to the application: of the key, of what it made its widget say, of the focus that moved."""
LOOK_SECONDS, LONGEST_SECONDS = 0.05, 5.0
"""Between two looks whether what was asked still lives, and at most. Nobody's keys wait for ever."""


class OneAtATime(App[int]):
    """Keeps keys and pastes until the one before them has had its effect."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[events.Key | events.Paste] = deque()
        self._settling: asyncio.Task[None] | None = None
        self._passed: events.Event | None = None
        self._held: asyncio.Event | None = None

    def hold_keys(self) -> Callable[[], None]:
        """What is typed from here on is meant for what is about to open. Gives what ends this; escape does, too."""
        held = self._held = asyncio.Event()
        return held.set

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded and event is not self._passed:
            if self._settling is not None and not self._settling.done():
                self._waiting.append(event)
                if self._held is not None and isinstance(event, events.Key) and event.key == "escape":
                    self._held.set()
                return
            self._settling = asyncio.create_task(self._pass_on(), name="dashboard keys")
        await super().on_event(event)

    async def _pass_on(self) -> None:
        await self._settled()
        while self._waiting:
            self._passed = self._waiting.popleft()
            self.post_message(self._passed)
            await self._settled()

    async def _settled(self) -> None:
        await self._quiet()
        if self._held is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_SECONDS):
                    await self._held.wait()
            self._held = None
            await self._quiet()

    async def _quiet(self) -> None:
        await _reached(self)
        for _ in range(ROUNDS):
            # not `ancestors`: it would leave out the screens below a dialog, and the application
            pump: MessagePump | None = self.focused or self.screen
            while pump is not None:
                await _reached(pump)
                pump = pump._parent
        await _reached(self)


async def _reached(pump: MessagePump) -> None:
    """What was posted to it before has been dealt with, or never will be."""
    done = asyncio.Event()
    if not pump.call_later(done.set):
        return
    loop = asyncio.get_running_loop()
    end = loop.time() + LONGEST_SECONDS
    while not done.is_set() and pump.is_running and loop.time() < end:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await done.wait()
        except TimeoutError:
            pass
