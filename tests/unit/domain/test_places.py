"""Where downloads may go, kept up from start to start, is what looking at every node anew would find."""

from __future__ import annotations

import random

import pytest

from oddaemon.domain.admission import Limits, NodeRoom, Places
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.node import DiskUsage, EngineHealth, NodeSnapshot
from oddaemon.domain.types import Bytes, EngineName, NodeId

ENGINES = [EngineName("aria2"), EngineName("ytdlp")]
SHUNNED = Reason(code=ReasonCode.NODE_LIMIT, message="refused")


def _room(number: int, chance: random.Random) -> NodeRoom:
    engines = tuple(
        EngineHealth(name=name, ok=chance.random() < 0.9, max_concurrent=chance.choice([0, 3]))
        for name in ENGINES if chance.random() < 0.9
    )  # fmt: skip
    node = NodeSnapshot(
        id=NodeId(f"n{number}"), name=f"n{number}", is_controller=number == 0, online=chance.random() < 0.9,
        disk=DiskUsage(total=Bytes(1000), free=Bytes(chance.randrange(1000))), engines=engines,
        draining=chance.random() < 0.1,
    )  # fmt: skip
    return NodeRoom(node=node, shunned=SHUNNED if chance.random() < 0.2 else None)


@pytest.mark.parametrize("seed", range(30))
def test_the_places_are_those_of_a_look_at_every_node(seed: int) -> None:
    chance = random.Random(seed)
    rooms = {room.node.id: room for room in (_room(number, chance) for number in range(8))}
    limits = Limits(per_node=chance.choice([0, 4]), min_disk_free=Bytes(50))
    places = Places(rooms, limits)
    for _ in range(60):
        engine = chance.choice(ENGINES)
        size = chance.choice([None, Bytes(0), Bytes(chance.randrange(300))])
        fit = [room for room in rooms.values() if room.refuses(engine, size, limits) is None]
        expected = [room for room in fit if room.shunned is None] or fit
        found = places.fitting(engine, size)
        assert [room.node.id for room in found] == [room.node.id for room in expected]
        if found:
            places.take(chance.choice(found).node.id, engine, size)
