"""Messages that are finished when they are first used."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
import threading
from typing import Any

import betterproto2
import pytest
from odproto.deferred import deferred


def message() -> type[Any]:
    @deferred(eq=False, repr=False)
    class Message(betterproto2.Message):
        name: str = betterproto2.field(1, betterproto2.TYPE_STRING)
        size: int | None = betterproto2.field(2, betterproto2.TYPE_UINT64, optional=True)

    return Message


def plain(kind: type[Any]) -> dict[str, Any]:
    return {field.name: field.type for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("use", ["instance", "fields", "bytes"])
def test_whatever_is_first_finishes_it(use: str) -> None:
    kind = message()
    if use == "instance":
        assert kind(name="a").name == "a"
    elif use == "fields":
        assert list(plain(kind)) == ["name", "size"]
    else:
        assert kind.FromString(b"\x0a\x01a").name == "a"
    again = kind(name="b", size=2)
    assert (again.name, again.size) == ("b", 2)
    assert kind.FromString(bytes(again)) == again
    assert kind() != again
    assert copy.deepcopy(again) == again


def test_a_name_that_it_does_not_have_is_refused_by_the_first_instance_and_by_the_next() -> None:
    kind = message()
    for _ in range(2):
        with pytest.raises(TypeError):
            kind(nam="a")


def test_those_of_the_protocol_are_messages_as_ever() -> None:
    from odproto.gen.opendebrid.control import v1 as pb

    item = pb.AddItem(source="a", tags=["b"])
    assert pickle.loads(pickle.dumps(item)) == item
    assert set(plain(pb.AddItem)) == set(pb.AddItem.__annotations__)


def test_many_threads_may_be_the_first() -> None:
    for _ in range(50):
        kind, start = message(), threading.Barrier(4)
        made: list[Any] = []

        def make(kind: type[Any] = kind, start: threading.Barrier = start, made: list[Any] = made) -> None:
            start.wait(20)
            made.append(kind(name="a", size=1))

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert [(item.name, item.size) for item in made] == [("a", 1)] * 4


def test_importing_the_protocol_finishes_no_message() -> None:
    code = (
        "from odproto.gen.opendebrid.control import v1 as pb\n"
        "known = [kind for kind in vars(pb).values() if isinstance(kind, type)]\n"
        "kinds = [kind for kind in known if issubclass(kind, pb.betterproto2.Message)]\n"
        "done = [k.__name__ for k in kinds if isinstance(vars(k).get('__dataclass_fields__'), dict)]\n"
        "print(len(kinds) > 100, done)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "True []"
