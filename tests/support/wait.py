"""Waiting for a condition with a deadline: the only way a test waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which nobody expects it any more. It bounds a test that would hang and says nothing about speed."""


@overload
async def until(
    condition: Callable[[], Awaitable[T | None]], *, timeout: float = ..., every: float = ..., what: str = ...
) -> T: ...
@overload
async def until(
    condition: Callable[[], T | None], *, timeout: float = ..., every: float = ..., what: str = ...
) -> T: ...
async def until(
    condition: Callable[[], object], *, timeout: float = PATIENCE, every: float = 0.05, what: str = ""
) -> object:
    """The first true answer of `condition`, which may be sync or async. Fails the test after `timeout` seconds,
    saying what was waited for and what the last answer was."""
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s for {what or condition!r}; last answer: {answer!r}")
        await asyncio.sleep(every)
