"""How a worker gets its membership and keeps it."""

from __future__ import annotations

import asyncio
import json
import stat
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from oddaemon.app.exit_codes import ExitCode, StartFailed
from oddaemon.app.joining import Joining, prepare_joining
from oddaemon.app.load_settings import load
from oddaemon.app.membership import Membership, read_membership, write_membership
from oddaemon.domain.errors import (
    AlreadyExists,
    NodeUnavailable,
    NotAllowed,
    OpenDebridError,
    Unauthenticated,
    Unsupported,
)
from oddaemon.domain.join_token import PastedToken, new_token
from oddaemon.domain.types import NodeId
from oddaemon.ports.node_registry import Joined
from oddaemon.ports.node_transport import ControllerAddress
from oddaemon.testing.fakes import ManualClock
from tests.unit.app.support import table

FIRST, SECOND = new_token("a" * 64), new_token("a" * 64)
ELSEWHERE = new_token("b" * 64)
MEMBER = Membership(
    node_id=NodeId("attic"), credential=b"c" * 32, fingerprint="a" * 64, endpoint="nas:9090", token_id=FIRST.id
)


@dataclass(slots=True)
class Controllers:
    """Answers to joins, in order."""

    answers: list[OpenDebridError | bytes] = field(default_factory=list)
    asked: list[tuple[str, str, NodeId]] = field(default_factory=list)

    async def join(self, address: ControllerAddress, token: PastedToken, node_id: NodeId) -> Joined:
        self.asked.append((str(address), token.id, node_id))
        answer = self.answers.pop(0)
        if isinstance(answer, OpenDebridError):
            raise answer
        return Joined(node_id=node_id, credential=answer)


def joining(folder: Path, controllers: Controllers, *, node_id: str = "", url: str = "", token: str = "") -> Joining:
    environ = {"CONTROLLER_URL": url, "CONTROLLER_TOKEN": token, "OD_NODE_ID": node_id}
    return prepare_joining(load(environ=environ, table=table()).settings, folder, controllers.join)


async def test_what_was_joined_is_kept_before_it_is_used(tmp_path: Path) -> None:
    there = Controllers([b"k" * 32])
    made = joining(tmp_path, there, node_id="attic", url="nas", token=FIRST.word)
    await made.first()
    assert there.asked == [("nas:9090", FIRST.id, "attic")]
    path = tmp_path / "node.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = read_membership(tmp_path)
    assert found == made.member
    assert found is not None
    assert (found.node_id, found.credential, found.fingerprint) == ("attic", b"k" * 32, "a" * 64)
    assert (b"k" * 32).hex() not in repr(found)
    # neither setting is needed any more, whatever the machine is called now
    again = joining(tmp_path, there, node_id="cellar")
    await again.first()
    assert (again.node_id, str(again.address), again.address.fingerprint) == ("attic", "nas:9090", "a" * 64)
    # the controller has moved
    moved = joining(tmp_path, there, url="10.0.0.1:9191", token=FIRST.word)
    assert str(moved.address) == "10.0.0.1:9191"
    assert str(joining(tmp_path, there).address) == "10.0.0.1:9191"
    assert len(there.asked) == 1


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"{}", b"\xff\xfe", json.dumps({"node_id": "x"}).encode(), None],
    ids=["empty", "cut", "list", "bare", "binary", "partly", "short credential"],
)
async def test_a_damaged_membership_is_an_error_and_no_new_join(damage: bytes | None, tmp_path: Path) -> None:
    write_membership(tmp_path, MEMBER)
    path = tmp_path / "node.json"
    path.write_bytes(path.read_bytes().replace(b"63" * 32, b"63" * 31) if damage is None else damage)
    there = Controllers([b"k" * 32])
    with pytest.raises(StartFailed, match=r"node\.json is damaged") as caught:
        joining(tmp_path, there, url="nas", token=SECOND.word)
    assert caught.value.code is ExitCode.CONFIG
    assert "backup" in caught.value.hint
    assert not there.asked


@pytest.mark.parametrize(
    ("error", "code", "said", "hint"),
    [
        (Unauthenticated("this join token is not good"), 77, "not good", "odctl nodes token create"),
        (NotAllowed("this token is for cellar"), 77, "cellar", "odctl nodes token create"),
        (AlreadyExists("there is one"), 78, "has a node attic already", "OD_NODE_ID"),
        (Unsupported("it speaks version 2", hint="upgrade the older"), 78, "version 2", "upgrade"),
    ],
)
async def test_a_lasting_refusal_of_the_first_join_ends_the_start(
    error: OpenDebridError, code: int, said: str, hint: str, tmp_path: Path
) -> None:
    made = joining(tmp_path, Controllers([error]), node_id="attic", url="nas", token=FIRST.word)
    with pytest.raises(StartFailed, match=said) as caught:
        await made.first()
    assert caught.value.code == code
    assert hint in caught.value.hint
    assert not (tmp_path / "node.json").exists()


async def test_a_controller_that_is_away_is_waited_for(tmp_path: Path) -> None:
    away = NodeUnavailable("it cannot be reached")
    there = Controllers([away, away, away, b"k" * 32])
    made = joining(tmp_path, there, node_id="attic", url="nas", token=FIRST.word)
    await made.first()
    assert made.problem == "it cannot be reached"
    clock = ManualClock()
    waiting = asyncio.ensure_future(made.until_joined(clock))
    await clock.advance(100)
    member = await waiting
    assert member.credential == b"k" * 32
    assert made.problem == ""


async def test_a_node_that_was_removed_joins_again_with_another_token_only(tmp_path: Path) -> None:
    write_membership(tmp_path, MEMBER)
    there = Controllers([Unauthenticated("used"), b"n" * 32])
    # the token it joined with, as in an environment that nobody changes
    assert await joining(tmp_path, there, token=FIRST.word).again() is None
    assert await joining(tmp_path, there).again() is None
    assert not there.asked
    bad = joining(tmp_path, there, token=SECOND.word)
    assert await bad.again() is None
    assert await bad.again() is None, "a token that was refused is not shown a second time"
    assert len(there.asked) == 1
    found = await joining(tmp_path, there, node_id="other", token=SECOND.word).again()
    assert found is not None
    assert (found.node_id, found.credential) == ("attic", b"n" * 32)
    assert read_membership(tmp_path) == found


async def test_another_controllers_token_is_a_new_join(tmp_path: Path) -> None:
    write_membership(tmp_path, MEMBER)
    there = Controllers([NodeUnavailable("away"), b"n" * 32])
    made = joining(tmp_path, there, url="other:9090", token=ELSEWHERE.word)
    await made.first()
    assert read_membership(tmp_path) == MEMBER, "until the new one has answered the old one holds"
    await made.first()
    found = read_membership(tmp_path)
    assert found is not None
    assert (found.node_id, found.fingerprint, found.endpoint) == ("attic", "b" * 64, "other:9090")
