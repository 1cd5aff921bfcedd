"""Workers join, tell and are refused, over real TLS, against the services that keep them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from oddaemon.app.compose_nodes import build_nodes
from oddaemon.app.settings import NodesSettings
from oddaemon.domain.events import NodeJoined, NodeTokenCreated
from oddaemon.domain.join_token import PastedToken, parse_token
from oddaemon.domain.node_proof import JoinToken
from oddaemon.domain.types import NodeId
from oddaemon.ports.node_registry import Joined
from oddaemon.ports.node_transport import ControllerAddress, Identity
from oddaemon.services.announcing import announcement
from oddaemon.services.node_agent import NodeAgent
from oddaemon.services.nodes import NewToken, Nodes
from oddaemon.transports.grpc.dialer import join, registry_client, served_node
from oddaemon.transports.grpc.plugin import GrpcSettings, GrpcTransport
from tests.support.core import House
from tests.support.links import remote_files
from tests.support.wait import until

ATTIC = NodeId("attic")


@dataclass(slots=True)
class Yard:
    """A controller to which workers come."""

    home: House
    nodes: Nodes
    stack: AsyncExitStack

    async def token(self, **given: object) -> NewToken:
        return await self.nodes.create_token(self.home.admin, **given)  # type: ignore[arg-type]

    async def address(self) -> ControllerAddress:
        door = await self.nodes.port.open()
        host, _, port = door.address.rpartition(":")
        return ControllerAddress(host=host, port=int(port), fingerprint=door.fingerprint)

    async def join(self, made: NewToken | PastedToken, node_id: NodeId = ATTIC) -> Joined:
        pasted = parse_token(made.word)
        return await join(await self.address(), JoinToken(pasted.id, pasted.secret), node_id)

    @contextlib.asynccontextmanager
    async def connected(self, joined: Joined, agent: NodeAgent) -> AsyncIterator[None]:
        """Registered, and called back."""
        address = await self.address()
        identity = Identity(node_id=joined.node_id, credential=joined.credential, instance="1")
        async with registry_client(address) as registry, served_node(address, identity, agent):
            await registry.authenticate(identity)
            await registry.register(await announcement(agent, instance="1", software="2.0.0"))
            yield


async def open_yard(home: House, settings: NodesSettings | None = None) -> Yard:
    stack, chosen = AsyncExitStack(), settings or NodesSettings(host="127.0.0.1", port=0)
    nodes = await build_nodes(
        store=home.store, clock=home.core.hits.clock, core=home.core, fleet=home.fleet, agent=home.agent,
        settings=lambda: chosen, data_dir=home.folder, transport=GrpcTransport(GrpcSettings()),
        files=remote_files(home.store), stack=stack,
    )  # fmt: skip
    return Yard(home, nodes, stack)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    await house.start()
    yield house
    await house.crash()


@pytest.fixture
async def yard(home: House) -> AsyncIterator[Yard]:
    found = await open_yard(home)
    async with found.stack:
        yield found


def attic(home: House) -> NodeAgent:
    """The same engines and disk under another name: enough to be called."""
    return replace(home.agent, id=ATTIC, display_name="The attic")


async def test_a_worker_joins_with_what_it_was_given_and_is_on_the_board(yard: Yard) -> None:
    made = await yard.token()
    joined = await yard.join(made)
    assert joined.node_id == ATTIC
    async with yard.connected(joined, attic(yard.home)):
        await until(lambda: yard.home.core.board.nodes[ATTIC].online, what="the node online")
        seen = yard.home.core.board.nodes[ATTIC]
        assert (seen.name, seen.software, seen.is_controller) == ("The attic", "2.0.0", False)
        client = yard.home.fleet.clients[ATTIC]
        await until(lambda: client.line.connected, what="the way back")  # type: ignore[attr-defined]
        assert (await client.snapshot()).id == ATTIC
    happened = [type(event) for event in yard.home.events]
    assert happened.index(NodeTokenCreated) < happened.index(NodeJoined)
