"""`odctl nodes`: nodes by name, and the list that keeps itself current."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

from grpclib.const import Status
from odproto.gen.opendebrid.common import v1 as common

from tests.support.fake_control import FakeControl, node
from tests.support.odctl_shell import Shell
from tests.support.wait import until


async def test_nodes_of_the_status(odctl: Shell, control: FakeControl) -> None:
    listed = (await odctl("nodes", "ls", "--json")).json
    assert listed
    name = listed[0]["id"]
    assert (await odctl("nodes", "show", name, "--json")).json == listed[0]
    assert (await odctl("nodes", "show", name, "--json", "--fields", "id")).json == {"id": name}
    assert (await odctl("nodes", "show", name, name, "--json")).json == [*listed, *listed]
    missing = await odctl("nodes", "show", f"{name}x")
    assert (missing.code, missing.out, f"did you mean {name}?" in missing.err) == (3, "", True)


async def _line(child: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(await asyncio.wait_for(child.stdout.readline(), 60))
    return told


async def test_a_watched_list_tells_each_change_as_a_line_while_the_daemon_comes_and_goes(
    odctl: Shell, control: FakeControl
) -> None:
    control.nodes = [node("nas"), node("box", heartbeat_age_s=1.0)]
    child = await odctl.start("nodes", "ls", "-w", "0.1", "--json", "--fields", "id,jobs_active")
    assert await _line(child) == {"op": "set", "node": {"id": "nas", "jobs_active": 0}}
    assert await _line(child) == {"op": "set", "node": {"id": "box", "jobs_active": 0}}
    # that time passes is no change
    control.nodes[1] = node("box", heartbeat_age_s=2.0)
    seen = len(control.calls)
    await until(lambda: len(control.calls) > seen + 2, what="two more looks")
    control.nodes[0] = node("nas", jobs_active=3)
    assert await _line(child) == {"op": "set", "node": {"id": "nas", "jobs_active": 3}}
    control.refuse["get_status"] = (Status.UNAVAILABLE, common.Error(code="UNAVAILABLE", message="stopping"))
    assert "trying again" in json.loads(await asyncio.wait_for(child.stderr.readline(), 60))["note"]
    control.nodes.pop()
    control.refuse.clear()
    assert await _line(child) == {"op": "del", "node": {"id": "box"}}
    child.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(child.communicate(), 60) == (b"", b"")
    assert child.returncode == 130


async def test_one_node_is_watched_and_an_unknown_one_is_said_once(odctl: Shell, control: FakeControl) -> None:
    control.nodes = [node("nas"), node("box")]
    child = await odctl.start("nodes", "show", "box", "bux", "-w", "0.1")
    assert (await asyncio.wait_for(child.stdout.readline(), 60)).startswith(b"box  ")
    control.nodes[1] = node("box", jobs_active=7)
    rest = await asyncio.wait_for(child.stdout.readuntil(b"7 active"), 60)
    assert b"nas" not in rest
    child.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(child.communicate(), 60)
    assert err.decode().splitlines() == ["odctl: there is no node 'bux'", "  did you mean box?"]
    alone = await odctl("nodes", "show", "bux", "-w")
    assert (alone.code, alone.out) == (3, "")
    often = await odctl("nodes", "ls", "-w", "0.01")
    assert (often.code, "0.1 to 60 seconds" in often.err) == (2, True)


async def test_a_drain_is_waited_for(odctl: Shell, control: FakeControl) -> None:
    control.nodes = [node("nas"), node("box", jobs_active=2)]
    child = await odctl.start("nodes", "drain", "box", "--wait")
    assert b"draining box: 2 jobs left" in await asyncio.wait_for(child.stderr.readline(), 60)
    assert [found.draining for found in control.nodes] == [False, True]
    control.nodes[1] = node("box", draining=True)
    out, _ = await asyncio.wait_for(child.communicate(), 60)
    assert (child.returncode, out.decode()) == (0, "draining box: nothing runs there\n")
    control.nodes[1] = node("box", jobs_active=1, draining=True)
    late = await odctl("nodes", "drain", "box", "--wait", "--timeout", "0.3")
    assert (late.code, "box is still busy" in late.err) == (8, True)
    child = await odctl.start("nodes", "drain", "box", "--wait")
    assert b"1 job left" in await asyncio.wait_for(child.stderr.readline(), 60)
    control.nodes[1] = node("box", jobs_active=1)
    _, err = await asyncio.wait_for(child.communicate(), 60)
    assert (child.returncode, b"not drained any more" in err) == (9, True)
    gone = await odctl("nodes", "undrain", "bux")
    assert gone.code == 3


async def test_nobody_is_asked_about_a_node_that_stays_or_is_none(odctl: Shell, control: FakeControl) -> None:
    control.nodes = [node("nas", role="controller"), node("box")]
    own = await odctl("nodes", "rm", "nas")
    assert (own.code, "controller's own node" in own.err, "--yes" in own.err) == (9, True, False)
    none = await odctl("nodes", "rm", "bux")
    assert (none.code, "no node 'bux'" in none.err, "--yes" in none.err) == (3, True, False)
    assert "remove_node" not in [name for name, *_ in control.calls]
