"""NodeService over any NodeClient: what a worker serves to its controller, on one connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from odproto.gen.opendebrid.node import v1 as pb

from oddaemon.domain.node_proof import Handshake, Purpose, Side, new_nonce, proof
from oddaemon.ports.node_client import MAX_WRITE, NodeClient
from oddaemon.ports.node_transport import Identity
from oddaemon.transports.grpc.handshake import (
    NOT_THE_CONTROLLER,
    check_proof,
    check_version,
    checked_nonce,
    own_version,
)
from oddaemon.wire import node_messages as wire
from oddaemon.wire import node_values as v

T = TypeVar("T")

OPEN_CALLS = frozenset({"Hello", "Authenticate"})
STATUSES_AT_ONCE = 100
FILES_AT_ONCE = 200
"""Rows of one part of an answer: while one is put into bytes, nothing else runs."""
REPLICAS_AT_ONCE = 5000
VERIFIED_AT_ONCE = 1000


@dataclass(slots=True)
class NodeService(pb.NodeServiceBase):
    """`binding` is that of the connection it is served on; `let_in` is called when the controller has shown that it is
    the controller."""

    node: NodeClient
    identity: Identity
    binding: Callable[[], bytes]
    let_in: Callable[[], None]
    _shaken: Handshake | None = None

    async def hello(self, message: pb.HelloRequest) -> pb.HelloResponse:
        check_version(message.version, "the controller")
        shaken = self._shaken = Handshake(
            purpose=Purpose.CALLS, node_id=self.identity.node_id, controller_nonce=checked_nonce(message.nonce),
            node_nonce=new_nonce(), binding=self.binding(),
        )  # fmt: skip
        return pb.HelloResponse(
            version=own_version(), node_id=self.identity.node_id, nonce=shaken.node_nonce,
            proof=proof(self.identity.credential, Side.NODE, shaken), instance=self.identity.instance,
        )  # fmt: skip

    async def authenticate(self, message: pb.AuthenticateRequest) -> pb.AuthenticateResponse:
        shaken, self._shaken = self._shaken, None
        credential = self.identity.credential if shaken is not None else None
        shaken = shaken or Handshake(
            purpose=Purpose.CALLS, node_id=self.identity.node_id, controller_nonce=new_nonce(),
            node_nonce=new_nonce(), binding=self.binding(),
        )  # fmt: skip
        check_proof(message.proof, credential, Side.CONTROLLER, shaken, NOT_THE_CONTROLLER)
        self.let_in()
        return pb.AuthenticateResponse()

    async def snapshot(self, message: pb.SnapshotRequest) -> pb.SnapshotResponse:
        return wire.snapshot_message(await self.node.snapshot())

    async def dispatch(self, message: pb.DispatchRequest) -> pb.DispatchResponse:
        return pb.DispatchResponse(handle=await self.node.dispatch(wire.dispatch_from(message)))

    async def get_statuses(self, message: pb.GetStatusesRequest) -> AsyncIterator[pb.GetStatusesResponse]:
        found = await self.node.statuses()
        down: dict[str, str] = {name: v.storable(why) for name, why in found.down.items()}
        yield pb.GetStatusesResponse(down=down)
        async for part in _parts(list(found.statuses.values()), STATUSES_AT_ONCE):
            yield pb.GetStatusesResponse(statuses=[wire.status_message(status) for status in part])

    async def list_files(self, message: pb.ListFilesRequest) -> AsyncIterator[pb.ListFilesResponse]:
        files = await self.node.list_files(v.engine_name(message.engine), v.replica_id(message.replica_id))
        async for part in _parts(files, FILES_AT_ONCE):
            yield pb.ListFilesResponse(files=[wire.file_message(file) for file in part])

    async def verify(self, message: pb.VerifyRequest) -> pb.VerifyResponse:
        files = [wire.file_to_verify_from(file) for file in v.at_most(message.files, VERIFIED_AT_ONCE, "files")]
        return wire.verified_message(await self.node.verify(v.replica_id(message.replica_id), files))

    async def stat(self, message: pb.StatRequest) -> pb.StatResponse:
        paths = [v.safe_path(path) for path in v.at_most(message.paths, VERIFIED_AT_ONCE, "paths")]
        return wire.stated_message(await self.node.stat(v.replica_id(message.replica_id), paths))

    async def checksum(self, message: pb.ChecksumRequest) -> pb.ChecksumResponse:
        digest = await self.node.checksum(
            v.replica_id(message.replica_id), v.safe_path(message.path), v.text(message.algorithm, "algorithm")
        )
        return pb.ChecksumResponse(hex_digest=digest)

    async def pause(self, message: pb.PauseRequest) -> pb.PauseResponse:
        held = await self.node.pause(v.engine_name(message.engine), v.replica_id(message.replica_id))
        return pb.PauseResponse(held=held)

    async def resume(self, message: pb.ResumeRequest) -> pb.ResumeResponse:
        await self.node.resume(v.engine_name(message.engine), v.replica_id(message.replica_id))
        return pb.ResumeResponse()

    async def select(self, message: pb.SelectRequest) -> pb.SelectResponse:
        taken = await self.node.select(
            v.engine_name(message.engine), v.replica_id(message.replica_id), wire.selection_from(message.selection)
        )
        return pb.SelectResponse(taken=taken)

    async def limit(self, message: pb.LimitRequest) -> pb.LimitResponse:
        down, up = wire.maybe_limits(message)
        await self.node.limit(v.engine_name(message.engine), v.replica_id(message.replica_id), down=down, up=up)
        return pb.LimitResponse()

    async def cancel(self, message: pb.CancelRequest) -> pb.CancelResponse:
        await self.node.cancel(v.engine_name(message.engine), v.replica_id(message.replica_id))
        return pb.CancelResponse()

    async def forget(self, message: pb.ForgetRequest) -> pb.ForgetResponse:
        await self.node.forget(v.engine_name(message.engine), v.replica_id(message.replica_id))
        return pb.ForgetResponse()

    async def delete(self, message: pb.DeleteRequest) -> pb.DeleteResponse:
        freed = await self.node.delete(v.engine_name(message.engine), v.replica_id(message.replica_id))
        return pb.DeleteResponse(freed=freed)

    async def inventory(self, message: pb.InventoryRequest) -> AsyncIterator[pb.InventoryResponse]:
        async for part in _parts(await self.node.inventory(), REPLICAS_AT_ONCE):
            yield pb.InventoryResponse(replica_ids=wire.replicas_message(part))

    async def claims(self, message: pb.ClaimsRequest) -> pb.ClaimsResponse:
        return pb.ClaimsResponse(engine=await self.node.claims(v.text(message.url, "url", v.MAX_TEXT)))

    async def sniff(self, message: pb.SniffRequest) -> pb.SniffResponse:
        found = await self.node.sniff(wire.source_from(message.source), wire.options_from(message.options))
        return wire.sniffed_message(found)

    async def resolve_cache_key(self, message: pb.ResolveCacheKeyRequest) -> pb.ResolveCacheKeyResponse:
        found = await self.node.resolve_cache_key(
            v.engine_name(message.engine), wire.source_from(message.source), wire.options_from(message.options)
        )
        return wire.resolution_message(found)

    async def probe(self, message: pb.ProbeRequest) -> pb.ProbeResponse:
        deadline = v.seconds(message.deadline_s, "deadline_s")
        assert deadline is not None
        found = await self.node.probe(
            v.engine_name(message.engine), wire.source_from(message.source), wire.options_from(message.options),
            torrent=wire.torrent_from(message.torrent), deadline=deadline,
        )  # fmt: skip
        return wire.probe_message(found)

    async def peers(self, message: pb.PeersRequest) -> pb.PeersResponse:
        found = await self.node.peers(v.engine_name(message.engine), v.replica_id(message.replica_id))
        return wire.peers_message(found)

    async def raw_status(self, message: pb.RawStatusRequest) -> pb.RawStatusResponse:
        found = await self.node.raw_status(v.engine_name(message.engine), v.replica_id(message.replica_id))
        return wire.raw_message(found)

    async def read_file(self, message: pb.ReadFileRequest) -> AsyncIterator[pb.ReadFileResponse]:
        parts = self.node.read(
            v.replica_id(message.replica_id), v.safe_path(message.path), offset=v.size(message.offset, "offset"),
            length=v.size(message.length, "length"),
        )  # fmt: skip
        async with contextlib.aclosing(parts) as reading:
            async for part in reading:
                yield pb.ReadFileResponse(data=part)

    async def write_file(self, message: pb.WriteFileRequest) -> pb.WriteFileResponse:
        await self.node.write(
            v.replica_id(message.replica_id), v.safe_path(message.path), offset=v.size(message.offset, "offset"),
            data=v.at_most(message.data, MAX_WRITE, "data"),
        )  # fmt: skip
        return pb.WriteFileResponse()


async def _parts(rows: Sequence[T], size: int) -> AsyncIterator[Sequence[T]]:
    """Others have a turn between two parts: as long as the other side takes them, sending one does not wait."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
        await asyncio.sleep(0)
