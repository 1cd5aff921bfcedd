"""An application that says what went wrong within it: it goes on where it can, and ends with one line where not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from textual.worker import Worker, WorkerState

from odctl.client.errors import OdctlError
from odctl.dashboard.mishaps import Mishaps
from odctl.dashboard.typed import OneAtATime


class Steady(OneAtATime):
    """`clock` is that of what is told of the last messages and keys."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self.clock = clock
        self.mishaps = Mishaps()
        self.fault: Exception | None = None
        """What ended it."""

    def complain(self, what: str, error: OdctlError) -> None:
        """Says what failed, why, and what to do."""
        raise NotImplementedError

    def mishap(self, what: str, fault: BaseException) -> None:
        """Tells of an exception that nobody expected, and goes on."""
        self.complain(what, self.mishaps.error(fault))

    def _handle_exception(self, error: Exception) -> None:
        """In place of Textual's traceback with all that variables hold: whoever opened the dashboard says what ended
        it."""
        self.fault = self.fault or error
        self._return_code = 1
        if self._exception is None:
            self._exception = error
            self._exception_event.set()
        self._close_messages_no_wait()

    def nobody_asked(self, loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
        """Of a task whose end nobody waits for."""
        fault = told.get("exception")
        if isinstance(fault, BaseException):
            self.mishap(str(told.get("message") or "in the background"), fault)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.mishap(event.worker.name, event.worker.error)

    async def run_action(self, action: Any, *where: Any, **how: Any) -> bool:
        if isinstance(action, str):
            self.mishaps.trail.add(self.clock(), f"key: {action}")
        return await super().run_action(action, *where, **how)
