"""A worker that knows its credential and says whatever it likes: its controller takes harm from none of it."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.node import v1 as pb
from odproto.gen.opendebrid.registry import v1 as registry_pb

from oddaemon.domain.cache import EntryFile
from oddaemon.domain.errors import NodeUnavailable, NotFound, OpenDebridError
from oddaemon.domain.source import parse_source
from oddaemon.domain.types import EngineName, NodeId, ReplicaId, Seconds
from oddaemon.ports.node_client import Dispatch, NodeClient
from oddaemon.rpc.messages import MAX_MESSAGE
from oddaemon.services.node_agent import NodeAgent
from oddaemon.storage.local import LocalStorage
from oddaemon.transports.grpc import dialer
from oddaemon.transports.grpc.client import GrpcNodeClient
from oddaemon.transports.grpc.dialer import registry_client, served_node
from oddaemon.transports.grpc.node_service import NodeService
from tests.support.nodes import WORKER, Controller, controller

ARIA2 = EngineName("aria2")
REPLICA = ReplicaId(uuid4())
SOURCE = parse_source("http://x.example/y")


class Raw:
    """Any bytes in the place of a message."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bytes__(self) -> bytes:
        return self._data


LIE: list[Any] = []
"""What the node answers to everything, part by part."""


class Liar(NodeService):
    """Keeps to the handshake, and then to nothing."""

    async def _lie(self, message: object) -> Any:
        return LIE[0]

    async def _lies(self, message: object) -> AsyncIterator[Any]:
        for lie in LIE:
            yield lie
            await asyncio.sleep(0)

    snapshot = dispatch = verify = checksum = pause = delete = claims = sniff = resolve_cache_key = probe = peers = _lie
    raw_status = stat = _lie
    get_statuses = list_files = inventory = read_file = _lies


@pytest.fixture
def node(tmp_path: Path) -> NodeAgent:
    storage = LocalStorage(tmp_path)
    storage.prepare(known=False)
    return NodeAgent(id=WORKER, display_name="attic", engines={}, storage=storage)


@contextlib.asynccontextmanager
async def lying(node: NodeAgent, patch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Controller, GrpcNodeClient]]:
    patch.setattr(dialer, "NodeService", Liar)
    async with controller() as built, served_node(built.address(), built.identity(), node):
        yield built, await built.connected()


async def read_all(node: NodeClient) -> bytes:
    return b"".join([part async for part in node.read(REPLICA, "f", offset=0, length=10)])


Call = Callable[[NodeClient], Awaitable[object]]
CALLS: dict[str, Call] = {
    "snapshot": lambda node: node.snapshot(),
    "dispatch": lambda node: node.dispatch(
        Dispatch(replica_id=REPLICA, engine=ARIA2, source=SOURCE, options={})
    ),
    "statuses": lambda node: node.statuses(),
    "list_files": lambda node: node.list_files(ARIA2, REPLICA),
    "verify": lambda node: node.verify(REPLICA, [EntryFile(index=1, path="f", disk_path="f")]),
    "stat": lambda node: node.stat(REPLICA, ["f"]),
    "checksum": lambda node: node.checksum(REPLICA, "f", "sha256"),
    "delete": lambda node: node.delete(ARIA2, REPLICA),
    "inventory": lambda node: node.inventory(),
    "claims": lambda node: node.claims("http://x.example"),
    "sniff": lambda node: node.sniff(SOURCE, {}),
    "resolve": lambda node: node.resolve_cache_key(ARIA2, SOURCE, {}),
    "probe": lambda node: node.probe(ARIA2, SOURCE, {}, torrent=None, deadline=Seconds(5)),
    "peers": lambda node: node.peers(ARIA2, REPLICA),
    "raw_status": lambda node: node.raw_status(ARIA2, REPLICA),
    "read": read_all,
}  # fmt: skip
STATUS = pb.FillStatus(replica_id=REPLICA.bytes, state=pb.FillState.ACTIVE)
FILE = pb.FillFile(index=1, path=b"f", disk_path=b"f")
DISK = pb.Disk(total=2, free=1, present=True)


@pytest.mark.parametrize("call", CALLS)
async def test_junk_in_the_place_of_every_answer(
    node: NodeAgent, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lying(node, monkeypatch) as (_, client):
        for junk in (b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f", b"\x08", b"\x0d\x00\x00\x00\x00" * 3):
            LIE[:] = [Raw(junk)]
            with pytest.raises(NodeUnavailable) as caught:
                await asyncio.wait_for(CALLS[call](client), 60)
            assert "attic" in caught.value.message
        LIE[:] = [pb.SnapshotResponse(name="attic", disk=DISK)]
        assert (await client.snapshot()).name == "attic", "the connection survives"


LIES: list[tuple[str, list[Any]]] = [
    ("statuses", [pb.GetStatusesResponse(statuses=[STATUS, STATUS])]),
    ("statuses", [pb.GetStatusesResponse(statuses=[STATUS])] * 2),
    ("statuses", [pb.GetStatusesResponse(statuses=[pb.FillStatus(replica_id=b"x")])]),
    ("statuses", [pb.GetStatusesResponse(statuses=[pb.FillStatus(replica_id=REPLICA.bytes)])]),
    ("statuses", [pb.GetStatusesResponse(down={"../x": "y"})]),
    ("statuses", [pb.GetStatusesResponse(down={f"e{n}": "" for n in range(100)})]),
    ("list_files", [pb.ListFilesResponse(files=[FILE, FILE])]),
    ("list_files", [pb.ListFilesResponse(files=[FILE, pb.FillFile(index=2, path=b"g", disk_path=b"f")])]),
    ("list_files", [pb.ListFilesResponse(files=[pb.FillFile(index=1, path=b"f", disk_path=b"../../etc/passwd")])]),
    ("list_files", [pb.ListFilesResponse(files=[pb.FillFile(index=1, disk_path=b"f", size=2**62)])]),
    ("verify", [pb.VerifyResponse(files=[pb.VerifiedFile(index=2, size=5)])]),
    ("verify", [pb.VerifyResponse()]),
    ("stat", [pb.StatResponse()]),
    ("stat", [pb.StatResponse(files=[pb.StatedFile(there=True, size=2**62)])]),
    ("stat", [pb.StatResponse(files=[pb.StatedFile(there=True, modified_ns=2**63)])]),
    ("checksum", [pb.ChecksumResponse(hex_digest="../../x")]),
    ("delete", [pb.DeleteResponse(freed=2**62)]),
    ("dispatch", [pb.DispatchResponse(handle="x" * 20_000)]),
    ("inventory", [pb.InventoryResponse(replica_ids=[b"short"])]),
    ("claims", [pb.ClaimsResponse(engine="../x")]),
    ("resolve", [pb.ResolveCacheKeyResponse(key=pb.CacheKey(engine="ytdlp", kind=pb.KeyKind.URL, value="x"))]),
    ("snapshot", [pb.SnapshotResponse()]),
    ("snapshot", [pb.SnapshotResponse(disk=pb.Disk(total=1, free=2))]),
    ("peers", [pb.PeersResponse(peers=[pb.Peer(progress=7.0)])]),
    ("read", [pb.ReadFileResponse(data=b"x" * 11)]),
    ("read", [pb.ReadFileResponse(data=b"x" * 6)] * 2),
    ("read", [pb.ReadFileResponse(data=b"x"), pb.ReadFileResponse()]),
    ("claims", []),
]


@pytest.mark.parametrize(("call", "lie"), LIES, ids=[f"{number}-{call}" for number, (call, _) in enumerate(LIES)])
async def test_what_cannot_be_is_not_believed(
    node: NodeAgent, call: str, lie: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lying(node, monkeypatch) as (_, client):
        LIE[:] = lie
        with pytest.raises((NodeUnavailable, OpenDebridError)) as caught:
            await asyncio.wait_for(CALLS[call](client), 60)
        # a node that answers nothing at all failed by itself
        assert type(caught.value) is (NodeUnavailable if lie else OpenDebridError)
        LIE[:] = [pb.SnapshotResponse(name="attic", disk=DISK)]
        assert (await client.snapshot()).name == "attic"


async def test_a_message_that_is_too_large_is_not_read(node: NodeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    async with lying(node, monkeypatch) as (_, client):
        LIE[:] = [Raw(b"\x0a" + b"\xff" * (MAX_MESSAGE + 1))]
        for call in ("snapshot", "statuses", "read"):
            with pytest.raises(NodeUnavailable):
                await asyncio.wait_for(CALLS[call](client), 60)
        LIE[:] = [pb.SnapshotResponse(name="attic", disk=DISK)]
        assert (await client.snapshot()).name == "attic"


@pytest.mark.parametrize("call", ["statuses", "list_files", "inventory"])
async def test_an_answer_without_end_is_broken_off(
    node: NodeAgent, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oddaemon.transports.grpc.client.MAX_FILES", 5000)
    monkeypatch.setattr("oddaemon.transports.grpc.client.MAX_REPLICAS", 5000)

    class Endless(list[Any]):
        given = 0

        def __iter__(self) -> Any:
            while True:
                self.given += 1
                yield {
                    "statuses": pb.GetStatusesResponse(
                        statuses=[pb.FillStatus(replica_id=uuid4().bytes, state=pb.FillState.ACTIVE)] * 100
                    ),
                    "list_files": pb.ListFilesResponse(files=[FILE] * 100),
                    "inventory": pb.InventoryResponse(replica_ids=[uuid4().bytes for _ in range(100)]),
                }[call]

    endless = Endless()
    monkeypatch.setattr("tests.faults.test_lying_nodes.LIE", endless)
    async with lying(node, monkeypatch) as (_, client):
        with pytest.raises(NodeUnavailable):
            await asyncio.wait_for(CALLS[call](client), 60)
        before = -1
        async with asyncio.timeout(60):
            while endless.given != before:
                # it is told to stop: else it goes on giving for as long as this waits
                before = endless.given
                await asyncio.sleep(0.2)


async def test_errors_that_a_node_may_not_raise(node: NodeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Any, type[OpenDebridError]]] = [
        (pb.NodeError(error=common.Error(code="NOT_ALLOWED", message="x")), NodeUnavailable),
        (pb.NodeError(error=common.Error(code="STORE_ERROR", message="x")), OpenDebridError),
        (pb.NodeError(error=common.Error(code="NOT_FOUND", message="\x1b[2J" + "x" * 900)), NotFound),
        (pb.NodeError(), OpenDebridError),
        (Raw(b"\xff\xff"), NodeUnavailable),
        (None, NodeUnavailable),
    ]
    errors = iter(told)
    expected = [kind for _, kind in told]

    async def raises(self: object, message: object) -> Any:
        found, _ = next(errors)
        raise Told(bytes(found) if found is not None else None)

    class Told(Exception):
        def __init__(self, data: bytes | None) -> None:
            self.data = data

    async def fail(stream: Any, error: BaseException, request_id: str) -> None:
        if not isinstance(error, Told):
            raise AssertionError(error)
        if error.data is None:
            raise GRPCError(Status.DATA_LOSS, "\x1b[2J")
        await stream.send_trailing_metadata(status=Status.ABORTED, metadata={"od-node-error-bin": error.data})

    monkeypatch.setattr(Liar, "snapshot", raises)
    monkeypatch.setattr("oddaemon.transports.grpc.guard._fail", fail)
    async with lying(node, monkeypatch) as (_, client):
        for kind in expected:
            with pytest.raises(OpenDebridError) as caught:
                await asyncio.wait_for(client.snapshot(), 60)
            assert type(caught.value) is kind
            assert "\x1b" not in caught.value.message


async def test_another_node_s_name_needs_its_credential(node: NodeAgent) -> None:
    """A node that is known says that it is another one."""
    async with controller() as built:
        mine, theirs = built.identity(), built.identity(NodeId("cellar"))
        forged = type(mine)(node_id=theirs.node_id, credential=mine.credential, instance="1")
        async with served_node(built.address(), forged, node) as served:
            await asyncio.wait_for(served.lost.wait(), 20)
        assert not built.changes


async def test_what_a_node_tells_of_itself_is_refused_when_it_cannot_be(node: NodeAgent) -> None:
    async with controller() as built, registry_client(built.address()) as registry:
        await registry.authenticate(built.identity())
        stub = registry_pb.RegistryServiceStub(registry.channel)
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: stub.register(registry_pb.RegisterRequest(), timeout=20),
            lambda: stub.register(
                registry_pb.RegisterRequest(disk=DISK, replica_ids=[b"x" * 16] * 1000 + [b"y"]), timeout=60
            ),
            lambda: stub.heartbeat(registry_pb.HeartbeatRequest(disk=pb.Disk(total=1, free=5)), timeout=20),
            lambda: stub.heartbeat(registry_pb.HeartbeatRequest(disk=DISK, cpu_load=-1.0), timeout=20),
            lambda: stub.report(registry_pb.ReportRequest(statuses=[pb.FillStatus(replica_id=b"x")]), timeout=20),
            lambda: stub.report(registry_pb.ReportRequest(statuses=[STATUS] * 10_001), timeout=60),
            lambda: anext(aiter(stub.follow_files(registry_pb.FollowFilesRequest(near="192.0.2.1:80"), timeout=20))),
            lambda: anext(aiter(stub.follow_files(registry_pb.FollowFilesRequest(endpoint="file:///x"), timeout=20))),
            lambda: stub.use_link(registry_pb.UseLinkRequest(link_id=b"x"), timeout=20),
            lambda: stub.files_gone(registry_pb.FilesGoneRequest(replica_id=b"x"), timeout=20),
            lambda: stub.report_usage(
                registry_pb.ReportUsageRequest(links=[registry_pb.LinkUsage(link_id=b"x" * 16, sent=2**62)]), timeout=20
            ),
        ]
        for call in calls:
            with pytest.raises(GRPCError) as caught:
                await call()
            assert caught.value.status is Status.INVALID_ARGUMENT
        assert not [*built.registry.announced, *built.registry.beats, *built.registry.reports]
        await stub.heartbeat(registry_pb.HeartbeatRequest(disk=DISK), timeout=20)


async def test_a_stranger_s_message_is_small() -> None:
    async with controller() as built, registry_client(built.address()) as registry:
        stub = registry_pb.RegistryServiceStub(registry.channel)
        with pytest.raises(GRPCError) as caught:
            await stub.join(registry_pb.JoinRequest(token_id="x" * 100_000, node_id="attic"), timeout=20)
        assert caught.value.status is Status.RESOURCE_EXHAUSTED


async def test_a_reader_that_does_not_read_is_not_buffered(tmp_path: Path, node: NodeAgent) -> None:
    """A file's bytes wait at the node until they are wanted."""
    directory = tmp_path / str(REPLICA)
    directory.mkdir(mode=0o700)
    (directory / "f").write_bytes(b"x" * (32 << 20))
    async with controller() as built, served_node(built.address(), built.identity(), node):
        client = await built.connected()
        tracemalloc.start()
        try:
            reading = client.read(REPLICA, "f", offset=0, length=32 << 20)
            first = await anext(reading)
            for _ in range(50):
                await asyncio.sleep(0.02)
            held, _ = tracemalloc.get_traced_memory()
            assert held < 16 << 20
            count = len(first)
            async for part in reading:
                count += len(part)
            assert count == 32 << 20
        finally:
            tracemalloc.stop()
