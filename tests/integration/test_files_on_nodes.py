"""Links to what lies on another node: at the node's own file server, or relayed by the controller's, in real file
processes and over the real transport."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import socket
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from oddaemon.domain.day_left import Allotment, DayLeft
from oddaemon.domain.errors import NotFound
from oddaemon.domain.link import LinkKind, LinkUse
from oddaemon.domain.link_token import MASTER_KEY_NAME, new_link_id, new_master_key
from oddaemon.domain.types import Bytes, NodeId, ReplicaId, Seconds
from oddaemon.ports.node_files import FilesThere, UsageReport
from tests.support.files_on_nodes import CONTENT, SMALL, Estate, estate
from tests.support.http import Answer, Client, fetch
from tests.support.nodes import WORKER
from tests.support.wait import until

OTHER = NodeId("cellar")


@pytest.fixture(params=["over its own connection", "on the loopback"])
async def relaying(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Estate]:
    async with estate(tmp_path, near=request.param == "on the loopback") as built:
        yield built
        assert (built.relay.by_near > 0) == (request.param == "on the loopback")


@pytest.fixture
async def owning(tmp_path: Path) -> AsyncIterator[Estate]:
    """Links lead to the worker."""
    async with estate(tmp_path, own_endpoint=True) as built:
        yield built


@contextlib.asynccontextmanager
async def begun(url: str) -> AsyncIterator[Client]:
    """A transfer of which the head has come, and whose client takes nothing more."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (parts.hostname, parts.port))
        client = Client(*await asyncio.open_connection(sock=plain, limit=65_536))
        await client.send(f"GET {parts.path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        status, _ = await client.head()
        assert status == 200
        try:
            yield client
        finally:
            await client.close()


async def rest(client: Client) -> bytes:
    """All that still comes."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while part := await client.reader.read(1 << 20):
            data += part
    return data


# -- relayed


async def test_a_relayed_answer_is_as_the_nodes_own(relaying: Estate) -> None:
    made = await relaying.link()
    assert made.url.startswith(relaying.url)
    first = await fetch(made.url)
    assert (first.status, first.body) == (200, CONTENT)
    etag, changed = first.fields["etag"], first.fields["last-modified"]
    asked = [
        {"range": "bytes=5-9"}, {"range": "bytes=-7"}, {"range": "bytes=16000000-"}, {"range": "bytes=0-4,100-104"},
        {"range": "bytes=99999999-"}, {"range": "bytes=5-9", "if-range": etag},
        {"range": "bytes=5-9", "if-range": '"other"'}, {"if-none-match": etag}, {"if-match": '"other"'},
        {"if-modified-since": changed},
    ]  # fmt: skip
    # the same file as its node's own file server gives it
    relaying.remote.take(WORKER, relaying.attic.url)
    own = await relaying.link()
    assert own.url.startswith(relaying.attic.url)
    for fields in asked:
        for method in ("GET", "HEAD"):
            here, there = [await fetch(link.url, fields, method=method) for link in (made, own)]
            assert (here.status, told(here)) == (there.status, told(there)), (fields, method)
            assert here.complete
            assert "multipart" in here.fields.get("content-type", "") or here.body == there.body
    ranges = await fetch(made.url, {"range": "bytes=0-4,100-104"})
    assert CONTENT[:5] in ranges.body
    assert CONTENT[100:105] in ranges.body


def told(answer: Answer) -> dict[str, str]:
    return {name: value.partition("boundary")[0] for name, value in answer.fields.items() if name != "date"}


async def test_relayed_bytes_are_counted_once(relaying: Estate) -> None:
    made = await relaying.link()
    await fetch(made.url)
    await fetch(made.url, {"range": "bytes=0-99"})
    await until(lambda: _counted(relaying, made, (2, len(CONTENT) + 100)), what="the count")


async def _counted(built: Estate, made: object, wanted: tuple[int, int]) -> bool:
    return await built.used(made) == wanted  # type: ignore[arg-type]


async def test_archives_and_playlists_are_relayed(relaying: Estate) -> None:
    packed = await fetch((await relaying.link(kind=LinkKind.ZIP)).url)
    assert packed.complete
    with zipfile.ZipFile(io.BytesIO(packed.body)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {"big.bin": CONTENT, "sub/small.txt": SMALL}
    listed = (await fetch((await relaying.link(kind=LinkKind.M3U)).url)).body.decode()
    urls = [line for line in listed.splitlines() if line.startswith("http")]
    assert [(await fetch(url)).body for url in urls] == [CONTENT, SMALL]


async def test_a_revoked_relay_ends_in_the_middle(relaying: Estate) -> None:
    made = await relaying.link()
    async with begun(made.url) as client:
        await relaying.revoke(made)
        assert len(await rest(client)) < len(CONTENT)
    assert (await fetch(made.url)).status == 410
    await until(lambda: relaying.relay.pumping == 0, what="the pump's end")


async def test_a_lost_node_ends_a_transfer_that_goes_on_when_it_is_back(tmp_path: Path) -> None:
    async with estate(tmp_path) as built:
        made = await built.link()
        async with begun(made.url) as client:
            await built.offline()
            data = await rest(client)
        assert 0 < len(data) < len(CONTENT)
        away = await fetch(made.url, {"range": f"bytes={len(data)}-"})
        assert (away.status, away.fields["retry-after"]) == (503, "10")
        built.online()
        await built.connected()
        again = await fetch(made.url, {"range": f"bytes={len(data)}-"})
        assert (again.status, data + again.body) == (206, CONTENT)


async def test_clients_that_take_nothing_hold_up_nobody(tmp_path: Path) -> None:
    """Ten streams that stand still on one connection: its other calls go on, and so does an eleventh."""
    async with estate(tmp_path) as built, contextlib.AsyncExitStack() as stack:
        made = await built.link()
        for _ in range(10):
            await stack.enter_async_context(begun(made.url))
        assert built.relay.pumping == 10
        client = built.controller.listener.client(WORKER)
        async with asyncio.timeout(20):
            await client.snapshot()
            assert (await fetch((await built.link()).url)).body == CONTENT


async def test_what_only_pretends_to_be_the_nodes_file_server_is_not_believed(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\nOD-Relay: {'0' * 32}\r\n\r\n"
        writer.write(head.encode() + bytes(len(CONTENT)))
        await writer.drain()
        writer.close()

    async with estate(tmp_path, near=True) as built, await asyncio.start_server(answer, "127.0.0.1", 0) as false:
        follower = built.remote.of(WORKER).follower
        assert follower is not None
        follower.told = replace(follower.told, near=f"127.0.0.1:{false.sockets[0].getsockname()[1]}")
        assert (await fetch((await built.link()).url)).body == CONTENT
        assert built.relay.by_near == 0


async def test_a_file_that_is_gone_from_its_node_is_told_of(tmp_path: Path) -> None:
    async with estate(tmp_path) as built:
        made, packed = await built.link(), await built.link(kind=LinkKind.ZIP)
        (built.attic.storage.base / str(made.link.replica_id) / "1.bin").unlink()
        assert [(await fetch(link.url)).status for link in (made, packed)] == [503, 503]
        await until(lambda: made.link.replica_id in built.gone)


async def test_tickets_are_the_controllers_alone(relaying: Estate) -> None:
    made = await relaying.link()
    text = urlsplit(made.url).path.split("/")[2]
    await fetch(made.url, {"range": "bytes=0-0"})
    for url in (relaying.attic.url, relaying.url):
        assert (await fetch(f"{url}/r/{text}")).status in (403, 404)
        assert (await fetch(f"{url}/r/{'A' * 200}")).status in (403, 404)


# -- at the node itself


async def test_a_nodes_own_links_work_and_count(owning: Estate) -> None:
    made = await owning.link()
    assert made.url.startswith(owning.attic.url)
    assert (await fetch(made.url)).body == CONTENT
    await until(lambda: _counted(owning, made, (1, len(CONTENT))), what="the count")
    limited = await owning.link(max_uses=1)
    assert [(await fetch(limited.url)).status for _ in range(2)] == [200, 410]
    packed = await fetch((await owning.link(kind=LinkKind.ZIP)).url)
    with zipfile.ZipFile(io.BytesIO(packed.body)) as archive:
        assert archive.read("sub/small.txt") == SMALL
    # nothing of it is the controller's to serve
    there = urlsplit(made.url).path
    assert (await fetch(f"{owning.url}{there}")).status == 403


async def test_revoked_means_dead_on_its_node(owning: Estate) -> None:
    """When the call returns, without a wait: the node has acknowledged it."""
    made, other = await owning.link(), await owning.link()
    assert (await fetch(made.url)).status == 200
    async with begun(made.url) as client:
        assert (await owning.revoke(made)).not_reached == {}
        assert (await fetch(made.url)).status == 410
        assert len(await rest(client)) < len(CONTENT)
    assert (await fetch(other.url)).status == 200
    assert owning.job is not None
    await owning.house.core.downloads.remove(owning.house.admin, owning.job.job.id, keep_data=True)
    assert (await fetch(other.url)).status == 410


async def test_a_node_that_is_cut_off_serves_what_it_knows_and_learns_what_it_missed(owning: Estate) -> None:
    known, revoked, unknown = [await owning.link() for _ in range(3)]
    limited = await owning.link(max_uses=5)
    assert [(await fetch(link.url)).status for link in (known, revoked, limited)] == [200, 200, 200]
    await owning.offline()
    told = await owning.revoke(revoked)
    assert list(told.not_reached) == [WORKER]
    assert told.not_reached[WORKER] <= revoked.link.expires_at
    statuses = [(await fetch(link.url)).status for link in (known, revoked, unknown, limited)]
    assert statuses == [200, 200, 503, 503]
    owning.online()
    await owning.connected()
    await until(lambda: _status(revoked.url, 410), what="the missed revocation")
    assert [(await fetch(link.url)).status for link in (known, unknown, limited)] == [200, 200, 200]
    # what it gave while nobody could be told is counted
    await until(lambda: _counted(owning, revoked, (2, 2 * len(CONTENT))), what="the count")


async def _status(url: str, wanted: int) -> bool:
    return (await fetch(url, method="HEAD")).status == wanted


async def test_a_node_that_hears_nothing_for_too_long_serves_nothing(tmp_path: Path) -> None:
    async with estate(tmp_path, own_endpoint=True, unheard=5.0) as built:
        made = await built.link()
        await until(lambda: _status(made.url, 200))
        async with begun(made.url) as client:
            await built.offline()
            await until(lambda: _status(made.url, 503), what="the end of its time")
            assert len(await rest(client)) < len(CONTENT)
        refused = await fetch(made.url)
        assert (refused.status, refused.fields["retry-after"]) == (503, "30")
        built.online()
        await built.connected()
        await until(lambda: _status(made.url, 200), what="the controller's word")


async def test_another_key_reaches_a_node_that_was_away(owning: Estate) -> None:
    old = await owning.link()
    assert (await fetch(old.url)).status == 200
    await owning.offline()
    await owning.house.store.write(lambda tx: tx.secrets.put(MASTER_KEY_NAME, new_master_key()))
    await owning.linked.servers.rekey()
    owning.online()
    await owning.connected()
    await until(lambda: _status(old.url, 403), what="the new key")
    assert (await fetch((await owning.link()).url)).status == 200
    # and one that is there knows it at once
    await owning.house.store.write(lambda tx: tx.secrets.put(MASTER_KEY_NAME, new_master_key()))
    new = await owning.link()
    await owning.linked.servers.rekey()
    assert (await fetch(new.url)).status == 403


@pytest.mark.parametrize("told", [True, False])
async def test_a_removed_node_serves_nothing(owning: Estate, told: bool) -> None:
    """Whether it hears of it, or is refused when it comes again."""
    made = await owning.link()
    assert (await fetch(made.url)).status == 200
    if told:
        await owning.remote.remove(WORKER)
        assert (await fetch(made.url)).status == 503
        return
    del owning.controller.registry.credentials[WORKER]
    owning.line.cut()
    await until(lambda: _status(made.url, 503), what="the refusal")


async def test_a_day_is_spent_on_every_node(owning: Estate) -> None:
    made = await owning.link()
    user = owning.house.admin.user_id

    def allot(left: int) -> None:
        day = {user: Allotment(left=Bytes(left), day=Bytes(1 << 40))}
        until_tomorrow = datetime.now(UTC) + timedelta(hours=5)
        owning.remote.allot(DayLeft(until=until_tomorrow, users=day), owning.remote.counted())

    assert (await fetch(made.url)).status == 200
    await until(lambda: _counted(owning, made, (1, len(CONTENT))))
    allot(0)
    await until(lambda: _status(made.url, 429), what="the end of the day")
    allot(1 << 30)
    await until(lambda: _status(made.url, 200), what="more")
    await owning.offline()
    allot(0)
    owning.online()
    await owning.connected()
    await until(lambda: _status(made.url, 429), what="what it missed")


# -- a node that says or asks what is not its own


async def test_a_node_learns_of_its_own_links_alone(relaying: Estate) -> None:
    made, remote = await relaying.link(), relaying.remote
    assert (await fetch(made.url, {"range": "bytes=0-99"})).status == 206
    await until(lambda: _counted(relaying, made, (1, 100)))
    for link, replica in ((made.link.id, made.link.replica_id), (new_link_id(), ReplicaId(uuid4()))):
        with pytest.raises(NotFound):
            await remote.link_content(OTHER, link, replica, 1)
    assert await remote.use_link(OTHER, made.link.id, "192.0.2.1", continued=False) is LinkUse.USED_UP
    await remote.files_gone(OTHER, made.link.replica_id)
    assert relaying.gone == []
    await remote.report_usage(OTHER, UsageReport(instance="1", number=1, links={made.link.id: (5, Bytes(500))}))
    assert await relaying.used(made) == (1, 100)


async def test_a_report_that_comes_twice_counts_once(owning: Estate) -> None:
    made = await owning.link()
    for number in (7, 7, 6, 8):
        report = UsageReport(instance="another", number=number, links={made.link.id: (1, Bytes(10))})
        await owning.remote.report_usage(WORKER, report)
    assert await owning.used(made) == (2, 20)


async def test_a_node_that_does_not_acknowledge_is_let_go(owning: Estate) -> None:
    """A silent follower keeps nobody: who revokes is answered, and the node has to begin anew."""
    made = await owning.link()
    await owning.offline()
    there = FilesThere(instance="2", endpoint=owning.attic.url)
    silent = owning.remote.follow_files(WORKER, there, near=False)
    async with contextlib.aclosing(silent):
        assert (await anext(silent)).whole
        async with asyncio.timeout(30):
            assert list((await owning.revoke(made)).not_reached) == [WORKER]
        assert [told async for told in silent] == []
    async with contextlib.aclosing(owning.remote.follow_files(WORKER, FilesThere(instance="2"), near=False)) as anew:
        assert (await anext(anew)).revoked.keys() == {made.link.id}


async def test_a_node_that_serves_on_for_seconds_hears_a_word_more_often(owning: Estate) -> None:
    there = FilesThere(instance="2", unheard=Seconds(3))
    async with contextlib.aclosing(owning.remote.follow_files(WORKER, there, near=False)) as following:
        assert (await anext(following)).whole
        async with asyncio.timeout(15):
            assert (await anext(following)).whole


async def test_a_file_process_that_dies_leaves_no_relay_behind(tmp_path: Path) -> None:
    async with estate(tmp_path) as built:
        made = await built.link()
        async with begun(made.url) as client:
            assert built.relay.pumping == 1
            os.kill(built.server.pids[0], signal.SIGKILL)
            assert len(await rest(client)) < len(CONTENT)
        await until(lambda: built.relay.pumping == 0, what="the pump's end")
        assert (await fetch(made.url)).body == CONTENT
