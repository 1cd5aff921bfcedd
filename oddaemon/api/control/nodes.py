"""The calls of AdminService about nodes and the tokens that they join with."""

from __future__ import annotations

from datetime import datetime

from odproto.gen.opendebrid.control import v1 as pb

from oddaemon.api.control.calls import caller
from oddaemon.api.control.parts import ControlParts
from oddaemon.domain.join_token import KeptToken
from oddaemon.domain.types import Bytes, Seconds
from oddaemon.services.nodes import NodeChange
from oddaemon.wire.messages import node_message


class NodeCalls(pb.AdminServiceBase):
    def __init__(self, parts: ControlParts) -> None:
        self._parts = parts

    async def set_node(self, message: pb.SetNodeRequest) -> pb.NodeResponse:
        change = NodeChange(
            draining=message.draining, set_labels=dict(message.set_labels), unset_labels=message.unset_labels,
            running=message.running, weight=message.weight, unset_limits=message.unset_limits,
            min_disk_free=None if message.min_disk_free is None else Bytes(message.min_disk_free),
        )  # fmt: skip
        node_id = await self._parts.nodes.change(caller(), message.node, change)
        return pb.NodeResponse(node=node_message(await self._parts.status.node_named(caller(), node_id)))

    async def remove_node(self, message: pb.RemoveNodeRequest) -> pb.RemoveNodeResponse:
        gone = await self._parts.nodes.remove(caller(), message.node)
        return pb.RemoveNodeResponse(removed=gone.id, requeued=list(gone.requeued))

    async def create_node_token(self, message: pb.CreateNodeTokenRequest) -> pb.CreateNodeTokenResponse:
        made = await self._parts.nodes.create_token(
            caller(), ttl=Seconds(message.ttl_s) if message.ttl_s else None, name=message.name,
            reusable=message.reusable,
        )  # fmt: skip
        token = self._token(made.kept, caller().username)
        return pb.CreateNodeTokenResponse(token=token, word=made.word, command=made.command)

    async def list_node_tokens(self, message: pb.ListNodeTokensRequest) -> pb.ListNodeTokensResponse:
        found = await self._parts.nodes.list_tokens(caller())
        return pb.ListNodeTokensResponse(tokens=[self._token(one.token, one.created_by) for one in found])

    async def revoke_node_token(self, message: pb.RevokeNodeTokenRequest) -> pb.RevokeNodeTokenResponse:
        return pb.RevokeNodeTokenResponse(
            token=self._token(await self._parts.nodes.revoke_token(caller(), message.id), "")
        )

    def _token(self, token: KeptToken, created_by: str) -> pb.NodeToken:
        now: datetime = self._parts.clock.now()
        return pb.NodeToken(
            id=token.id, name=token.name or "", reusable=token.reusable, state=token.state(now),
            created_by=created_by, created_at=token.created_at, expires_at=token.expires_at, used_at=token.used_at,
            uses=token.uses,
        )  # fmt: skip
