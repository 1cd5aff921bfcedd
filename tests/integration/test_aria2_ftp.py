"""ftp origins, on a real aria2c."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from oddaemon.domain.failure import FailureCode, Retry
from oddaemon.ports.engine import FillState
from tests.support.aria2 import Bench, aria2
from tests.support.ftp_server import FtpFile, FtpOrigin

pytestmark = pytest.mark.real("aria2c")

BODY = os.urandom(1_500_000)


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with aria2(tmp_path) as bench:
        yield bench


@pytest_asyncio.fixture
async def ftp() -> AsyncIterator[FtpOrigin]:
    async with FtpOrigin() as ftp:
        yield ftp


async def test_a_file(bench: Bench, ftp: FtpOrigin) -> None:
    ftp.files["/pub/some dir/file.iso"] = FtpFile(BODY)
    request = bench.request(ftp.url("/pub/some%20dir/file.iso"))
    done = await bench.fetch(request)
    assert (done.state, done.name, done.total) == (FillState.COMPLETE, "file.iso", len(BODY))
    assert await bench.body(request) == BODY


async def test_no_such_file(bench: Bench, ftp: FtpOrigin) -> None:
    done = await bench.fetch(bench.request(ftp.url("/nothing")))
    assert done.failure is not None
    assert (done.failure.code, done.failure.retry) == (FailureCode.ORIGIN_GONE, Retry.LASTING)


async def test_a_length_that_no_file_has(bench: Bench, ftp: FtpOrigin) -> None:
    ftp.files["/x"] = FtpFile(BODY, told=2**64 + 5)
    done = await bench.fetch(bench.request(ftp.url("/x")))
    assert done.failure is not None
    assert (done.failure.code, done.failure.retry) == (FailureCode.ORIGIN_ERROR, Retry.LASTING)


async def test_a_wrong_password(bench: Bench) -> None:
    async with FtpOrigin(user="u", password="p@ss") as ftp:
        ftp.files["/x"] = FtpFile(BODY)
        done = await bench.fetch(bench.request(ftp.url("/x")))
        assert done.failure is not None
        assert (done.failure.code, done.failure.retry) == (FailureCode.ORIGIN_DENIED, Retry.LASTING)
        right = bench.request(ftp.url("/x").replace("//", "//u:p%40ss@"))
        assert (await bench.fetch(right)).state is FillState.COMPLETE


async def test_a_pause_keeps_the_bytes(bench: Bench, ftp: FtpOrigin) -> None:
    file = ftp.files["/x.bin"] = FtpFile(BODY, rate=400_000)
    request = bench.request(ftp.url("/x.bin"), options={"split": "1"})
    await bench.engine.add(request)
    await bench.bytes_came(request, 700_000)
    await bench.engine.pause(request.replica_id)
    file.rate = None
    await bench.engine.resume(request.replica_id)
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY
    assert file.sent < len(BODY) * 1.5


@pytest.mark.parametrize("same_size", [True, False])
async def test_a_file_that_changes_meanwhile(bench: Bench, ftp: FtpOrigin, same_size: bool) -> None:
    ftp.files["/x.bin"] = FtpFile(BODY, rate=400_000)
    request = bench.request(ftp.url("/x.bin"))
    await bench.engine.add(request)
    await bench.bytes_came(request, 300_000)
    await bench.engine.pause(request.replica_id)
    other = os.urandom(len(BODY) if same_size else 900_000)
    ftp.files["/x.bin"] = FtpFile(other, modified="20250102030405" if same_size else None)
    await bench.engine.resume(request.replica_id)
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert await bench.body(request) == other


async def test_a_connection_that_drops(bench: Bench, ftp: FtpOrigin) -> None:
    ftp.files["/x.bin"] = FtpFile(BODY, drop_at=[300_000, 300_000])
    request = bench.request(ftp.url("/x.bin"))
    done = await bench.fetch(request)
    if done.state is FillState.FAILED:
        assert done.failure is not None
        assert done.failure.retry is Retry.PASSING
        done = await bench.fetch(request)
    assert done.state is FillState.COMPLETE
    assert await bench.body(request) == BODY


async def test_a_file_of_no_bytes(bench: Bench, ftp: FtpOrigin) -> None:
    ftp.files["/x.bin"] = FtpFile(b"")
    request = bench.request(ftp.url("/x.bin"))
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bench.body(request) == b""
