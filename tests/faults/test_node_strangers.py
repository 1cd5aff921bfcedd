"""Whoever has not shown who it is gets little memory and few places, and keeps no node out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from oddaemon.domain.types import NodeId, ReplicaId
from oddaemon.ports.engine import FillState, FillStatus
from oddaemon.services.node_agent import NodeAgent
from oddaemon.storage.local import LocalStorage
from oddaemon.transports.grpc import refusals, strangers
from oddaemon.transports.grpc.dialer import registry_client, served_node
from oddaemon.transports.grpc.secure import CALLS_PROTOCOL
from oddaemon.transports.grpc.strangers import Strangers
from tests.support.nodes import WORKER, beat_of, controller
from tests.support.wait import until

FOREVER = 600.0


def one() -> asyncio.Transport:
    return cast(asyncio.Transport, object())


# places


def test_an_address_has_few_places_and_a_network_of_ipv6_counts_as_one() -> None:
    held = Strangers(lambda: 0.0)
    for number in range(strangers.MAX_OF_ONE_ADDRESS):
        assert held.take(one(), "10.0.0.1")
        assert held.take(one(), f"2001:db8::{number:x}")
    assert not held.take(one(), "::ffff:10.0.0.1")
    assert not held.take(one(), "2001:db8::ffff")
    assert held.take(one(), "10.0.0.2")
    assert held.take(one(), "2001:db8:0:1::1")
    for transport in tuple(held):
        held.gone(transport)
    assert not held
    assert not held._of_place
    assert not held._unknown


def test_nodes_have_places_kept_and_500_come_back_behind_one_address() -> None:
    held = Strangers(lambda: 0.0)
    first = one()
    assert held.take(first, "10.0.0.1")
    held.known(first, WORKER)
    taken = [held.take(one(), f"10.1.{number // 40}.1") for number in range(strangers.MAX_STRANGERS)]
    assert sum(taken) == strangers.MAX_STRANGERS - strangers.KEPT_FOR_KNOWN
    assert all(held.take(one(), "10.0.0.1") for _ in range(strangers.KEPT_FOR_KNOWN))
    for transport in tuple(held):
        held.gone(transport)
    assert all(held.take(one(), "10.0.0.1") for _ in range(500))
    assert not held.take(one(), "10.0.0.1")
    # and as any other when the node was removed
    held.forget(WORKER)
    assert not held.take(one(), "10.0.0.1")


def test_who_only_holds_places_is_not_listened_to_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = [0.0]
    held = Strangers(lambda: now[0])
    node = one()
    assert held.take(node, "10.0.0.2")
    held.known(node, NodeId("cellar"))
    for quiet in (strangers.SILENT_SECONDS, 0.0):
        for address in ("10.0.0.1", "10.0.0.2") if quiet else ("10.0.0.3",):
            for _ in range(refusals.MOST):
                transport = one()
                assert held.take(transport, address)
                now[0] += quiet
                held.gone(transport)
            if address == "10.0.0.1":
                assert not held.take(one(), address)
                now[0] -= quiet * refusals.MOST
    assert not held.take(one(), "10.0.0.1")
    assert held.take(one(), "10.0.0.2"), "a node's address is never shut for silence"
    assert held.take(one(), "10.0.0.3"), "a short visit is none"
    actions = [(record.__dict__["action"], record.__dict__["address"]) for record in caplog.records]
    assert actions == [("node_silent", "10.0.0.1"), ("node_address_shut", "10.0.0.1"), ("node_silent", "10.0.0.2")]
    now[0] += refusals.SECONDS
    transport = one()
    assert held.take(transport, "10.0.0.1")
    now[0] += strangers.SILENT_SECONDS
    held.gone(transport)
    assert caplog.records[-1].__dict__["count"] == refusals.MOST


# memory


@pytest.fixture
def node(tmp_path: Path) -> NodeAgent:
    storage = LocalStorage(tmp_path)
    storage.prepare(known=False)
    return NodeAgent(id=WORKER, display_name="attic", engines={}, storage=storage)


async def endless(port: int, size: int) -> int:
    """A node that answers Hello with a message of `size` bytes which it does not end. Returns how many of them the
    controller let it send, when it is cut."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([CALLS_PROTOCOL])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="")
    h2 = H2Connection(H2Configuration(client_side=False))
    h2.initiate_connection()
    stream, left, sent = 0, size - 1, 0
    with contextlib.suppress(OSError):
        while True:
            writer.write(h2.data_to_send())
            if not (data := await reader.read(65536)):
                break
            for event in h2.receive_data(data):
                if isinstance(event, RequestReceived):
                    stream = event.stream_id or 0
                    h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc+proto")])
                    h2.send_data(stream, b"\0" + size.to_bytes(4, "big"))
            while stream and left and not writer.transport.is_closing():
                part = min(left, h2.local_flow_control_window(stream), h2.max_outbound_frame_size)
                if part <= 0:
                    break
                h2.send_data(stream, bytes(part))
                left, sent = left - part, sent + part
    writer.transport.abort()
    return sent


async def test_a_stranger_is_given_little_memory_and_is_counted() -> None:
    async with controller(greeting=FOREVER) as built:
        async with asyncio.timeout(30):
            assert await endless(built.port, 15 << 20) < 128 << 10
        await until(lambda: not built.listener._strangers, what="it is gone")
        (times,) = built.listener._refusals._known.values()
        assert len(times) == 1


async def test_a_node_that_is_known_may_say_more(node: NodeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    status = {replica: FillStatus(replica_id=replica, state=FillState.QUEUED) for replica in replicas(5000)}

    async def many(self: NodeAgent) -> list[ReplicaId]:
        return list(status)

    monkeypatch.setattr(NodeAgent, "inventory", many)
    async with (
        controller() as built, registry_client(built.address()) as registry,
        served_node(built.address(), built.identity(), node),
    ):  # fmt: skip
        client = await built.connected()
        assert len(await client.inventory()) == 5000  # in one message
        await registry.authenticate(built.identity())
        await registry.report(list(status.values()))
        assert len(built.registry.reports) == 5000
        # more at a time than a stranger may
        beat = await beat_of(node)
        await asyncio.gather(*(registry.heartbeat(beat) for _ in range(50)))


def replicas(number: int) -> list[ReplicaId]:
    return [ReplicaId(uuid4()) for _ in range(number)]
