"""A worker's disk that is too small for two, and fills; a worker that lies. On hosts of their own."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from uuid import UUID

import pytest

from oddaemon.domain.join_token import parse_token
from oddaemon.domain.node import DiskUsage, EngineHealth
from oddaemon.domain.node_proof import JoinToken
from oddaemon.domain.types import Bytes, EngineName, NodeId, ReplicaId
from oddaemon.ports.engine import FillState, FillStatus
from oddaemon.ports.node_registry import AnnouncedEngine, Announcement, Heartbeat
from oddaemon.ports.node_transport import ControllerAddress, Identity
from oddaemon.transports.grpc.dialer import join, registry_client
from tests.support.disks import small_disk
from tests.support.fleet import NODES_PORT, fleet
from tests.support.wait import until

pytestmark = pytest.mark.timeout(300)
ROOM = 24
"""Megabytes of a worker's disk, of which one is the reserve."""
MB = 1 << 20


async def test_two_that_do_not_fit_together_come_one_after_the_other_and_a_full_disk_is_waited_for(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "attic-0" / "downloads", ROOM) as disk:
        async with fleet(tmp_path, "attic") as they:
            first, second = [await they.add(14 * MB, "--node", "attic", rate=4.0 * MB) for _ in "ab"]
            await they.until_running([first])
            await until(
                lambda: _waits(they.controller, second.number), timeout=30, what="a reason that speaks of the disk"
            )
            await they.controller.until_state(first.number, "completed")
            # its size was known only when it had begun
            began = second.page.sent
            assert began < 7 * MB
            (await they.controller.odctl("rm", "-y", str(first.number))).ok()
            they.jobs.remove(first)
            await they.until_running([second], at_least=began + 1)
            # somebody else fills the disk under it
            junk = disk / "junk"
            with junk.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - MB // 2)
            await until(
                lambda: _held(they.controller, second.number), timeout=60, every=0.2, what="it to be held"
            )
            junk.unlink()
            await they.settle()
            # what could not be written while the disk was full is asked for again
            await they.check(fetched_twice=[second])


async def _waits(controller: object, number: int) -> bool:
    job = await controller.job(number)  # type: ignore[attr-defined]
    return job["reason"] is not None and "attic" in job["reason"]["message"] and "needs" in job["reason"]["message"]


async def _held(controller: object, number: int) -> bool:
    job = await controller.job(number)  # type: ignore[attr-defined]
    assert job["state"] != "failed", job
    return job["state"] == "queued" and job["reason"] is not None


async def test_a_worker_that_lies_ends_and_takes_nothing_of_the_others(tmp_path: Path) -> None:
    async with fleet(tmp_path, "attic") as they:
        job = await they.add(4 * MB, "--node", "attic", rate=0.5 * MB)
        await they.until_running([job])
        (folder,) = [name for name in os.listdir(they.workers["attic-0"].downloads) if name != ".opendebrid"]
        replica = ReplicaId(UUID(folder))
        token = parse_token(await they.token())
        host = they.controller.host
        assert host is not None
        address = ControllerAddress(host=host.address, port=NODES_PORT, fingerprint=token.fingerprint)
        joined = await join(address, JoinToken(token.id, token.secret), NodeId("liar"))
        disk = DiskUsage(total=Bytes(1 << 50), free=Bytes(1 << 50))
        health = EngineHealth(name=EngineName("aria2"), ok=True, max_concurrent=1_000_000)
        async with registry_client(address) as registry:
            await registry.authenticate(
                Identity(node_id=joined.node_id, credential=joined.credential, instance="lies")
            )
            await registry.register(
                Announcement(
                    instance="lies", name="liar", software="0", disk=disk, engines=(AnnouncedEngine(health=health),),
                    replicas=(replica,), file_endpoint="http://169.254.169.254",
                )
            )  # fmt: skip
            await they.until_node("liar", "online")
            whole = Bytes(4 * MB)
            for state in (FillState.COMPLETE, FillState.PAUSED, FillState.COMPLETE):
                await registry.report([FillStatus(replica_id=replica, state=state, total=whole, done=whole)])
                await registry.heartbeat(Heartbeat(disk=disk, engines=(health,), running=1_000_000))
                await asyncio.sleep(1)
            now = await they.controller.job(job.number)
            assert (now["state"], now["node"]) == ("active", "attic"), now
            # what it says of its disk draws jobs to it; it never takes one up, and others are there
            other = await they.add(MB)
            await they.controller.until_state(other.number, "completed", timeout=120)
            assert await they.node_of(other) != "liar"
        await they.settle()
        (await they.controller.odctl("nodes", "rm", "--yes", "liar")).ok()
        await they.check()
