"""Questions of many at once are asked as one."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import pytest

from oddaemon.services.together import Together


async def test_who_asks_at_once_is_answered_by_one_call_and_who_asks_later_by_another() -> None:
    asked: list[list[int]] = []

    async def answer(keys: Collection[int]) -> Mapping[int, str]:
        asked.append(sorted(keys))
        await asyncio.sleep(0)
        return {key: str(key) for key in keys if key != 3}

    together = Together(answer)
    assert await asyncio.gather(*(together.ask(key) for key in (1, 2, 3, 2))) == ["1", "2", None, "2"]
    assert await together.ask(2) == "2"
    assert asked == [[1, 2, 3], [2]]


async def test_what_goes_wrong_everybody_gets_and_who_gave_up_disturbs_nobody() -> None:
    async def answer(keys: Collection[int]) -> Mapping[int, str]:
        if 9 in keys:
            raise ValueError("no")
        return {key: str(key) for key in keys}

    together = Together(answer)
    first, second = await asyncio.gather(together.ask(1), together.ask(9), return_exceptions=True)
    assert isinstance(first, ValueError)
    assert isinstance(second, ValueError)
    gone, stays = (asyncio.create_task(together.ask(key)) for key in (1, 2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == "2"
    with pytest.raises(asyncio.CancelledError):
        await gone
