"""Magnets and torrents in a swarm of our own, on a real aria2c."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
import signal
import unicodedata
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from oddaemon.domain.errors import DeadlineExceeded, EngineFailed
from oddaemon.domain.failure import FailureCode, Retry
from oddaemon.domain.source import parse_source
from oddaemon.domain.torrent import parse_torrent
from oddaemon.domain.types import BytesPerSecond, Seconds
from oddaemon.engines.aria2.disk import disk_names_of_torrent
from oddaemon.ports.engine import FillRequest, FillState, FillStatus, failure_of
from tests.support import torrents
from tests.support.aria2 import Bench, aria2, takes_hybrids
from tests.support.swarm import MetadataPeer, Seeder, Tracker
from tests.support.torrents import Content, Torrent
from tests.support.wait import until

pytestmark = pytest.mark.real("aria2c")


@pytest_asyncio.fixture
async def tracker() -> AsyncIterator[Tracker]:
    async with Tracker() as tracker:
        yield tracker


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with aria2(tmp_path) as bench:
        yield bench


class Swarm:
    """Seeders that last as long as the test."""

    def __init__(self, tracker: Tracker, base: Path, stack: contextlib.AsyncExitStack) -> None:
        self.tracker, self._base, self._stack = tracker, base, stack

    async def seed(self, torrent: Torrent, *, rate: str = "0") -> None:
        seeder = Seeder(torrent, self._base / torrent.info_hash, rate=rate)
        await self._stack.enter_async_context(seeder)
        await until(lambda: self.tracker.seeders(torrent), what="the seeder")


@pytest_asyncio.fixture
async def swarm(tracker: Tracker, tmp_path: Path) -> AsyncIterator[Swarm]:
    async with contextlib.AsyncExitStack() as stack:
        yield Swarm(tracker, tmp_path / "seeders", stack)


def several(tracker: Tracker, name: str = "several", size: int = 100_000) -> Torrent:
    files = [Content((f"part {n}.bin",), os.urandom(size)) for n in range(4)]
    return torrents.multi(name, files, tracker=tracker.url)


async def bodies(bench: Bench, request: FillRequest) -> dict[str, bytes]:
    files = await bench.engine.list_files(request.replica_id)
    return {f.path: (request.directory / f.disk_path).read_bytes() for f in files if f.selected}


async def kill_child(bench: Bench) -> None:
    daemon = bench.engine._downloads.daemon
    assert daemon is not None
    generation = daemon.generation
    os.kill(bench.pid, signal.SIGKILL)
    await until(lambda: daemon.running and daemon.generation > generation, what="aria2c to be restarted")


async def test_a_magnet_becomes_its_files(bench: Bench, tracker: Tracker, swarm: Swarm) -> None:
    torrent = several(tracker)
    await swarm.seed(torrent)
    request = bench.request(torrent.magnet_with(tracker.url))
    await bench.engine.add(request)
    first = await bench.status(request)
    assert (first.state, first.files_rev, first.total) == (FillState.ACTIVE, 0, None)
    done = await bench.ended(request)
    assert (done.state, done.name, done.total, done.done) == (FillState.COMPLETE, "several", 400_000, 400_000)
    assert done.info_hash == torrent.info_hash
    assert await bodies(bench, request) == {f"part {n}.bin": f.body for n, f in enumerate(torrent.files)}


async def test_the_selection_of_a_magnet_is_kept(bench: Bench, tracker: Tracker, swarm: Swarm) -> None:
    torrent = several(tracker)
    await swarm.seed(torrent)
    request = bench.request(torrent.magnet_with(tracker.url), selection=frozenset({2, 4}))
    done = await bench.fetch(request)
    assert (done.state, done.total, done.done) == (FillState.COMPLETE, 200_000, 200_000)
    assert set(await bodies(bench, request)) == {"part 1.bin", "part 3.bin"}


async def test_a_selection_of_nothing_fails(bench: Bench, tracker: Tracker) -> None:
    done = await bench.fetch(bench.request(several(tracker), selection=frozenset({9})))
    assert done.failure is not None
    assert (done.failure.code, done.failure.retry) == (FailureCode.BAD_SELECTION, Retry.LASTING)


async def test_a_selection_grows_after_completion(bench: Bench, tracker: Tracker, swarm: Swarm) -> None:
    torrent = several(tracker)
    await swarm.seed(torrent)
    request = bench.request(torrent, selection=frozenset({1}))
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    rev = (await bench.status(request)).files_rev
    await bench.engine.select(request.replica_id, None)
    done = await bench.ended(request)
    assert (done.state, done.total) == (FillState.COMPLETE, 400_000)
    assert done.files_rev > rev
    assert await bodies(bench, request) == {f"part {n}.bin": f.body for n, f in enumerate(torrent.files)}


async def test_metadata_outlives_a_restart(bench: Bench, tracker: Tracker, tmp_path: Path) -> None:
    """With the metadata known and every peer gone, the files are still known."""
    torrent = several(tracker, size=400_000)
    request = bench.request(torrent.magnet_with(tracker.url))
    async with Seeder(torrent, tmp_path / "seeder", rate="100K"):
        handle = await bench.engine.add(request)
        await bench.bytes_came(request, 200_000)
    await bench.restart()
    await bench.engine.recover(handle, request)
    status = await until(lambda: loading(bench, request), what="the files to be known")
    assert status.total == 1_600_000
    assert status.done >= 150_000


async def loading(bench: Bench, request: FillRequest) -> FillStatus | None:
    """Once what is on disk has been looked at."""
    status = await bench.status(request)
    return status if status.done and status.engine_state == "downloading" else None


@pytest.mark.parametrize("whole", [False, True])
async def test_kill_9_at_60_percent_loses_next_to_nothing(
    bench: Bench, tracker: Tracker, swarm: Swarm, whole: bool
) -> None:
    torrent = torrents.multi("t", [Content(("a.bin",), os.urandom(4_000_000))], tracker=tracker.url)
    await swarm.seed(torrent, rate="500K")
    request = bench.request(torrent.magnet_with(tracker.url))
    handle = await bench.engine.add(request)
    await bench.bytes_came(request, 2_400_000)
    if whole:
        os.kill(bench.pid, signal.SIGKILL)
        await bench.restart()
    else:
        await kill_child(bench)
    assert request.replica_id not in await bench.engine.statuses()
    assert await bench.engine.recover(handle, request) == handle
    status = await until(lambda: loading(bench, request), what="the download to go on")
    # aria2 notes once a second what it has, so a kill costs a second and what noting it takes
    assert status.done >= 2_400_000 - 2 * 500_000
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert (await bodies(bench, request))["a.bin"] == torrent.files[0].body


async def test_what_is_complete_is_not_fetched_again(bench: Bench, tracker: Tracker, tmp_path: Path) -> None:
    torrent = several(tracker)
    request = bench.request(torrent.magnet_with(tracker.url))
    async with Seeder(torrent, tmp_path / "seeder"):
        handle = await bench.engine.add(request)
        await bench.ended(request)
    await bench.restart()
    await bench.engine.recover(handle, request)
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert len(await bodies(bench, request)) == 4


async def test_files_that_vanished_are_fetched_again(bench: Bench, tracker: Tracker, swarm: Swarm) -> None:
    torrent = several(tracker)
    await swarm.seed(torrent)
    request = bench.request(torrent)
    await bench.fetch(request)
    files = await bench.engine.list_files(request.replica_id)
    (request.directory / files[1].disk_path).unlink()
    os.truncate(request.directory / files[2].disk_path, 10)
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bodies(bench, request) == {f"part {n}.bin": f.body for n, f in enumerate(torrent.files)}


async def test_damaged_bytes_are_found_when_the_engine_has_forgotten(
    bench: Bench, tracker: Tracker, swarm: Swarm
) -> None:
    torrent = several(tracker)
    await swarm.seed(torrent)
    request = bench.request(torrent)
    await bench.fetch(request)
    files = await bench.engine.list_files(request.replica_id)
    (request.directory / files[1].disk_path).write_bytes(bytes(100_000))
    await bench.engine.remove(request.replica_id)
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bodies(bench, request) == {f"part {n}.bin": f.body for n, f in enumerate(torrent.files)}


async def test_a_check_of_what_is_there_needs_no_swarm(bench: Bench, tracker: Tracker, tmp_path: Path) -> None:
    torrent = several(tracker)
    request = bench.request(torrent.magnet_with(tracker.url))
    async with Seeder(torrent, tmp_path / "seeder"):
        await bench.fetch(request)
    await bench.engine.forget(request.replica_id)
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    files = await bench.engine.list_files(request.replica_id)
    (request.directory / files[1].disk_path).write_bytes(bytes(100_000))
    await bench.engine.forget(request.replica_id)
    await bench.engine.add(request)
    status = await until(lambda: loading(bench, request), what="the damage to be found")
    # a piece of 16 KiB that the damaged file shares with another is gone too
    assert 300_000 - 2 * 2**14 <= status.done <= 300_000


async def test_names_mean_nothing_on_disk(bench: Bench, tracker: Tracker, swarm: Swarm, tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "é.txt") for form in ("NFC", "NFD"))
    names: list[tuple[str, ...]] = [
        ("x" * 300 + ".mkv",), ("CON",), ("con",), ("Read Me",), ("READ ME",), (nfc,), (nfd,), ("-rf",), ("same",),
        ("same",), ("🎬 \"quoted\" 'n'.mkv",), ("a\\..\\b",), ("/abs",), (".hidden",), ("deep", "er", "file.AVI"),
        ("f.aria2",),
    ]  # fmt: skip
    files = [Content(name, os.urandom(20_000 + n)) for n, name in enumerate(names)]
    torrent = torrents.multi("top", files, tracker=tracker.url)
    # the seeder can't lay these out: it seeds the same pieces out of one torrent through a second engine
    async with aria2(tmp_path / "other") as other:
        seeding = other.request(torrent, options={"seed-ratio": "100"})
        for index, disk_name in disk_names_of_torrent(parse_torrent(torrent.data)).items():
            (seeding.directory / disk_name).write_bytes(files[index - 1].body)
        assert (await other.fetch(seeding)).state is FillState.COMPLETE
        await until(lambda: tracker.seeders(torrent), what="the seeder")
        request = bench.request(torrent.magnet_with(tracker.url))
        done = await bench.fetch(request)
        assert done.state is FillState.COMPLETE, done.failure
        listed = await bench.engine.list_files(request.replica_id)
        assert [f.path for f in listed] == ["/".join(name) for name in names]
        for shown, content in zip(listed, files, strict=True):
            assert len(shown.disk_path) <= 14
            assert (request.directory / shown.disk_path).read_bytes() == content.body
        assert len({shown.disk_path.lower() for shown in listed}) == len(files)


@pytest.mark.parametrize(
    "name", ["n" * 250, "ü" * 200, "\udcff" * 100, "a/b", "n" * 600], ids=["250", "umlauts", "bytes", "slash", "600"]
)
async def test_a_long_or_odd_top_name_works_and_survives_a_kill(
    bench: Bench, tracker: Tracker, tmp_path: Path, name: str
) -> None:
    """aria2 cannot write its control file then; what is there is hashed instead."""
    body = os.urandom(1_500_000)
    torrent = torrents.multi(
        name.encode("utf-8", "surrogateescape"), [Content(("a.bin",), body)], tracker=tracker.url
    )
    async with aria2(tmp_path / "other") as other:
        seeding = other.request(torrent, options={"seed-ratio": "100"})
        (seeding.directory / "00001.bin").write_bytes(body)
        await other.fetch(seeding)
        await other.engine.limit(seeding.replica_id, down=None, up=BytesPerSecond(300_000))
        await until(lambda: tracker.seeders(torrent), what="the seeder")
        request = bench.request(torrent)
        handle = await bench.engine.add(request)
        await bench.bytes_came(request, 700_000)
        await kill_child(bench)
        await bench.engine.recover(handle, request)
        status = await until(lambda: loading(bench, request), what="the download to go on")
        assert status.done >= 400_000
        assert (await bench.ended(request)).state is FillState.COMPLETE
        assert await bench.body(request) == body
        left = {p.name for p in request.directory.iterdir() if p.is_file() and not p.name.endswith(".aria2")}
        assert left == {"00001.bin"}


@pytest.mark.parametrize(
    ("name", "path"),
    [("ok", ("..", "x")), ("..", ("x",)), ("ok", ("a", "..", "..", "b")), ("ok", ("a\nb",)), ("Icon\r", ("x",)),
     ("ok", ("",)), (".", ("x",)), ("ok", ("a\0/../../b",)), ("ok", ("a\x7fb",))],
)  # fmt: skip
async def test_names_that_aria2_refuses_are_refused_at_once(
    bench: Bench, tracker: Tracker, name: str, path: tuple[str, ...]
) -> None:
    torrent = torrents.multi(name, [Content(path, b"x" * 100)], tracker=tracker.url)
    request = bench.request(torrent)
    with pytest.raises(EngineFailed) as caught:
        await bench.engine.add(request)
    failure = failure_of(caught.value)
    assert failure is not None
    assert (failure.code, failure.retry) == (FailureCode.BAD_SOURCE, Retry.LASTING)
    assert "name" in failure.message
    assert bench.engine.refuses_torrent(parse_torrent(torrent.data)) == failure.message
    assert not await bench.engine.statuses()
    assert list(request.directory.iterdir()) == []


async def test_a_magnet_with_evil_names(bench: Bench, tracker: Tracker, tmp_path: Path) -> None:
    """Its metadata comes from a peer; aria2 then reports success and has nothing."""
    torrent = torrents.multi("ok", [Content(("..", "..", "evil"), b"x" * 50_000)], tracker=tracker.url)
    async with MetadataPeer(torrent) as peer:
        tracker.announce_peer(torrent, peer.port)
        request = bench.request(torrent.magnet_with(tracker.url))
        done = await bench.fetch(request)
    assert done.failure is not None
    assert (done.failure.code, done.failure.retry) == (FailureCode.BAD_SOURCE, Retry.LASTING)
    assert not await asyncio.to_thread(lambda: list(tmp_path.rglob("evil*")))
    assert list(request.directory.iterdir()) == []


@pytest.mark.parametrize("make", [torrents.hybrid, torrents.v2_only])
async def test_what_this_aria2_cannot_download_is_refused_at_once(
    bench: Bench, make: Callable[[str, bytes], Torrent]
) -> None:
    torrent = make("x.bin", os.urandom(40_000))
    if make is torrents.hybrid and await takes_hybrids():
        handle = await bench.engine.add(bench.request(parse_source(torrent.magnet), torrent=torrent.data))
        assert handle
        return
    request = bench.request(parse_source(torrent.magnet), torrent=torrent.data)
    with pytest.raises(EngineFailed) as caught:
        await bench.engine.add(request)
    failure = failure_of(caught.value)
    assert failure is not None
    assert (failure.code, failure.retry) == (FailureCode.UNSUPPORTED, Retry.LASTING)
    assert "v2" in failure.message
    assert not await bench.engine.statuses()


async def test_a_private_torrent_says_so(bench: Bench, tracker: Tracker) -> None:
    torrent = torrents.single("p.bin", b"x" * 1000, tracker=tracker.url, private=True)
    request = bench.request(torrent)
    await bench.engine.add(request)
    status = await until(lambda: known(bench, request), what="the torrent to be read")
    assert (status.private, status.info_hash) == (True, torrent.info_hash)


async def known(bench: Bench, request: FillRequest) -> FillStatus | None:
    status = await bench.status(request)
    return status if status.files_rev else None


async def test_files_of_no_bytes(bench: Bench, tracker: Tracker, swarm: Swarm) -> None:
    files = [Content(("empty.txt",), b""), Content(("full.bin",), b"y" * 50_000), Content(("void",), b"")]
    torrent = torrents.multi("mixed", files, tracker=tracker.url)
    await swarm.seed(torrent)
    request = bench.request(torrent)
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bodies(bench, request) == {"empty.txt": b"", "full.bin": b"y" * 50_000, "void": b""}
    only = bench.request(torrent, selection=frozenset({1}))
    assert (await bench.fetch(only)).state is FillState.COMPLETE
    assert await bodies(bench, only) == {"empty.txt": b""}


async def test_the_same_torrent_twice_takes_turns(bench: Bench, tracker: Tracker, swarm: Swarm) -> None:
    torrent = several(tracker, size=200_000)
    await swarm.seed(torrent, rate="100K")
    first, second = bench.request(torrent), bench.request(torrent.magnet_with(tracker.url))
    await bench.engine.add(first)
    await bench.bytes_came(first, 1)
    await bench.engine.add(second)

    async def waits() -> bool:
        status = await bench.status(second)
        return (status.state, status.engine_state) == (FillState.QUEUED, "waiting for the same torrent")

    await until(waits)
    await bench.engine.cancel(first.replica_id)
    assert (await bench.ended(second)).state is FillState.COMPLETE
    await bench.engine.add(first)
    assert (await bench.ended(first)).state is FillState.COMPLETE


async def test_seeding_is_complete_and_goes_on(
    bench: Bench, tracker: Tracker, swarm: Swarm, tmp_path: Path
) -> None:
    torrent = several(tracker)
    async with Seeder(torrent, tmp_path / "first"):
        request = bench.request(torrent, options={"seed-time": "1h"})
        assert (await bench.fetch(request)).state is FillState.COMPLETE
    status = await until(lambda: seeding(bench, request), what="seeding")
    assert status.state is FillState.COMPLETE
    async with aria2(tmp_path / "other") as other:
        wanted = other.request(torrent)
        assert (await other.fetch(wanted)).state is FillState.COMPLETE
    await bench.engine.cancel(request.replica_id)
    assert not await bench.engine.statuses()


@pytest.mark.parametrize("selection", [None, frozenset({1, 3})])
async def test_seeding_goes_on_after_a_restart(
    bench: Bench, tracker: Tracker, tmp_path: Path, selection: frozenset[int] | None
) -> None:
    torrent = several(tracker)
    request = bench.request(torrent.magnet_with(tracker.url), options={"seed-ratio": "50"}, selection=selection)
    async with Seeder(torrent, tmp_path / "first"):
        handle = await bench.engine.add(request)
        assert (await bench.ended(request)).state is FillState.COMPLETE
    tracker.peers.clear()
    await bench.restart()
    await bench.engine.recover(handle, request)
    async with aria2(tmp_path / "other") as other:
        wanted = other.request(torrent.magnet_with(tracker.url), selection=selection)
        await other.engine.add(wanted)

        async def fetched() -> bool:
            ours = await bench.status(request)
            # never to be taken for one whose seeding has ended
            assert ours.state is not FillState.COMPLETE or ours.engine_state == "seeding"
            return (await other.status(wanted)).state is FillState.COMPLETE

        await until(fetched, what="the other to have it from us")


async def seeding(bench: Bench, request: FillRequest) -> FillStatus | None:
    status = await bench.status(request)
    return status if status.engine_state == "seeding" else None


async def test_without_being_asked_nothing_is_seeded(bench: Bench, tracker: Tracker, swarm: Swarm) -> None:
    torrent = several(tracker)
    await swarm.seed(torrent)
    request = bench.request(torrent)
    await bench.fetch(request)
    assert (await bench.status(request)).engine_state is None
    await until(lambda: (torrent.info_hash, "stopped") in tracker.announces, what="the farewell")


async def test_peers_are_shown(bench: Bench, tracker: Tracker, swarm: Swarm) -> None:
    torrent = several(tracker, size=300_000)
    await swarm.seed(torrent, rate="100K")
    request = bench.request(torrent)
    await bench.engine.add(request)
    status = await bench.bytes_came(request, 1)
    # for a moment the two may hold a connection that each of them has opened
    assert status.seeders == 1
    assert status.peers in (1, 2)
    peers = await bench.engine.peers(request.replica_id)
    assert all(peer.address.startswith("127.0.0.1:") for peer in peers)
    assert (True, 1.0) in [(peer.seeder, peer.progress) for peer in peers]


async def test_a_magnet_without_peers_waits_and_goes_at_once_when_told(bench: Bench, tracker: Tracker) -> None:
    request = bench.request(several(tracker).magnet_with(tracker.url))
    async with asyncio.timeout(60):  # promised within a second; without peers it would take for ever
        await bench.engine.add(request)
    assert (await bench.status(request)).state is FillState.ACTIVE
    async with asyncio.timeout(60):
        await bench.engine.remove(request.replica_id)


async def test_a_probe_lists_the_files_and_keeps_nothing(bench: Bench, tracker: Tracker, swarm: Swarm) -> None:
    torrent = several(tracker)
    await swarm.seed(torrent)
    source = parse_source(torrent.magnet_with(tracker.url))
    found = await bench.engine.probe(source, {}, torrent=None, deadline=Seconds(20))
    assert (found.name, found.size, len(found.files)) == ("several", 400_000, 4)
    assert found.key is not None
    assert found.key.full == f"aria2:hash:{torrent.info_hash}"
    assert not list((bench.state_dir / "replicas").iterdir())
    nobody = parse_source("magnet:?xt=urn:btih:" + "ab" * 20)
    with pytest.raises(DeadlineExceeded):
        await bench.engine.probe(nobody, {}, torrent=None, deadline=Seconds(1))
    assert not list((bench.state_dir / "replicas").iterdir())
    # and the hash is free again
    assert (await bench.fetch(bench.request(torrent.magnet_with(tracker.url)))).state is FillState.COMPLETE


async def test_a_probe_of_what_is_being_downloaded_answers_at_once(
    bench: Bench, tracker: Tracker, swarm: Swarm
) -> None:
    torrent = several(tracker, size=300_000)
    await swarm.seed(torrent, rate="100K")
    request = bench.request(torrent)
    await bench.engine.add(request)
    await bench.bytes_came(request, 1)
    found = await bench.engine.probe(parse_source(torrent.magnet), {}, torrent=None, deadline=Seconds(60))
    assert len(found.files) == 4


async def test_the_swarm_of_tests_stays_here(bench: Bench) -> None:
    conf = (bench.state_dir / "aria2.conf").read_text().splitlines()
    assert {"enable-dht=false", "bt-enable-lpd=false", "enable-peer-exchange=false"} <= set(conf)


async def test_remove_leaves_no_trace(bench: Bench, tracker: Tracker, swarm: Swarm) -> None:
    torrent = several(tracker)
    await swarm.seed(torrent)
    request = bench.request(torrent.magnet_with(tracker.url))
    await bench.fetch(request)
    await bench.engine.remove(request.replica_id)
    shutil.rmtree(request.directory)
    assert not list((bench.state_dir / "replicas").iterdir())
    await until(lambda: (bench.state_dir / "aria2.session").read_bytes() == b"", what="the session to be empty")


async def test_a_control_file_that_a_full_disk_spoilt_is_replaced_by_hashing(
    bench: Bench, tracker: Tracker, swarm: Swarm
) -> None:
    torrent = several(tracker, size=500_000)
    await swarm.seed(torrent, rate="400K")
    request = bench.request(torrent)
    await bench.engine.add(request)
    await bench.bytes_came(request, 700_000)
    await bench.engine.pause(request.replica_id)
    (request.directory / "several.aria2").write_bytes(b"")
    await bench.engine.resume(request.replica_id)
    status = await until(lambda: loading(bench, request), what="the download to go on")
    assert status.done >= 600_000
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert len(await bodies(bench, request)) == 4


async def test_an_add_of_what_is_paused_brings_the_wishes_of_now(
    bench: Bench, tracker: Tracker, swarm: Swarm
) -> None:
    torrent = several(tracker)
    await swarm.seed(torrent)
    request = bench.request(torrent, selection=frozenset({1}))
    handle = await bench.engine.add(request)
    await bench.engine.pause(request.replica_id)
    more = dataclasses.replace(request, selection=frozenset({1, 2}))
    assert await bench.engine.recover(handle, more) == handle
    assert (await bench.status(request)).state is FillState.PAUSED
    await bench.engine.resume(request.replica_id)
    assert (await bench.ended(request)).total == 200_000
    assert set(await bodies(bench, request)) == {"part 0.bin", "part 1.bin"}


@pytest.mark.parametrize("version", ["v1", "hybrid", "v2"])
async def test_which_torrents_are_refused(bench: Bench, version: str) -> None:
    refused = version == "v2" or (version == "hybrid" and not await takes_hybrids())
    makers = {"v1": torrents.single, "hybrid": torrents.hybrid, "v2": torrents.v2_only}
    info = parse_torrent(makers[version]("x.bin", os.urandom(40_000)).data)
    assert bool(bench.engine.refuses_torrent(info)) is refused
