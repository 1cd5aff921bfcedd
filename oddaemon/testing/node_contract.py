"""NodeClientContract: every clause of `ports.node_client` as a test, on a node in this process and through a transport
alike.

    class TestMyTransport(NodeClientContract):
        @pytest_asyncio.fixture
        async def harness(self, tmp_path):
            ...build a NodeAgent with an engine, serve it, connect...
            yield NodeHarness(node=client, engine=EngineName("simulated"), samples=EngineHarness(...), base=downloads)

The engine is running, and can do what its samples ask for.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from oddaemon.domain.cache import EntryFile
from oddaemon.domain.errors import (
    DeadlineExceeded,
    EngineFailed,
    InvalidArgument,
    InvalidOption,
    NotFound,
    OpenDebridError,
    StorageMissing,
    Unsupported,
)
from oddaemon.domain.failure import Failure
from oddaemon.domain.source import SourceKind
from oddaemon.domain.torrent import TorrentFile, TorrentInfo
from oddaemon.domain.types import Bytes, BytesPerSecond, EngineName, Handle, ReplicaId, Seconds
from oddaemon.ports.engine import FillState, FillStatus, failure_of
from oddaemon.ports.node_client import MAX_WRITE, Dispatch, NodeClient
from oddaemon.ports.storage import StoredFile
from oddaemon.testing.engine_progress import eventually
from oddaemon.testing.engine_samples import EngineHarness, Sample

NOBODY = EngineName("nobody")
SENTINEL = ".opendebrid"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHarness:
    """What the suite needs to know of a node."""

    node: NodeClient
    engine: EngineName
    samples: EngineHarness
    base: Path
    """Where its replicas' directories are, on this machine."""
    refused_option: tuple[str, str] = ("exec", "x")
    abilities: Set[str] = field(default_factory=frozenset)
    """Of `pause`, `select`, `rate_limit`, `probe`, `sniff`, `claims_urls`: those that its engine has."""


def an_order(harness: NodeHarness, sample: Sample, replica_id: ReplicaId | None = None, **more: object) -> Dispatch:
    given = {"options": sample.options, "torrent": sample.torrent, **more}
    return Dispatch(
        replica_id=replica_id or ReplicaId(uuid4()), engine=harness.engine, source=sample.source,
        **given,  # type: ignore[arg-type]
    )  # fmt: skip


async def until_status(
    harness: NodeHarness, replica_id: ReplicaId, condition: Callable[[FillStatus], bool], what: str
) -> FillStatus:
    found: list[FillStatus] = []

    async def met() -> bool:
        status = (await harness.node.statuses()).statuses.get(replica_id)
        if status is not None and condition(status):
            found.append(status)
        return bool(found)

    await eventually(met, harness.samples.patience, what)
    return found[-1]


async def until_complete(harness: NodeHarness, replica_id: ReplicaId) -> FillStatus:
    return await until_status(harness, replica_id, lambda s: s.state is FillState.COMPLETE, "it is complete")


async def filled(harness: NodeHarness, sample: Sample) -> ReplicaId:
    order = an_order(harness, sample)
    await harness.node.dispatch(order)
    await until_complete(harness, order.replica_id)
    return order.replica_id


async def entry_files(harness: NodeHarness, replica_id: ReplicaId, *, ready: bool = True) -> list[EntryFile]:
    return [
        EntryFile(index=file.index, path=file.disk_path, disk_path=file.disk_path, size=file.size, ready=ready)
        for file in await harness.node.list_files(harness.engine, replica_id)
    ]


async def raises(kind: type[OpenDebridError], call: Awaitable[object]) -> OpenDebridError:
    with pytest.raises(kind) as caught:
        await call
    assert type(caught.value) is kind, "exactly the class that the port names"
    return caught.value


@pytest.mark.asyncio
class NodeClientContract:
    """Subclass it and define the fixture `harness`."""

    # what it is

    async def test_its_snapshot_tells_engines_and_disk(self, harness: NodeHarness) -> None:
        snapshot = await harness.node.snapshot()
        assert snapshot.id == harness.node.node_id
        assert snapshot.works
        assert 0 < snapshot.disk.free <= snapshot.disk.total
        health = {engine.name: engine for engine in snapshot.engines}[harness.engine]
        assert health.ok
        assert health.schemes
        for name in harness.abilities - {"sniff"}:
            assert health.capabilities[name]

    async def test_a_disk_that_is_gone_is_told(self, harness: NodeHarness) -> None:
        (harness.base / SENTINEL).unlink()
        assert not (await harness.node.snapshot()).disk.present
        await raises(StorageMissing, harness.node.dispatch(an_order(harness, harness.samples.small)))
        await raises(StorageMissing, harness.node.inventory())
        await raises(StorageMissing, harness.node.verify(ReplicaId(uuid4()), [an_entry_file("x")]))
        await raises(StorageMissing, harness.node.stat(ReplicaId(uuid4()), ["x"]))
        assert [path.name for path in harness.base.iterdir() if path.is_dir() and path.name != "state"] == []

    # filling

    async def test_a_replica_is_filled_with_the_right_bytes(self, harness: NodeHarness) -> None:
        sample = harness.samples.small
        replica_id = await filled(harness, sample)
        files = await harness.node.list_files(harness.engine, replica_id)
        assert [file.index for file in files] == sorted(file.index for file in files)
        assert files
        for file in files:
            assert (harness.base / str(replica_id) / file.disk_path).read_bytes() == sample.contents[file.index]
            assert file.size == len(sample.contents[file.index])
            assert file.finished

    async def test_dispatch_is_idempotent(self, harness: NodeHarness) -> None:
        order = an_order(harness, harness.samples.small)
        handles = {await harness.node.dispatch(order) for _ in range(3)}
        assert len(handles) == 1
        await until_complete(harness, order.replica_id)
        assert [*(await harness.node.statuses()).statuses] == [order.replica_id]

    async def test_a_handle_takes_it_up_again(self, harness: NodeHarness) -> None:
        order = an_order(harness, harness.samples.slow)
        handle = await harness.node.dispatch(order)
        await until_status(harness, order.replica_id, lambda s: s.done > 0, "bytes come")
        await harness.node.cancel(harness.engine, order.replica_id)
        again = an_order(harness, harness.samples.slow, order.replica_id, handle=handle)
        assert await harness.node.dispatch(again)
        await until_complete(harness, order.replica_id)

    async def test_an_unreadable_handle_counts_as_none(self, harness: NodeHarness) -> None:
        order = an_order(harness, harness.samples.small, handle=Handle("of another age"))
        assert await harness.node.dispatch(order)
        await until_complete(harness, order.replica_id)

    async def test_afresh_empties_the_directory_but_for_what_is_kept(self, harness: NodeHarness) -> None:
        replica_id = ReplicaId(uuid4())
        directory = harness.base / str(replica_id)
        directory.mkdir(mode=0o700)
        (directory / "old").write_bytes(b"x")
        (directory / "mine").write_bytes(b"x")
        order = an_order(harness, harness.samples.small, replica_id, afresh=True, keep=frozenset({"mine"}))
        await harness.node.dispatch(order)
        await until_complete(harness, replica_id)
        assert not (directory / "old").exists()
        if harness.samples.several is not None:
            # an engine whose replicas have one file has none to keep
            assert (directory / "mine").exists()

    async def test_a_failure_arrives_whole(self, harness: NodeHarness) -> None:
        order = an_order(harness, harness.samples.broken)
        try:
            await harness.node.dispatch(order)
        except EngineFailed as error:
            failure = failure_of(error)
        else:
            failure = (
                await until_status(harness, order.replica_id, lambda s: s.state is FillState.FAILED, "it fails")
            ).failure  # fmt: skip
        assert isinstance(failure, Failure)
        assert failure.message

    async def test_no_such_engine(self, harness: NodeHarness) -> None:
        replica_id = ReplicaId(uuid4())
        node, sample = harness.node, harness.samples.small
        order = Dispatch(replica_id=replica_id, engine=NOBODY, source=sample.source, options={})
        for call in (
            node.dispatch(order), node.cancel(NOBODY, replica_id), node.pause(NOBODY, replica_id),
            node.resume(NOBODY, replica_id), node.forget(NOBODY, replica_id), node.list_files(NOBODY, replica_id),
            node.select(NOBODY, replica_id, None), node.limit(NOBODY, replica_id, down=None, up=None),
            node.peers(NOBODY, replica_id), node.raw_status(NOBODY, replica_id),
            node.resolve_cache_key(NOBODY, sample.source, {}),
            node.probe(NOBODY, sample.source, {}, torrent=None, deadline=Seconds(5)),
        ):  # fmt: skip
            await raises(Unsupported, call)
        with pytest.raises(Unsupported):
            node.validate_options(NOBODY, {})
        # an engine that is gone for good cannot hold the directory open
        assert await node.delete(NOBODY, replica_id) == 0

    async def test_options_are_judged(self, harness: NodeHarness) -> None:
        node, (name, value) = harness.node, harness.refused_option
        assert dict(node.validate_options(harness.engine, {})) == {}
        assert harness.engine in node.option_specs()
        options = dict(harness.samples.small.options)
        normal = node.validate_options(harness.engine, options)
        assert normal.keys() == options.keys()
        assert node.validate_options(harness.engine, normal) == normal
        with pytest.raises(InvalidOption) as caught:
            node.validate_options(harness.engine, {name: value})
        assert caught.value.field == name
        order = an_order(harness, harness.samples.small, options={name: value})
        error = await raises(InvalidOption, node.dispatch(order))
        assert isinstance(error, InvalidOption)
        assert error.field == name
        assert error.hint

    async def test_torrents_are_judged(self, harness: NodeHarness) -> None:
        plain = TorrentInfo(
            info_hash="ab" * 20, info_hash_v2=None, name="plain",
            files=(TorrentFile(index=1, path="a", size=Bytes(1)),), private=False, trackers=(), web_seeds=(),
            version="v1", is_multi=True, piece_length=Bytes(16384), total=Bytes(1),
        )  # fmt: skip
        assert harness.node.refuses_torrent(harness.engine, plain) is None

    # steering

    async def test_statuses_are_of_all_replicas(self, harness: NodeHarness) -> None:
        orders = [an_order(harness, harness.samples.small) for _ in range(3)]
        for order in orders:
            await harness.node.dispatch(order)
        for order in orders:
            await until_complete(harness, order.replica_id)
        found = await harness.node.statuses()
        assert found.statuses.keys() == {order.replica_id for order in orders}
        assert not found.down

    async def test_pause_and_resume(self, harness: NodeHarness) -> None:
        order = an_order(harness, harness.samples.slow)
        await harness.node.dispatch(order)
        await until_status(harness, order.replica_id, lambda s: s.done > 0, "bytes come")
        held = await harness.node.pause(harness.engine, order.replica_id)
        assert held == ("pause" in harness.abilities)
        if held:
            await until_status(harness, order.replica_id, lambda s: s.state is FillState.PAUSED, "it is paused")
            await harness.node.resume(harness.engine, order.replica_id)
        else:
            assert order.replica_id not in (await harness.node.statuses()).statuses
            await harness.node.dispatch(order)
        await until_complete(harness, order.replica_id)

    async def test_cancel_keeps_the_bytes_and_delete_does_not(self, harness: NodeHarness) -> None:
        order = an_order(harness, harness.samples.slow)
        directory = harness.base / str(order.replica_id)
        await harness.node.dispatch(order)
        await until_status(harness, order.replica_id, lambda s: s.done > 0, "bytes come")
        await harness.node.cancel(harness.engine, order.replica_id)
        assert order.replica_id not in (await harness.node.statuses()).statuses
        assert any(directory.rglob("*"))
        assert order.replica_id in await harness.node.inventory()
        assert await harness.node.delete(harness.engine, order.replica_id) > 0
        assert not directory.exists()
        assert await harness.node.delete(harness.engine, order.replica_id) == 0
        assert order.replica_id not in await harness.node.inventory()

    async def test_forget_keeps_the_files(self, harness: NodeHarness) -> None:
        replica_id = await filled(harness, harness.samples.small)
        before = await entry_files(harness, replica_id)
        await harness.node.forget(harness.engine, replica_id)
        assert replica_id not in (await harness.node.statuses()).statuses
        assert all(size is not None for size in (await harness.node.verify(replica_id, before)).values())

    async def test_what_is_unknown_is_no_failure(self, harness: NodeHarness) -> None:
        replica_id, node = ReplicaId(uuid4()), harness.node
        await node.cancel(harness.engine, replica_id)
        await node.forget(harness.engine, replica_id)
        await node.resume(harness.engine, replica_id)
        await node.limit(harness.engine, replica_id, down=BytesPerSecond(1000), up=None)
        assert list(await node.list_files(harness.engine, replica_id)) == []
        assert list(await node.peers(harness.engine, replica_id)) == []
        assert dict(await node.raw_status(harness.engine, replica_id)) == {}

    async def test_a_selection_is_taken_or_waits_for_the_next_dispatch(self, harness: NodeHarness) -> None:
        sample = harness.samples.several
        if sample is None or "select" not in harness.abilities:
            replica_id = await filled(harness, harness.samples.small)
            assert await harness.node.select(harness.engine, replica_id, frozenset({1})) == (
                "select" in harness.abilities
            )  # fmt: skip
            return
        order = an_order(harness, sample, selection=frozenset({2}))
        await harness.node.dispatch(order)
        await until_complete(harness, order.replica_id)
        files = {file.index: file for file in await harness.node.list_files(harness.engine, order.replica_id)}
        assert {index for index, file in files.items() if file.finished} == {2}
        assert await harness.node.select(harness.engine, order.replica_id, None)

        async def all_there() -> bool:
            return all(file.finished for file in await harness.node.list_files(harness.engine, order.replica_id))

        await eventually(all_there, harness.samples.patience, "every file is there")

    async def test_an_empty_selection_is_not_all(self, harness: NodeHarness) -> None:
        sample = harness.samples.several
        if sample is None or "select" not in harness.abilities:
            return
        order = an_order(harness, sample, selection=frozenset())
        await harness.node.dispatch(order)
        await until_complete(harness, order.replica_id)
        assert not [f for f in await harness.node.list_files(harness.engine, order.replica_id) if f.finished]

    async def test_its_own_words(self, harness: NodeHarness) -> None:
        order = an_order(harness, harness.samples.slow)
        await harness.node.dispatch(order)
        said = await harness.node.raw_status(harness.engine, order.replica_id)
        assert all(isinstance(value, str | int | float | bool) for value in said.values())

    # files on disk

    async def test_verify_tells_sizes_and_what_is_missing(self, harness: NodeHarness) -> None:
        replica_id = await filled(harness, harness.samples.small)
        files = await entry_files(harness, replica_id)
        missing = an_entry_file("nothing", index=90_000)
        found = await harness.node.verify(replica_id, [*files, missing])
        assert found == {**{file.index: file.size for file in files}, 90_000: None}
        assert dict(await harness.node.verify(replica_id, [])) == {}

    async def test_many_files_are_verified(self, harness: NodeHarness) -> None:
        replica_id = await filled(harness, harness.samples.small)
        files = [an_entry_file(f"nothing-{index}", index=index) for index in range(1, 2502)]
        assert dict(await harness.node.verify(replica_id, files)) == dict.fromkeys(range(1, 2502))

    async def test_a_control_file_means_incomplete_unless_it_was_ready(self, harness: NodeHarness) -> None:
        replica_id = ReplicaId(uuid4())
        directory = harness.base / str(replica_id)
        directory.mkdir(mode=0o700)
        (directory / "f").write_bytes(b"x" * 7)
        (directory / "f.aria2").write_bytes(b"")
        for ready, size in ((False, None), (True, 7)):
            found = await harness.node.verify(replica_id, [an_entry_file("f", ready=ready)])
            assert found == {1: size}

    async def test_stat_tells_what_lies_there(self, harness: NodeHarness) -> None:
        replica_id = ReplicaId(uuid4())
        directory = harness.base / str(replica_id)
        directory.mkdir(mode=0o700)
        (directory / "f").write_bytes(b"x" * 7)
        os.utime(directory / "f", ns=(5, 1_700_000_000_123_456_789))
        found = await harness.node.stat(replica_id, ["nothing", "f", *["nothing"] * 2000])
        assert found[1] == StoredFile(path="f", size=Bytes(7), modified_ns=1_700_000_000_123_456_789)
        assert [file for file in found if file is not None] == [found[1]]
        assert len(found) == 2002

    async def test_checksum(self, harness: NodeHarness) -> None:
        replica_id = await filled(harness, harness.samples.small)
        (file, *_) = await harness.node.list_files(harness.engine, replica_id)
        content = harness.samples.small.contents[file.index]
        for algorithm in ("sha256", "md5"):
            digest = await harness.node.checksum(replica_id, file.disk_path, algorithm)
            assert digest == hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
        await raises(NotFound, harness.node.checksum(replica_id, "nothing", "sha256"))

    async def test_read_gives_the_bytes_asked_for(self, harness: NodeHarness) -> None:
        replica_id = ReplicaId(uuid4())
        directory = harness.base / str(replica_id)
        directory.mkdir(mode=0o700)
        content = bytes(range(256)) * 4096
        (directory / "f").write_bytes(content)
        for offset, length in ((0, len(content)), (5, 0), (7, 600_000), (len(content) - 3, 10**9), (10**9, 5)):
            parts = [part async for part in harness.node.read(replica_id, "f", offset=offset, length=length)]
            assert b"".join(parts) == content[offset : offset + length]
            assert all(parts)

    async def test_reading_may_be_broken_off(self, harness: NodeHarness) -> None:
        replica_id = ReplicaId(uuid4())
        directory = harness.base / str(replica_id)
        directory.mkdir(mode=0o700)
        (directory / "f").write_bytes(b"x" * (20 << 20))
        for _ in range(3):
            async with contextlib.aclosing(harness.node.read(replica_id, "f", offset=0, length=20 << 20)) as parts:
                assert await anext(parts)
        assert (await harness.node.snapshot()).works

    @pytest.mark.parametrize("path", ["nothing", "../x", "/etc/passwd", "a/../../x", "", "a\0b"])
    async def test_nothing_outside_is_read(self, harness: NodeHarness, path: str) -> None:
        replica_id = await filled(harness, harness.samples.small)
        with pytest.raises((NotFound, InvalidArgument)):
            await anext(harness.node.read(replica_id, path, offset=0, length=10))
        with pytest.raises((NotFound, InvalidArgument)):
            await harness.node.checksum(replica_id, path, "sha256")

    async def test_written_parts_make_a_file(self, harness: NodeHarness) -> None:
        replica_id = ReplicaId(uuid4())
        first, second = b"a" * MAX_WRITE, b"b" * 1000
        await harness.node.write(replica_id, "folder/f", offset=0, data=first)
        for _ in range(2):  # an answer that was lost
            await harness.node.write(replica_id, "folder/f", offset=len(first), data=second)
        file = harness.base / str(replica_id) / "folder" / "f"
        assert file.read_bytes() == first + second
        await raises(InvalidArgument, harness.node.write(replica_id, "folder/f", offset=10**8, data=b"x"))
        await harness.node.write(replica_id, "folder/f", offset=3, data=b"c")
        assert file.read_bytes() == b"aaac"
        await harness.node.write(replica_id, "folder/f", offset=0, data=b"")
        assert file.read_bytes() == b""

    @pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", "a\0b", "link/x", "link"])
    async def test_nothing_outside_is_written(self, harness: NodeHarness, path: str, tmp_path: Path) -> None:
        replica_id = await filled(harness, harness.samples.small)
        outside = tmp_path / "outside"
        outside.mkdir()
        (harness.base / str(replica_id) / "link").symlink_to(outside)
        before = {found.name for found in harness.base.iterdir()}
        with pytest.raises(InvalidArgument):
            await harness.node.write(replica_id, path, offset=0, data=b"x")
        assert not list(outside.iterdir())
        assert {found.name for found in harness.base.iterdir()} == before

    async def test_inventory_names_every_directory(self, harness: NodeHarness) -> None:
        assert list(await harness.node.inventory()) == []
        made = {ReplicaId(uuid4()) for _ in range(20)}
        for replica_id in made:
            (harness.base / str(replica_id)).mkdir(mode=0o700)
        found = await harness.node.inventory()
        assert set(found) == made
        assert len(found) == len(made)

    # sources

    async def test_claims(self, harness: NodeHarness) -> None:
        assert await harness.node.claims("http://nobody.invalid/file.bin") is None
        if harness.samples.claimed_url and "claims_urls" in harness.abilities:
            assert await harness.node.claims(harness.samples.claimed_url) == harness.engine

    async def test_sniff(self, harness: NodeHarness) -> None:
        sample = harness.samples.small
        if sample.source.kind is not SourceKind.URL:
            return
        found = await harness.node.sniff(sample.source, sample.options)
        assert (found is not None) == ("sniff" in harness.abilities)
        if found is not None and sample.contents and found.size is not None:
            assert found.size == sum(map(len, sample.contents.values()))

    async def test_a_key_is_resolved(self, harness: NodeHarness) -> None:
        sample = harness.samples.small
        found = await harness.node.resolve_cache_key(harness.engine, sample.source, sample.options)
        if found is not None:
            assert found.key.engine == harness.engine
            assert found.key.value
            assert await harness.node.resolve_cache_key(harness.engine, sample.source, sample.options) == found

    async def test_probe(self, harness: NodeHarness) -> None:
        sample, node = harness.samples.small, harness.node
        call = node.probe(
            harness.engine, sample.source, sample.options, torrent=sample.torrent,
            deadline=Seconds(harness.samples.patience),
        )  # fmt: skip
        if "probe" not in harness.abilities:
            await raises(Unsupported, call)
            return
        found = await call
        assert found.name or found.files or found.size is not None
        assert not (await node.statuses()).statuses
        with contextlib.suppress(DeadlineExceeded):
            await node.probe(
                harness.engine, harness.samples.slow.source, harness.samples.slow.options,
                torrent=harness.samples.slow.torrent, deadline=Seconds(0.001),
            )  # fmt: skip

    # calls

    async def test_a_call_that_is_given_up_leaves_the_node_usable(self, harness: NodeHarness) -> None:
        order = an_order(harness, harness.samples.small)
        calls: list[Callable[[], Awaitable[object]]] = [
            harness.node.snapshot, harness.node.statuses, harness.node.inventory, lambda: harness.node.dispatch(order),
        ]  # fmt: skip
        for call in calls:
            for turns in range(6):
                task = asyncio.ensure_future(call())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        await harness.node.dispatch(order)
        await until_complete(harness, order.replica_id)

    async def test_many_calls_at_once(self, harness: NodeHarness) -> None:
        found = await asyncio.gather(*(harness.node.statuses() for _ in range(150)))
        assert all(not answer.statuses and not answer.down for answer in found)


def an_entry_file(path: str, *, index: int = 1, ready: bool = False) -> EntryFile:
    return EntryFile(index=index, path=path, disk_path=path, ready=ready)
