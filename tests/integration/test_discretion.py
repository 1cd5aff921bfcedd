"""Whoever only looks learns nothing of what others have; whoever adds has it at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from oddaemon.domain.errors import Unauthenticated
from oddaemon.domain.job import JobState
from oddaemon.domain.types import Seconds
from oddaemon.domain.user import Principal
from oddaemon.ports.store import Transaction
from oddaemon.services import orders
from tests.support.core import SIMULATED, house

MAGNET = "magnet:?xt=urn:btih:" + "ab" * 20
OPTIONS = {"size": "5000"}


@pytest.mark.parametrize("told", [False, True])
async def test_a_dry_run_tells_of_others_content_only_if_the_setting_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    # an engine whose keys follow from the source alone
    monkeypatch.setattr(orders, "ARIA2", SIMULATED)
    async with house(tmp_path) as home:
        home.tells_of_others = told
        maya, noor = await home.user("maya"), await home.user("noor")

        async def look(who: Principal) -> tuple[bool, JobState, str | None, int | None]:
            job = (await home.add(MAGNET, who, options=OPTIONS, dry=True)).job
            return job.cache_hit, job.state, job.name, job.size

        nothing = await look(noor)
        assert nothing[0] is False
        hers = await home.until_state(await home.add(MAGNET, maya, options=OPTIONS), JobState.COMPLETED)
        whole = (True, JobState.COMPLETED, hers.name, hers.size)
        assert await look(maya) == await look(home.admin) == whole
        assert await look(noor) == (whole if told else nothing)
        had = (await home.add(MAGNET, noor, options=OPTIONS)).job
        assert (had.cache_hit, had.state) == (True, JobState.COMPLETED)
        assert await look(noor) == whole


@pytest.mark.parametrize("told", [False, True])
async def test_a_probe_tells_of_others_content_only_if_the_setting_allows_it(tmp_path: Path, told: bool) -> None:
    async with house(tmp_path) as home:
        home.tells_of_others = told
        maya, noor = await home.user("maya"), await home.user("noor")

        async def look(who: Principal) -> bool | None:
            found = await home.core.prober.probe(
                who, MAGNET, torrent=None, engine="simulated", options=OPTIONS, deadline=Seconds(30)
            )
            return found.cache_hit

        assert await look(noor) is False
        await home.until_state(await home.add(MAGNET, maya, options=OPTIONS), JobState.COMPLETED)
        assert [await look(who) for who in (maya, home.admin, noor)] == [True, True, told]


async def test_a_probe_ends_with_the_access_of_its_caller(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        maya = await home.user("maya")
        long = {"delay-metadata": "3000"}
        looking = asyncio.create_task(
            home.core.prober.probe(
                maya, MAGNET, torrent=None, engine="simulated", options=long, deadline=Seconds(4000)
            )
        )  # fmt: skip
        await asyncio.sleep(0)  # it is under way

        def disable(tx: Transaction) -> None:
            user = tx.users.get(maya.user_id)
            assert user is not None
            tx.users.update(replace(user, is_active=False))

        await home.store.write(disable)
        with pytest.raises(Unauthenticated):
            await asyncio.wait_for(looking, 60)  # promised within a second
