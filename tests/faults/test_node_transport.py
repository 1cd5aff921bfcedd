"""The line between a worker and its controller when things go wrong: cut, frozen, doubled, and ended; and strangers."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from odproto import NODE_MAJOR, NODE_MINOR
from odproto.gen.opendebrid.node import v1 as pb

from oddaemon import __version__
from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.errors import AlreadyExists, NodeUnavailable, Unauthenticated, Unsupported
from oddaemon.domain.node import DiskUsage, NodeSnapshot
from oddaemon.domain.node_proof import (
    Handshake,
    JoinToken,
    Purpose,
    Side,
    new_credential,
    new_nonce,
    proof,
    proven,
)
from oddaemon.domain.types import Bytes, EngineName, NodeId, ReplicaId
from oddaemon.ports.engine import FillState, FillStatus
from oddaemon.ports.node_client import NodeStatuses
from oddaemon.ports.node_transport import ControllerAddress, Told
from oddaemon.rpc import connection as rpc_connection
from oddaemon.rpc.connection import keepalive
from oddaemon.services.announcing import Changes, announcement
from oddaemon.services.node_agent import NodeAgent
from oddaemon.storage.local import LocalStorage
from oddaemon.transports.grpc import handshake
from oddaemon.transports.grpc.client import QUICK
from oddaemon.transports.grpc.dialer import join, registry_client, served_node
from oddaemon.transports.grpc.secure import CALLS_PROTOCOL, REGISTRY_PROTOCOL
from oddaemon.transports.grpc.worker import Worker
from tests.support.nodes import WORKER, Controller, beat_of, controller
from tests.support.tcp_relay import tcp_relay
from tests.support.wait import until

SOON = 10.0
"""Seconds: long before any call's deadline, long after what a busy machine loses."""
IMPATIENT = keepalive(0.5, 0.5)


class Still(NodeAgent):
    """A node whose `statuses` waits until it is told, and says how many wait."""

    waiting: int
    released: asyncio.Event

    async def statuses(self) -> NodeStatuses:
        self.waiting += 1
        try:
            await self.released.wait()
        finally:
            self.waiting -= 1
        return NodeStatuses(statuses={}, down={})

    async def snapshot(self) -> NodeSnapshot:
        disk = DiskUsage(total=Bytes(10), free=Bytes(5))
        return NodeSnapshot(id=self.id, name="attic", is_controller=True, online=True, disk=disk, engines=())


@pytest.fixture
def node(tmp_path: Path) -> Still:
    storage = LocalStorage(tmp_path)
    storage.prepare(known=False)
    found = Still(id=WORKER, display_name="attic", engines={}, storage=storage)
    found.waiting, found.released = 0, asyncio.Event()
    return found


async def in_flight(node: Still, call: Awaitable[object]) -> asyncio.Task[object]:
    """A call that has reached the node and waits there."""
    task = asyncio.ensure_future(call)
    await until(lambda: node.waiting == 1, every=0.01, what="the call at the node")
    return task


async def fails_soon(task: asyncio.Task[object], patience: float = SOON) -> NodeUnavailable:
    began = time.monotonic()
    with pytest.raises(NodeUnavailable) as caught:
        await asyncio.wait_for(task, 60)
    assert time.monotonic() - began < patience < QUICK
    return caught.value


# cut, frozen, ended


async def test_a_cut_ends_a_call_at_once(node: Still) -> None:
    async with controller() as built, tcp_relay(built.port) as relay:
        async with served_node(built.address(relay.port), built.identity(), node) as served:
            client = await built.connected()
            task = await in_flight(node, client.statuses())
            relay.cut()
            await fails_soon(task)
            # no connection, no waiting
            await fails_soon(asyncio.ensure_future(client.snapshot()), 1.0)
            await until(lambda: served.lost.is_set() and node.waiting == 0, what="the node notices, too")
        assert built.changes == [(WORKER, True), (WORKER, False)]
        # another one takes its place, for the same client
        async with served_node(built.address(), built.identity(), node):
            client = await built.connected()
            assert (await client.snapshot()).name == "attic"


async def test_a_peer_that_is_frozen_is_found_by_both(node: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_connection, "FLUSH_SECONDS", 0.2)
    async with (
        controller(configuration=IMPATIENT) as built,
        tcp_relay(built.port) as relay,
        served_node(built.address(relay.port), built.identity(), node, IMPATIENT) as served,
    ):
        client = await built.connected()
        task = await in_flight(node, client.statuses())
        relay.freeze()
        await fails_soon(task)
        await until(lambda: served.lost.is_set(), what="the node notices, too")
        await until(lambda: not client.line.connected, what="the controller knows")


async def test_a_quiet_line_lives_on(node: Still) -> None:
    async with controller(configuration=IMPATIENT) as built:
        async with served_node(built.address(), built.identity(), node, IMPATIENT) as served:
            client = await built.connected()
            pings = served.connection.connection
            await until(lambda: (pings.last_ping_sent or 0) > 0, what="a ping")
            first = pings.last_ping_sent
            await until(lambda: pings.last_ping_sent != first, what="another ping")
            assert (await client.snapshot()).name == "attic"
        assert built.changes[0] == (WORKER, True)


async def test_a_node_that_ends_says_so(node: Still) -> None:
    async with controller() as built, served_node(built.address(), built.identity(), node) as served:
        client = await built.connected()
        task = await in_flight(node, client.statuses())
        await served.end()
        assert "ending" in (await fails_soon(task)).message


async def test_a_controller_that_ends_leaves_nobody_waiting(node: Still) -> None:
    async with controller() as built:
        async with (
            registry_client(built.address()) as registry,
            served_node(built.address(), built.identity(), node) as served,
        ):
            client = await built.connected()
            await registry.authenticate(built.identity())
            task = await in_flight(node, client.statuses())
            await built.listener.end()
            await fails_soon(task)
            await asyncio.wait_for(asyncio.gather(served.lost.wait(), registry.lost.wait()), SOON)
            with pytest.raises(NodeUnavailable):
                await registry.heartbeat(await beat_of(node))
        with pytest.raises(NodeUnavailable):
            await join(built.address(), JoinToken("x", "y"), WORKER)


async def test_a_call_that_is_given_up_ends_at_the_node(node: Still) -> None:
    async with controller() as built, served_node(built.address(), built.identity(), node):
        client = await built.connected()
        task = await in_flight(node, client.statuses())
        task.cancel()
        await until(lambda: node.waiting == 0, what="it ends there")
        assert (await client.snapshot()).name == "attic"


async def test_more_calls_than_http2_allows_by_itself(node: Still) -> None:
    async with controller() as built, served_node(built.address(), built.identity(), node):
        client = await built.connected()
        tasks = [asyncio.ensure_future(client.statuses()) for _ in range(300)]
        await until(lambda: node.waiting == 300, what="300 calls at the node")
        assert (await client.snapshot()).name == "attic"
        node.released.set()
        await asyncio.gather(*tasks)


# two of one name


async def test_the_newest_connection_wins(node: Still) -> None:
    async with controller() as built:
        async with served_node(built.address(), built.identity(instance="1"), node) as first:
            client = await built.connected()
            task = await in_flight(node, client.statuses())
            async with served_node(built.address(), built.identity(instance="2"), node):
                await fails_soon(task)
                await asyncio.wait_for(first.lost.wait(), SOON)
                await until(lambda: client.line.instance == "2" and client.line.connected, what="the second")
                assert (await client.snapshot()).name == "attic"
        async with registry_client(built.address()) as one, registry_client(built.address()) as two:
            await one.authenticate(built.identity())
            await two.authenticate(built.identity())
            await asyncio.wait_for(one.lost.wait(), SOON)
            await two.heartbeat(await beat_of(node))
            assert not two.lost.is_set()


async def test_a_node_that_was_removed_is_cut(node: Still) -> None:
    async with controller() as built:
        identity = built.identity()
        async with (
            registry_client(built.address()) as registry, served_node(built.address(), identity, node) as served
        ):  # fmt: skip
            await registry.authenticate(identity)
            await built.connected()
            del built.registry.credentials[WORKER]
            built.listener.forget(WORKER)
            await asyncio.wait_for(asyncio.gather(served.lost.wait(), registry.lost.wait()), SOON)
        with pytest.raises(Unauthenticated):
            async with registry_client(built.address()) as registry:
                await registry.authenticate(identity)


# who is who


async def test_another_certificate_is_refused_before_anything_is_said(node: Still) -> None:
    async with controller("one") as right, controller("two") as wrong:
        address = wrong.address(fingerprint=right.fingerprint)
        with pytest.raises(Unauthenticated, match="certificate"):
            await join(address, JoinToken("x", "y"), WORKER)
        with pytest.raises(Unauthenticated, match="certificate"):
            async with served_node(address, right.identity(), node):
                pass
        assert not wrong.changes


async def test_a_port_without_tls_is_told_in_words() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        address = ControllerAddress(host="127.0.0.1", port=server.sockets[0].getsockname()[1], fingerprint="a" * 64)
        with pytest.raises(NodeUnavailable, match="does not speak TLS") as caught:
            await join(address, JoinToken("x", "y"), WORKER)
    assert "9090" in caught.value.hint


async def test_a_stolen_certificate_makes_no_controller(node: Still) -> None:
    """It has the certificate and its key, and not the nodes' credentials."""
    async with controller("one") as right, controller("one") as thief:
        identity = right.identity()
        thief.registry.credentials[WORKER] = new_credential()
        with pytest.raises(Unauthenticated):
            async with registry_client(thief.address()) as registry:
                await registry.authenticate(identity)
        async with served_node(thief.address(), identity, node) as served:
            await asyncio.wait_for(served.lost.wait(), SOON)
            assert not served.welcomed.is_set()
        assert not thief.changes


@pytest.mark.parametrize("known", [True, False])
async def test_another_credential_is_refused(node: Still, known: bool) -> None:
    async with controller() as built:
        identity = built.identity()
        wrong = replace(identity, credential=new_credential())
        if not known:
            wrong = replace(wrong, node_id=NodeId("nobody"))
        with pytest.raises(Unauthenticated) as refused:
            async with registry_client(built.address()) as registry:
                await registry.authenticate(wrong)
        # the same words for both: who asks is not told which nodes there are
        assert refused.value.message == "the caller does not know this node's credential"
        async with served_node(built.address(), wrong, node) as served:
            await asyncio.wait_for(served.lost.wait(), SOON)
            assert not served.welcomed.is_set()
        assert not built.changes


async def test_what_was_heard_on_one_connection_is_worth_nothing_on_another(node: Still) -> None:
    """Somebody in between, who even knows the controller's key, hands on what the node says."""
    async with controller() as built:
        identity = built.identity()
        async with registry_client(built.address()) as one, registry_client(built.address()) as other:
            other._nonce = one._nonce
            with pytest.raises(Unauthenticated):
                await other.authenticate(identity)
            one.transport = other.transport  # its binding
            with pytest.raises(Unauthenticated):
                await one.authenticate(identity)


async def test_nothing_is_served_before_the_proof(node: Still) -> None:
    async with controller() as built, registry_client(built.address()) as registry:
        for call in (
            registry.heartbeat(await beat_of(node)), registry.report([]),
            registry.register(await announcement(node, instance="1", software=__version__)),
        ):  # fmt: skip
            with pytest.raises(Unauthenticated):
                await call
        assert not built.registry.announced
        assert not built.registry.beats


async def test_a_proof_is_good_once_and_a_failure_ends_the_connection() -> None:
    async with controller() as built:
        identity = built.identity()
        async with registry_client(built.address()) as registry:
            await registry.authenticate(identity)
            with pytest.raises(Unauthenticated):
                await registry.authenticate(identity)
            await asyncio.wait_for(registry.lost.wait(), SOON)


async def test_a_token_is_good_once() -> None:
    async with controller() as built:
        built.registry.tokens |= {"1": "first", "2": "second"}
        first, second = JoinToken("1", "first"), JoinToken("2", "second")
        joined = await join(built.address(), first, WORKER)
        assert joined.credential == built.registry.credentials[WORKER]
        for bad in (first, JoinToken("2", "secnd"), JoinToken("3", "third"), JoinToken("", "")):
            with pytest.raises(Unauthenticated, match="token is not good"):
                await join(built.address(), bad, NodeId("cellar"))
        with pytest.raises(AlreadyExists):
            await join(built.address(), second, WORKER)
        for name in ("", "../x", "a b", "x" * 300):
            with pytest.raises(Unauthenticated):
                await join(built.address(), second, NodeId(name))
        assert "second" not in repr(second)


async def test_a_stolen_certificate_gets_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thief lets everybody join, and hears neither the secret nor is believed."""
    async with controller() as thief:
        thief.registry.tokens["1"] = "what he takes it for"
        monkeypatch.setattr("oddaemon.transports.grpc.registry_service.check_proof", lambda *given: None)
        with pytest.raises(Unauthenticated, match="does not know this join token"):
            await join(thief.address(), JoinToken("1", "the secret"), WORKER)


def test_a_proof_is_of_one_side_one_purpose_and_one_handshake() -> None:
    key = new_credential()
    shaken = Handshake(
        purpose=Purpose.CALLS, node_id=WORKER, controller_nonce=new_nonce(), node_nonce=new_nonce(), binding=b"x" * 48
    )
    shown = proof(key, Side.NODE, shaken)
    assert proven(shown, key, Side.NODE, shaken)
    assert not proven(shown, key, Side.CONTROLLER, shaken)
    assert not proven(shown, new_credential(), Side.NODE, shaken)
    assert not proven(b"", key, Side.NODE, shaken)
    swapped = replace(shaken, controller_nonce=shaken.node_nonce, node_nonce=shaken.controller_nonce)
    for other in (
        swapped, replace(shaken, purpose=Purpose.REGISTRY), replace(shaken, node_id=NodeId("attic2")),
        replace(shaken, binding=b"y" * 48), replace(shaken, node_nonce=new_nonce()),
    ):  # fmt: skip
        assert not proven(shown, key, Side.NODE, other)
    for empty in (replace(shaken, binding=b""), replace(shaken, node_nonce=b"")):
        with pytest.raises(ValueError, match="proof"):
            proof(key, Side.NODE, empty)


# versions


async def test_a_minor_version_more_or_less_works(node: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    for minor in (NODE_MINOR + 1, max(NODE_MINOR - 1, 0)):
        async with controller() as built:
            theirs = handshake.own_version()
            theirs.minor, theirs.software = minor, "9.9"
            monkeypatch.setattr("oddaemon.transports.grpc.node_service.own_version", lambda theirs=theirs: theirs)
            async with served_node(built.address(), built.identity(), node):
                assert (await (await built.connected()).snapshot()).name == "attic"


async def test_another_major_version_is_refused_in_words(node: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = handshake.own_version()
    theirs.major = NODE_MAJOR + 1
    async with controller() as built:
        with monkeypatch.context() as patch:
            patch.setattr("oddaemon.transports.grpc.dialer.own_version", lambda: theirs)
            with pytest.raises(Unsupported, match="version 2 of the node protocol"):
                async with registry_client(built.address()):
                    pass
        monkeypatch.setattr("oddaemon.transports.grpc.node_service.own_version", lambda: theirs)
        async with served_node(built.address(), built.identity(), node) as served:
            await asyncio.wait_for(served.lost.wait(), SOON)
        assert not built.changes


async def test_a_call_that_an_older_node_does_not_know(node: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pb.NodeServiceBase.__mapping__

    def older(self: pb.NodeServiceBase) -> dict[str, object]:
        return {path: route for path, route in whole(self).items() if not path.endswith("/Peers")}

    monkeypatch.setattr(pb.NodeServiceBase, "__mapping__", older)
    async with controller() as built, served_node(built.address(), built.identity(), node):
        client = await built.connected()
        with pytest.raises(Unsupported, match="older"):
            await client.peers(EngineName("aria2"), ReplicaId(uuid4()))
        assert (await client.snapshot()).name == "attic"


# strangers


def tls(*protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"


@pytest.mark.parametrize(
    ("context", "said"),
    [
        (None, b""), (None, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), (None, b"\0" * 4096), (None, PREFACE + SETTINGS),
        (tls(), b""), (tls("http/1.1"), b"GET / HTTP/1.1\r\n\r\n"), (tls("h3"), b"x"),
        (tls(REGISTRY_PROTOCOL), b""), (tls(REGISTRY_PROTOCOL), PREFACE + SETTINGS),
        (tls(REGISTRY_PROTOCOL), b"x" * 99), (tls(REGISTRY_PROTOCOL), PREFACE[:5]),
        (tls(CALLS_PROTOCOL), b""), (tls(CALLS_PROTOCOL), SETTINGS),
        (tls(CALLS_PROTOCOL), b"junk" * 100), (tls(CALLS_PROTOCOL), PREFACE),
    ],
    ids=range(15),
)  # fmt: skip
async def test_strangers_are_cut(context: ssl.SSLContext | None, said: bytes) -> None:
    async with controller(greeting=1.0) as built:
        reader = writer = None
        with contextlib.suppress(OSError):
            async with asyncio.timeout(SOON):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", built.port, ssl=context, server_hostname="" if context else None
                )
                writer.write(said)
                while await reader.read(65536):
                    pass
        if writer is not None:
            writer.transport.abort()
        await until(lambda: not built.listener._strangers, timeout=SOON, what="nobody is left")
        assert not built.listener._visits
        assert not built.changes


async def test_a_slow_stranger_is_cut(tmp_path: Path) -> None:
    """It says something all the time, and never who it is."""
    async with controller(greeting=1.0) as built:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", built.port, ssl=tls(REGISTRY_PROTOCOL), server_hostname=""
        )
        writer.write(PREFACE + SETTINGS)
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while not reader.at_eof():
                writer.write(b"\0\0\x08\x06\0\0\0\0\0" + b"abcdefgh")  # a ping
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await reader.read(65536)
        assert time.monotonic() - began < SOON
        writer.transport.abort()


async def test_a_crowd_of_strangers_keeps_no_node_out(node: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oddaemon.transports.grpc.strangers.MAX_STRANGERS", 7)
    monkeypatch.setattr("oddaemon.transports.grpc.strangers.KEPT_FOR_KNOWN", 2)
    async with controller(greeting=2.0) as built:
        crowd = []
        for _ in range(12):
            with contextlib.suppress(ConnectionError):
                crowd.append(await asyncio.open_connection("127.0.0.1", built.port))
        await until(lambda: len(built.listener._strangers) <= 5, what="a bounded crowd")
        await until(lambda: not built.listener._strangers, what="they are cut")
        async with served_node(built.address(), built.identity(), node):
            await built.connected()
        for _, writer in crowd:
            writer.transport.abort()


async def test_one_address_keeps_no_other_out(node: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oddaemon.transports.grpc.strangers.MAX_OF_ONE_ADDRESS", 4)
    async with controller(greeting=30.0) as built:
        crowd = []
        for _ in range(20):
            with contextlib.suppress(ConnectionError):
                crowd.append(await asyncio.open_connection("127.0.0.1", built.port, local_addr=("127.0.0.2", 0)))
        await until(lambda: len(built.listener._strangers) == 4, what="four of them")
        async with served_node(built.address(), built.identity(), node):
            await built.connected()
        for _, writer in crowd:
            writer.transport.abort()


# the worker that stays connected


@contextlib.asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[None]:
    task = asyncio.ensure_future(worker.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def a_worker(built: Controller, node: NodeAgent, address: ControllerAddress | None = None) -> Worker:
    told = Told(
        node=node, announce=lambda: announcement(node, instance="1", software=__version__),
        beat=lambda: beat_of(node), changes=Changes(node), news=asyncio.Event(), clock=SystemClock(),
    )  # fmt: skip
    return Worker(address or built.address(), built.identity(), told)


def came(built: Controller, times: int) -> bool:
    return built.changes.count((WORKER, True)) >= times


def says(worker: Worker, word: str) -> bool:
    return word in worker.problem


def reconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oddaemon.domain.backoff.FIRST", 0.05)
    monkeypatch.setattr("oddaemon.domain.backoff.LONGEST", 0.1)


async def test_a_worker_registers_beats_and_comes_back(node: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    reconnects(monkeypatch)
    async with controller() as built, tcp_relay(built.port) as relay:
        built.registry.every = 0.05  # type: ignore[assignment]
        worker = a_worker(built, node, built.address(relay.port))
        async with running(worker):
            client = await built.connected()
            await until(lambda: len(built.registry.beats) >= 2, what="two heartbeats")
            assert built.registry.beats[0][1].running == 2
            assert (await client.snapshot()).name == "attic"
            for times in (2, 3, 4):
                relay.cut()
                await until(partial(came, built, times), what="it is back")
                await until(lambda: worker.online.is_set() and client.line.connected, what="it is registered")
            assert (await client.snapshot()).name == "attic"
            # the controller forgot what this node has
            built.registry.announced.clear()
            await until(lambda: WORKER in built.registry.announced, what="it registers again")
            assert worker.registry is not None
            status = FillStatus(replica_id=ReplicaId(uuid4()), state=FillState.QUEUED)
            await worker.registry.report([status])
            assert built.registry.reports == [(WORKER, status)]
        await until(lambda: not client.line.connected, what="it is gone")


async def test_a_worker_that_is_refused_says_why(node: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    reconnects(monkeypatch)
    async with controller() as built:
        right, address = built.identity(), built.address()
        refusals = [
            (replace(right, credential=new_credential()), address, "removed there"),
            (right, replace(address, fingerprint="0" * 64), "certificate"),
            (right, replace(address, port=1), "cannot be reached"),
        ]
        for identity, there, word in refusals:
            worker = a_worker(built, node, there)
            worker.identity = identity
            async with running(worker):
                await until(partial(says, worker, word), what=word)
            assert not worker.online.is_set()
        assert not built.changes
