"""Workers join, tell and are refused, over real TLS, against the services that keep them."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from oddaemon.app.compose_nodes import build_nodes
from oddaemon.app.exit_codes import StartFailed
from oddaemon.app.settings import NodesSettings
from oddaemon.domain.errors import (
    AlreadyExists,
    Conflict,
    InvalidArgument,
    NodeUnavailable,
    NotAllowed,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from oddaemon.domain.events import NodeJoined, NodeRemoved, NodeTokenCreated, NodeTokenRevoked
from oddaemon.domain.job import JobState
from oddaemon.domain.join_token import PastedToken, parse_token
from oddaemon.domain.node import DiskUsage
from oddaemon.domain.node_proof import JoinToken
from oddaemon.domain.types import Bytes, Fraction, NodeId, ReplicaId, Seconds
from oddaemon.ports.engine import Engine
from oddaemon.ports.node_registry import Joined
from oddaemon.ports.node_transport import ControllerAddress, Identity
from oddaemon.ports.store import Transaction
from oddaemon.services.announcing import announcement
from oddaemon.services.node_agent import NodeAgent
from oddaemon.services.nodes import NewToken, NodeChange, Nodes
from oddaemon.transports.grpc import refusals
from oddaemon.transports.grpc.dialer import join, registry_client, served_node
from oddaemon.transports.grpc.plugin import GrpcSettings, GrpcTransport
from oddaemon.transports.grpc.secure import fingerprint_of_file
from tests.support.core import HERE, House
from tests.support.links import remote_files
from tests.support.many import SLOW, URL
from tests.support.nodes import TLS, beat_of, tcp_listener
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


async def test_a_single_use_token_lets_one_in(yard: Yard) -> None:
    made = await yard.token()
    both = await asyncio.gather(
        yard.join(made, NodeId("one")), yard.join(made, NodeId("two")), return_exceptions=True
    )  # fmt: skip
    assert {type(found) for found in both} == {Joined, Unauthenticated}
    [listed] = await yard.nodes.list_tokens(yard.home.admin)
    assert (listed.state, listed.token.uses) == ("used", 1)


async def test_what_was_lost_on_the_way_is_given_again_until_it_has_arrived(yard: Yard) -> None:
    made = await yard.token()
    lost = await yard.join(made)
    with pytest.raises(Unauthenticated):
        await yard.join(made, NodeId("other"))
    again = await yard.join(made)
    assert again.credential != lost.credential
    with pytest.raises(Unauthenticated):
        async with yard.connected(lost, attic(yard.home)):
            pass
    async with yard.connected(again, attic(yard.home)):
        with pytest.raises(Unauthenticated):
            await yard.join(made)


async def test_a_reusable_token_lets_many_in_and_none_twice(yard: Yard) -> None:
    made = await yard.token(reusable=True)
    for name in ("one", "two"):
        async with yard.connected(await yard.join(made, NodeId(name)), replace(attic(yard.home), id=NodeId(name))):
            pass
    for taken in ("one", HERE):
        with pytest.raises(AlreadyExists):
            await yard.join(await yard.token(), NodeId(taken))


async def test_a_token_with_a_name_gives_it(yard: Yard) -> None:
    made = await yard.token(name="cellar")
    assert (await yard.join(made, ATTIC)).node_id == "cellar"
    assert set(yard.home.fleet.clients) == {HERE, "cellar"}


async def test_tokens_that_are_not_good_let_nobody_in(yard: Yard) -> None:
    good = parse_token((await yard.token()).word)
    expired = await yard.token(ttl=Seconds(1))

    def expire(tx: Transaction) -> None:
        token = tx.join_tokens.get(expired.kept.id)
        assert token is not None
        tx.join_tokens.delete(token.id)
        tx.join_tokens.insert(replace(token, expires_at=token.created_at))

    await yard.home.store.write(expire)
    revoked = await yard.token()
    await yard.nodes.revoke_token(yard.home.admin, revoked.kept.id)
    wrong = [
        replace(good, secret="x" * 32), replace(good, id="0123456789ab"), parse_token(expired.word),
        parse_token(revoked.word),
    ]  # fmt: skip
    for pasted in wrong:
        with pytest.raises(Unauthenticated):
            await yard.join(pasted)
    with pytest.raises(NotFound):
        await yard.nodes.revoke_token(yard.home.admin, revoked.kept.id)
    assert set(yard.home.fleet.clients) == {HERE}
    assert await yard.join(good), "the wrong ones used nothing up"
    happened = {type(event) for event in yard.home.events}
    assert NodeTokenRevoked in happened


async def test_who_shows_too_much_that_is_wrong_is_not_listened_to_for_a_while(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MOST", 3)
    monkeypatch.setattr(refusals, "SECONDS", 3600.0)
    made = await yard.token()
    wrong = replace(parse_token(made.word), secret="x" * 32)
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await yard.join(wrong)
    with pytest.raises(Unavailable):
        await yard.join(made)
    monkeypatch.setattr(refusals, "SECONDS", 0.0)
    assert await yard.join(made)


def test_addresses_are_counted_one_by_one_and_ipv6_networks_whole() -> None:
    clock = [0.0]
    found = refusals.Refusals(lambda: clock[0])
    for number in range(refusals.MOST):
        assert not found.shut("10.0.0.1")
        assert found.count("10.0.0.1") == (number == refusals.MOST - 1)
        found.count(f"2001:db8::{number:x}")
    assert found.shut("::ffff:10.0.0.1")
    assert found.shut("2001:db8::ffff")
    assert not found.shut("10.0.0.2")
    assert not found.shut("2001:db8:0:1::1")
    clock[0] = refusals.SECONDS
    assert not found.shut("10.0.0.1")
    for number in range(refusals.MOST_KNOWN + 1):
        found.count(f"h{number}")
    assert len(found._known) == refusals.MOST_KNOWN


async def test_only_admins_make_tokens_of_what_fits(yard: Yard) -> None:
    with pytest.raises(NotAllowed):
        await yard.nodes.create_token(await yard.home.user("maya"))
    for wrong in ({"ttl": Seconds(0)}, {"ttl": Seconds(1e9)}, {"name": "a", "reusable": True}, {"name": "no name"}):
        with pytest.raises(InvalidArgument):
            await yard.token(**wrong)


async def test_a_token_is_in_no_log_and_no_event(yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    made = await yard.token()
    joined = await yard.join(made)
    async with yard.connected(joined, attic(yard.home)):
        pass
    secret = parse_token(made.word).secret
    said = " ".join(f"{record.__dict__} {record.getMessage()}" for record in caplog.records)
    said += repr(yard.home.events) + repr(made) + repr(made.kept) + repr(parse_token(made.word)) + repr(joined)
    assert secret not in said
    assert joined.credential.hex() not in said
    assert repr(joined.credential) not in said


async def test_the_port_is_closed_until_somebody_is_expected(home: House) -> None:
    with tcp_listener() as taken:
        settings = NodesSettings(host="127.0.0.1", port=taken.getsockname()[1])
        async with (found := await open_yard(home, settings)).stack:
            with pytest.raises(Unavailable, match="taken by another program") as told:
                await found.token()
            assert "nodes.port" in told.value.hint
            assert await found.nodes.list_tokens(home.admin) == []
    async with (found := await open_yard(home)).stack:
        made = await found.token()
        first = await found.address()
    with tcp_listener() as taken:
        settings = NodesSettings(host="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(StartFailed, match="taken by another program"):
            await open_yard(home, settings)
    async with (found := await open_yard(home)).stack:
        # a good token is enough to listen again, with the same certificate
        assert (await found.address()).fingerprint == first.fingerprint
        assert await found.join(made)
    certificate = home.folder / "nodes.pem"
    assert stat.S_IMODE(certificate.stat().st_mode) == 0o600


async def test_a_given_certificate_is_used(home: House) -> None:
    settings = NodesSettings(host="127.0.0.1", port=0, tls_cert=str(TLS / "one.pem"), tls_key=str(TLS / "one.key"))
    async with (found := await open_yard(home, settings)).stack:
        assert (await found.address()).fingerprint == fingerprint_of_file(str(TLS / "one.pem"))
        assert await found.join(await found.token())
    assert not (home.folder / "nodes.pem").exists()
    broken = settings.model_copy(update={"tls_key": str(TLS / "two.key")})
    with pytest.raises(StartFailed, match="certificate for nodes"):
        await open_yard(home, broken)


async def test_a_restart_knows_who_joined(home: House) -> None:
    async with (found := await open_yard(home)).stack:
        joined = await found.join(await found.token())
    await home.crash()
    await home.start()
    async with (found := await open_yard(home)).stack:
        await until(lambda: ATTIC in home.core.board.nodes)
        with pytest.raises(NodeUnavailable):
            await home.fleet.clients[ATTIC].snapshot()
        async with found.connected(joined, attic(home)):
            await until(lambda: home.core.board.nodes[ATTIC].online)


async def test_a_nodes_disk_is_no_larger_than_disks_are(yard: Yard) -> None:
    joined = await yard.join(await yard.token())
    address = await yard.address()
    async with registry_client(address) as registry:
        await registry.authenticate(Identity(node_id=ATTIC, credential=joined.credential, instance="1"))
        beat = await beat_of(yard.home.agent)
        assert not await registry.heartbeat(beat), "it has to register first"
        told = await announcement(attic(yard.home), instance="1", software="2.0.0")
        await registry.register(replace(told, disk=DiskUsage(total=Bytes(2**60), free=Bytes(2**60))))
        assert yard.home.core.board.nodes[ATTIC].disk.total == 2**56
        told_disk = DiskUsage(total=Bytes(10), free=Bytes(5))
        assert await registry.heartbeat(replace(beat, disk=told_disk, load=Fraction(0.5)))
        seen = yard.home.core.board.nodes[ATTIC]
        assert (seen.disk.free, seen.load) == (5, 0.5)
        assert seen.engines[0].capabilities, "what an engine can do was announced"


async def test_a_removed_node_is_cut_off_and_refused(yard: Yard) -> None:
    joined = await yard.join(await yard.token())
    address = await yard.address()
    identity = Identity(node_id=ATTIC, credential=joined.credential, instance="1")
    agent = attic(yard.home)
    async with registry_client(address) as registry, served_node(address, identity, agent) as served:
        await registry.authenticate(identity)
        await registry.register(await announcement(agent, instance="1", software="2.0.0"))
        gone = await yard.nodes.remove(yard.home.admin, "The attic")
        assert (gone.id, list(gone.requeued)) == (ATTIC, [])
        await asyncio.wait_for(registry.lost.wait(), 20)
        await asyncio.wait_for(served.lost.wait(), 20)
    with pytest.raises(Unauthenticated):
        async with registry_client(address) as registry:
            await registry.authenticate(identity)
    assert ATTIC not in yard.home.fleet.clients
    assert ATTIC not in yard.home.core.board.nodes
    assert await yard.home.store.read(lambda tx: tx.nodes.get(ATTIC)) is None
    with pytest.raises(NotFound):
        await yard.nodes.remove(yard.home.admin, ATTIC)
    with pytest.raises(Conflict):
        await yard.nodes.remove(yard.home.admin, HERE)
    assert await yard.join(await yard.token()), "the name is free again"
    assert NodeRemoved in {type(event) for event in yard.home.events}


async def test_a_removed_node_is_told_to_stop_its_downloads_and_keeps_their_bytes(yard: Yard) -> None:
    home = yard.home
    joined = await yard.join(await yard.token())
    async with yard.connected(joined, attic(home)):
        view = await home.add(URL.format(1), options=SLOW, node=ATTIC)
        await home.until_state(view, JobState.ACTIVE)
        (replica,) = await home.replicas()
        assert replica.node_id == ATTIC
        (engine,) = home.agent.engines.values()
        await until(lambda: _works_on(engine, replica.id), what="it downloads")
        gone = await yard.nodes.remove(home.admin, ATTIC)
        assert list(gone.requeued) == [view.job.number]
        assert not await _works_on(engine, replica.id)
        assert str(replica.id) in home.directories()


async def _works_on(engine: Engine, replica_id: ReplicaId) -> bool:
    return replica_id in await engine.statuses()


async def test_marks_outlive_the_nodes_words_and_restarts(yard: Yard) -> None:
    joined = await yard.join(await yard.token())
    admin, board = yard.home.admin, yard.home.core.board
    async with yard.connected(joined, attic(yard.home)):
        change = NodeChange(draining=True, set_labels={"room": "attic"}, running=2, weight=0.5)
        assert await yard.nodes.change(admin, ATTIC, change) == ATTIC
        seen = board.nodes[ATTIC]
        assert (seen.draining, seen.has({"room": "attic"}), seen.limits.running) == (True, True, 2)
    async with yard.connected(joined, attic(yard.home)):
        assert board.nodes[ATTIC].marks == seen.marks
    await yard.home.crash()
    await yard.home.start()
    await until(lambda: ATTIC in yard.home.core.board.nodes)
    assert yard.home.core.board.nodes[ATTIC].marks == seen.marks
    for wrong in (NodeChange(weight=0), NodeChange(set_labels={"a=b": "c"}), NodeChange(unset_limits=["colour"])):
        with pytest.raises(InvalidArgument):
            await yard.nodes.change(admin, ATTIC, wrong)
