"""Calls about other machines: how they join, what they may, how they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from odctl.client import convert
from odctl.client.channel import Calls
from odctl.client.models import NodeToken
from odctl.client.protocol import common, wire


class Nodes:
    """Part of a DaemonClient. Every method raises OdctlError."""

    def __init__(self, calls: Calls) -> None:
        self._ask = calls.ask
        self._admin = calls.admin

    async def change(
        self, name: str, *, draining: bool | None = None, set_labels: Mapping[str, str] | None = None,
        unset_labels: Sequence[str] = (), running: int | None = None, min_disk_free: int | None = None,
        weight: float | None = None, unset_limits: Sequence[str] = (),
    ) -> dict[str, Any]:  # fmt: skip
        """The node as it is now. What is not given stays."""
        request = wire.SetNodeRequest(
            node=name, draining=draining, set_labels=dict(set_labels or {}), unset_labels=list(unset_labels),
            running=running, min_disk_free=min_disk_free, weight=weight, unset_limits=list(unset_limits),
        )  # fmt: skip
        answer = await self._ask(self._admin, "set_node", request)
        return convert.node(answer.node or common.Node())

    async def remove(self, name: str) -> tuple[str, list[int]]:
        """Its id, and the numbers of the jobs that went back to the queue."""
        answer = await self._ask(self._admin, "remove_node", wire.RemoveNodeRequest(node=name))
        return answer.removed, list(answer.requeued)

    async def create_token(self, *, ttl_s: float, name: str, reusable: bool) -> tuple[NodeToken, str, str]:
        """The token, the word itself, and the command to paste on the worker. `ttl_s` 0: a day."""
        request = wire.CreateNodeTokenRequest(ttl_s=ttl_s, name=name, reusable=reusable)
        answer = await self._ask(self._admin, "create_node_token", request)
        return _token(answer.token), answer.word, answer.command

    async def tokens(self) -> list[NodeToken]:
        answer = await self._ask(self._admin, "list_node_tokens", wire.ListNodeTokensRequest())
        return [_token(one) for one in answer.tokens]

    async def revoke_token(self, token_id: str) -> NodeToken:
        return _token(
            (await self._ask(self._admin, "revoke_node_token", wire.RevokeNodeTokenRequest(id=token_id))).token
        )


def _token(message: wire.NodeToken | None) -> NodeToken:
    one = message or wire.NodeToken()
    return NodeToken(
        id=one.id, name=one.name or None, reusable=one.reusable, state=one.state, created_by=one.created_by or None,
        created_at=one.created_at, expires_at=one.expires_at, used_at=one.used_at, uses=one.uses,
    )  # fmt: skip
