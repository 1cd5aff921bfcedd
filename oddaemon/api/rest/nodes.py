"""`/api/v1/admin/nodes` and `/api/v1/admin/node-tokens`, for admins: the machines, and what lets others join."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from oddaemon.api.rest.engines import Engine, engine_of
from oddaemon.api.rest.jobs import tagged
from oddaemon.api.rest.models import Model, Nothing
from oddaemon.api.rest.routes import Answer, Call, Routes
from oddaemon.domain.errors import Conflict, NotFound, Unavailable
from oddaemon.domain.join_token import LONGEST_SECONDS, KeptToken, TokenState
from oddaemon.domain.types import Bytes, Seconds
from oddaemon.domain.user import Role
from oddaemon.services.nodes import DAY, MAX_WEIGHT, NodeChange
from oddaemon.services.views import NodeView
from oddaemon.wire.messages import node_message
from oddaemon.wire.values import clean

route = Routes("nodes", prefix="/api/v1/admin")

MOST = 2**62


class NodeLimits(Model):
    """What an admin set for one node. null: as for every node."""

    running: int | None = Field(default=None, ge=0, le=100_000, description="Downloads at once; 0: no limit.")
    min_disk_free: int | None = Field(default=None, ge=0, le=MOST, description="Bytes that downloads leave free.")
    weight: float | None = Field(default=None, gt=0, lt=MAX_WEIGHT, description="Its share, where nodes are weighed.")


class Node(Model):
    id: str
    name: str = Field(description="That people see.")
    role: str = Field(description="controller or worker.")
    state: str = Field(description="online, draining or offline.")
    version: str
    address: str | None = Field(description="Of its file server.")
    engines: list[Engine]
    disk_total: int
    disk_free: int
    reserve: int = Field(description="Bytes that downloads leave free.")
    jobs_active: int
    running_limit: int = Field(description="Downloads at once; 0: no limit.")
    rate_down: int
    rate_up: int
    cpu_load: float | None = Field(description="Of the last minute, as a share of its cores.")
    heartbeat_age_s: float | None = Field(description="For how long it has said nothing.")
    offline_since: datetime | None
    labels: dict[str, str] = Field(description="Its own, and set_labels before them.")
    set_labels: dict[str, str] = Field(description="Those that an admin set.")
    limits: NodeLimits
    storage_missing: bool


class NodePath(Model):
    id: str = Field(min_length=1, max_length=64, examples=["nas"])


class NodePatch(Model):
    """What is left out stays."""

    draining: bool | None = Field(default=None, description="Nothing new starts there; what runs goes on.")
    set_labels: dict[str, str] = Field(default={}, max_length=64, description="Added, or given another value.")
    unset_labels: list[str] = Field(default=[], max_length=64)
    limits: NodeLimits | None = Field(default=None, description="Of these the ones that are there; null resets one.")


class RemovedNode(Model):
    removed: str
    requeued: list[int] = Field(description="Numbers of the jobs that went back to the queue.")


class TokenRequest(Model):
    ttl_s: float = Field(default=DAY, ge=1, le=LONGEST_SECONDS, description="For how long it lets somebody in.")
    name: str | None = Field(
        default=None, max_length=64, pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$",
        description="Whoever joins with it gets this name. null: its host name.",
    )  # fmt: skip
    reusable: bool = Field(default=False, description="For any number of machines; never with a name.")


class Token(Model):
    id: str
    name: str | None
    reusable: bool
    state: TokenState
    created_by: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    uses: int


class TokenMade(Model):
    id: str
    token: str = Field(description="Told this once.")
    command: str = Field(description="To paste on the other machine.")
    expires_at: datetime


class TokenPath(Model):
    token: str = Field(min_length=1, max_length=32, pattern=r"^[0-9a-f]+$", examples=["0123456789ab"])


def _node(view: NodeView) -> Node:
    message, limits = node_message(view), view.node.limits
    return Node(
        id=message.id, name=message.name, role=message.role, state=message.state, version=message.version,
        address=message.address or None, engines=[engine_of(engine) for engine in view.engines],
        disk_total=message.disk_total, disk_free=message.disk_free, reserve=message.reserve,
        jobs_active=message.jobs_active, running_limit=view.running_limit, rate_down=message.rate_down,
        rate_up=message.rate_up, cpu_load=message.cpu_load, heartbeat_age_s=message.heartbeat_age_s,
        offline_since=view.node.offline_since, labels=message.labels, set_labels=message.set_labels,
        storage_missing=message.storage_missing,
        limits=NodeLimits(running=limits.running, min_disk_free=limits.min_disk_free, weight=limits.weight),
    )  # fmt: skip


def _token(token: KeptToken, state: TokenState, created_by: str) -> Token:
    return Token(
        id=token.id, name=token.name, reusable=token.reusable, state=state, created_by=clean(created_by),
        created_at=token.created_at, expires_at=token.expires_at, used_at=token.used_at, uses=token.uses,
    )  # fmt: skip


# what lets others join


@route("GET", "/node-tokens", needs=Role.ADMIN, summary="Join tokens")
async def list_tokens(call: Call[Nothing, Nothing, Nothing]) -> list[Token]:
    """Oldest first; those that are not good any more for some days. The secret part was told when each was made."""
    return [_token(one.token, one.state, one.created_by) for one in await call.parts.nodes.list_tokens(call.who)]


@route(
    "POST", "/node-tokens", needs=Role.ADMIN, summary="A token that lets another machine join", status=201,
    errors=[Unavailable],
)  # fmt: skip
async def create_token(call: Call[Nothing, Nothing, TokenRequest]) -> TokenMade:
    """From now on the port for workers is open."""
    body = call.body
    made = await call.parts.nodes.create_token(
        call.who, ttl=Seconds(body.ttl_s), name=body.name or "", reusable=body.reusable
    )  # fmt: skip
    return TokenMade(id=made.kept.id, token=made.word, command=made.command, expires_at=made.kept.expires_at)


@route("DELETE", "/node-tokens/{token}", needs=Role.ADMIN, summary="End a join token", errors=[NotFound])
async def revoke_token(call: Call[TokenPath, Nothing, Nothing]) -> None:
    """Nobody joins with it any more; who did, stays."""
    await call.parts.nodes.revoke_token(call.who, call.path.token)


# nodes


@route("GET", "/nodes", needs=Role.ADMIN, summary="All nodes")
async def list_nodes(call: Call[Nothing, Nothing, Nothing]) -> list[Node]:
    return [_node(view) for view in (await call.parts.status.status(call.who)).nodes]


@route("GET", "/nodes/{id}", needs=Role.ADMIN, summary="One node, and how it does", errors=[NotFound])
async def get_node(call: Call[NodePath, Nothing, Nothing]) -> Answer[Node]:
    return tagged(_node(await call.parts.status.node_named(call.who, call.path.id)))


@route(
    "PATCH", "/nodes/{id}", needs=Role.ADMIN, summary="Change a node's labels, limits or draining", errors=[NotFound],
    shown_by=get_node,
)  # fmt: skip
async def change_node(call: Call[NodePath, Nothing, NodePatch]) -> Node:
    body = call.body
    limits = body.limits or NodeLimits()
    reserve = limits.min_disk_free
    change = NodeChange(
        draining=body.draining, set_labels=body.set_labels, unset_labels=body.unset_labels, running=limits.running,
        min_disk_free=None if reserve is None else Bytes(reserve), weight=limits.weight,
        unset_limits=[name for name in limits.model_fields_set if getattr(limits, name) is None],
    )  # fmt: skip
    return await _changed(call, change)


@route("POST", "/nodes/{id}/drain", needs=Role.ADMIN, summary="Start nothing new on a node", errors=[NotFound])
async def drain_node(call: Call[NodePath, Nothing, Nothing]) -> Node:
    """What runs there goes on, and its files are served. Its jobs_active says how much is left."""
    return await _changed(call, NodeChange(draining=True))


@route("POST", "/nodes/{id}/undrain", needs=Role.ADMIN, summary="Let a node take work again", errors=[NotFound])
async def undrain_node(call: Call[NodePath, Nothing, Nothing]) -> Node:
    return await _changed(call, NodeChange(draining=False))


@route(
    "DELETE", "/nodes/{id}", needs=Role.ADMIN, summary="Remove a node", errors=[NotFound, Conflict],
    shown_by=get_node,
)  # fmt: skip
async def remove_node(call: Call[NodePath, Nothing, Nothing]) -> RemovedNode:
    """It is shut out, and what it did goes back to the queue. The controller's own cannot be removed."""
    gone = await call.parts.nodes.remove(call.who, call.path.id)
    return RemovedNode(removed=gone.id, requeued=list(gone.requeued))


async def _changed(
    call: Call[NodePath, Nothing, NodePatch] | Call[NodePath, Nothing, Nothing], change: NodeChange
) -> Node:
    node_id = await call.parts.nodes.change(call.who, call.path.id, change)
    return _node(await call.parts.status.node_named(call.who, node_id))
