"""Idempotency-Key: an add that is sent again is carried out once and answered the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from oddaemon.domain.errors import Conflict, StoreUnavailable
from oddaemon.domain.types import JobId
from oddaemon.services.downloads import DownloadService
from oddaemon.services.keyed_adds import Answered, KeyedAdds
from oddaemon.services.views import AddOrder
from tests.integration.test_rest_downloads import ended, item
from tests.support.accounts import office
from tests.support.core import house
from tests.support.rest_house import Visitor, rest_house

DATABASES = ("sqlite", "postgresql")


def keyed(key: str, **body: Any) -> dict[str, Any]:
    return {"headers": {"Idempotency-Key": key}, "json": body}


async def numbers(who: Visitor) -> list[int]:
    return sorted(job["id"] for job in await who.data("GET", "/downloads"))


async def test_the_same_request_is_carried_out_once(tmp_path: Path) -> None:
    async with rest_house(tmp_path) as built:
        maya, bob = await built.user("maya"), await built.user("bob")
        asked = item()
        answers = await asyncio.gather(*(maya.call("POST", "/downloads", **keyed("k1", **asked)) for _ in range(6)))
        assert {response.status for response, _ in answers} == {201}
        assert len({response.headers["Location"] for response, _ in answers}) == 1
        first = answers[0][1]
        assert all(answer == first for _, answer in answers)
        await ended(maya, first["data"])
        # the answer of then, whatever became of the job
        await maya.data("DELETE", f"/downloads/{first['data']['id']}")
        assert (await maya.call("POST", "/downloads", **keyed("k1", **asked)))[1] == first
        assert await numbers(maya) == []
        # by another path, with another body, or as another's
        await maya.refused("POST", "/downloads", 409, "CONFLICT", **keyed("k1", **item()))
        await maya.refused("POST", "/bulk/add", 409, "CONFLICT", **keyed("k1", items=[asked]))
        assert len([await bob.data("POST", "/downloads", status=201, **keyed("k1", **asked))]) == 1
        assert await numbers(maya) == []
        many = [item(), {"source": "no source"}, item()]
        told = [await maya.data("POST", "/bulk/add", **keyed("k2", items=many)) for _ in range(2)]
        assert told[0] == told[1]
        assert len(await numbers(maya)) == 2
        # what was refused stored nothing, and a dry run never does: the key is free
        await maya.refused("POST", "/downloads", 422, "INVALID_SOURCE", **keyed("k3", source="no source"))
        await maya.data("POST", "/downloads", **keyed("k3", **item(dry_run=True)))
        await maya.data("POST", "/downloads", status=201, **keyed("k3", **item()))
        assert len(await numbers(maya)) == 3
        for wrong in ("", "k" * 256, "ä"):
            problem = await maya.refused("POST", "/downloads", 422, "INVALID_ARGUMENT", **keyed(wrong, **item()))
            assert problem["field"] == "Idempotency-Key"
        key = maya.key
    async with rest_house(tmp_path / "other") as built:
        assert await numbers(built.admin) == []
    async with rest_house(tmp_path) as built:
        # after a restart, too
        maya = built.with_key("maya", key)
        assert (await maya.call("POST", "/downloads", **keyed("k1", **asked)))[1] == first


async def test_what_was_cut_short_goes_on_with_the_same_jobs(tmp_path: Path) -> None:
    async with house(tmp_path) as built:
        adds = KeyedAdds(built.store, built.core.downloads.clock)
        made: list[JobId] = []

        async def add(ids: Sequence[JobId]) -> Answered:
            made.extend(ids)
            for number, job_id in enumerate(ids):
                order = AddOrder(source=f"http://origin.example/{number}", engine="simulated")
                await built.core.downloads.add(built.admin, order, id=job_id)
                if number == 0 and len(made) == len(ids):
                    raise asyncio.CancelledError  # as a crash would leave it: one is added, nothing is answered
            return Answered("done")

        with pytest.raises(asyncio.CancelledError):
            await adds.once(built.admin, "k", digest="d", count=3, carry_out=add)
        assert await adds.once(built.admin, "k", digest="d", count=3, carry_out=add) == "done"
        assert made[:3] == made[3:]
        page = await built.core.jobs.page(
            built.admin, filter="", sort="id", offset=0, limit=9, include_old=True
        )
        assert [view.job.id for view in page.rows] == made[:3]


async def test_what_failed_in_passing_is_tried_again_with_the_same_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [f"http://origin.example/{n}" for n in range(3)]
    asked: dict[str, Any] = keyed("k", items=[{"source": source, "engine": "simulated"} for source in sources])
    real = DownloadService.add
    stored = {sources[0]}  # of what fails; its answer is lost

    async def failing(self: DownloadService, who: Any, order: AddOrder, **more: Any) -> Any:
        if order.source in stored:
            await real(self, who, order, **more)
        if order.source != sources[2]:
            raise StoreUnavailable
        return await real(self, who, order, **more)

    async with rest_house(tmp_path) as built:
        monkeypatch.setattr(DownloadService, "add", failing)
        first = await built.admin.data("POST", "/bulk/add", **asked)
        assert [one["error"] and one["error"]["code"] for one in first] == ["STORE_UNAVAILABLE"] * 2 + [None]
        one = keyed("k1", source=sources[0], engine="simulated")
        await built.admin.refused("POST", "/downloads", 503, "STORE_UNAVAILABLE", **one)
        monkeypatch.setattr(DownloadService, "add", real)
        again = await built.admin.data("POST", "/bulk/add", **asked)
        assert [one["error"] for one in again] == [None] * 3
        assert await built.admin.data("POST", "/bulk/add", **asked) == again
        await built.admin.data("POST", "/downloads", status=201, **one)
        assert len(await numbers(built.admin)) == 4


async def test_a_key_is_kept_for_a_day(tmp_path: Path) -> None:
    async with office(tmp_path) as desk:
        adds = KeyedAdds(desk.store, desk.clock)
        told: list[str] = []

        async def carry_out(ids: Sequence[JobId]) -> Answered:
            told.append(str(len(told)))
            return Answered(told[-1])

        async def once(digest: str = "d") -> str:
            return await adds.once(desk.operator, "k", digest=digest, count=1, carry_out=carry_out)

        assert [await once(), await once()] == ["0", "0"]
        with pytest.raises(Conflict):
            await once("other")
        desk.clock.jump(timedelta(hours=23).total_seconds())
        assert await once() == "0"
        assert await adds.trim() == 0
        desk.clock.jump(timedelta(hours=2).total_seconds())
        assert await once("other") == "1"
        desk.clock.jump(timedelta(hours=25).total_seconds())
        assert await adds.trim() == 1
