"""The file server as its clients see it: real processes, real sockets, real files."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email.parser
import hashlib
import io
import os
import signal
import socket
import sys
import time
import zipfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID, uuid4

import pytest

from oddaemon.domain.day_left import Allotment, DayLeft
from oddaemon.domain.errors import InvalidArgument, NotFound, NotReady, OpenDebridError
from oddaemon.domain.files import content_type_of
from oddaemon.domain.link import LinkContent, LinkFile, LinkKind
from oddaemon.domain.link_token import TOKEN_LENGTH, LinkToken, new_link_id, new_master_key, sign
from oddaemon.domain.types import Bytes, LinkId, ReplicaId, UserId
from oddaemon.fileserver.processes import FileServer, FileServerOptions, LinkUsage
from oddaemon.storage.local import SENTINEL, LocalStorage
from tests.support.core import stored_in
from tests.support.http import Answer, Client, fetch
from tests.support.wait import until

CONTENT = bytes(range(256)) * 1200  # 300 kB: more than is sent inline
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclass
class Node:
    """A file server with a replica, and what the daemon behind it would know."""

    server: FileServer
    storage: LocalStorage
    replica: ReplicaId
    key: bytes
    contents: dict[LinkId, LinkContent] = field(default_factory=dict)
    errors: dict[LinkId, OpenDebridError] = field(default_factory=dict)
    revoked: dict[LinkId, datetime] = field(default_factory=dict)
    usage: dict[LinkId, list[int]] = field(default_factory=dict)
    lookups: int = 0
    held: asyncio.Event | None = None
    """Until it is set the daemon does not answer."""
    base: str = ""
    user: UserId = field(default_factory=lambda: UserId(uuid4()))

    @property
    def directory(self) -> Path:
        return self.storage.base / str(self.replica)

    async def look_up(self, link: LinkId, replica: ReplicaId, index: int) -> LinkContent:
        self.lookups += 1
        if self.held is not None:
            await self.held.wait()
        assert replica == self.replica
        if link in self.errors:
            raise self.errors[link]
        if link not in self.contents:
            raise NotFound
        return self.contents[link]

    async def on_usage(self, usage: LinkUsage) -> None:
        for link, (accesses, sent) in usage.items():
            counts = self.usage.setdefault(link, [0, 0])
            counts[0] += accesses
            counts[1] += sent

    async def read_revoked(self) -> Mapping[LinkId, datetime]:
        return self.revoked

    def place(self, path: str, content: bytes) -> LinkFile:
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return LinkFile(path=path, disk_path=path, size=Bytes(len(content)), content_type=content_type_of(path))

    def url(
        self, link: LinkId, *, name: str = "x", kind: LinkKind = LinkKind.FILE, index: int = 1, inline: bool = False,
        expires_in: float = 3600,
    ) -> str:  # fmt: skip
        token = LinkToken(
            link_id=link, replica_id=self.replica, user_id=self.user, file_index=index, kind=kind, inline=inline,
            expires_at=int(time.time() + expires_in),
        )  # fmt: skip
        return f"{self.base}/d/{sign(token, self.key)}/{quote(name, safe='')}"

    def allot(self, until: datetime, *spent: UserId, **left: int) -> None:
        """To these users nothing, to all others everything; with `mine` so much to ours."""
        users = dict.fromkeys(spent, Allotment(left=Bytes(0), day=Bytes(1 << 40)))
        users.update((self.user, Allotment(left=Bytes(most), day=Bytes(1 << 40))) for most in left.values())
        self.server.allot(DayLeft(until=until, users=users), self.server.counted)

    def link(self, path: str = "file.bin", content: bytes = CONTENT, *, name: str = "", **token: object) -> str:
        """A new link to a new file."""
        link = new_link_id()
        self.contents[link] = LinkContent(name=name or path.rpartition("/")[2], files=(self.place(path, content),))
        return self.url(link, **token)  # type: ignore[arg-type]

    def id_of(self, url: str) -> LinkId:
        raw = base64.urlsafe_b64decode(url.split("/d/")[1][:TOKEN_LENGTH])
        return LinkId(UUID(bytes=raw[2:18]))


@contextlib.asynccontextmanager
async def node_in(folder: Path, *, processes: int = 1, port: int = 0, **options: object) -> AsyncIterator[Node]:
    storage = LocalStorage(folder / "downloads")
    storage.prepare(known=False)
    replica, key = ReplicaId(uuid4()), new_master_key()
    storage.allocate(replica)
    node = Node(server=None, storage=storage, replica=replica, key=key)  # type: ignore[arg-type]
    node.server = FileServer(
        host="127.0.0.1", port=port, storage=stored_in(storage.base), keys=[key], look_up=node.look_up,
        on_usage=node.on_usage, read_revoked=node.read_revoked, processes=processes,
        options=FileServerOptions(**options),  # type: ignore[arg-type]
    )  # fmt: skip
    host, bound = await node.server.start()
    node.base = f"http://{host}:{bound}"
    try:
        yield node
    finally:
        await node.server.stop()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with node_in(tmp_path) as built:
        yield built


def parts_of(answer: Answer) -> list[tuple[str, bytes]]:
    """Content-Range and bytes of each part, by a parser that is not ours."""
    head = f"Content-Type: {answer.fields['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser().parsebytes(head + answer.body)
    assert message.is_multipart()
    found = []
    for part in message.get_payload():
        assert isinstance(part, Message)
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        found.append((part["Content-Range"], payload))
    return found


# -- whole files, ranges, conditions


async def test_a_whole_file(node: Node) -> None:
    answer = await fetch(node.link("Film.mkv"))
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.fields["content-type"] == "video/x-matroska"
    assert answer.fields["accept-ranges"] == "bytes"
    assert answer.fields["etag"].startswith('"')
    assert answer.fields["content-disposition"] == 'attachment; filename="Film.mkv"'
    assert answer.fields["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.fields["content-security-policy"]
    assert answer.fields["referrer-policy"] == "no-referrer"
    assert answer.fields["cache-control"] == "private"
    assert answer.fields["last-modified"].endswith(" GMT")
    assert "date" in answer.fields
    assert "content-encoding" not in answer.fields


async def test_head_tells_what_get_would(node: Node) -> None:
    url = node.link()
    got, told = await fetch(url), await fetch(url, method="HEAD")
    assert told.status == 200
    assert told.body == b""
    assert {**told.fields, "date": ""} == {**got.fields, "date": ""}
    with_range = await fetch(url, {"Range": "bytes=0-1"}, method="HEAD")
    assert with_range.status == 200  # RFC 9110 section 14.2: ranges are for GET
    assert with_range.fields["content-length"] == str(len(CONTENT))


async def test_an_empty_file(node: Node) -> None:
    url = node.link("empty", b"")
    answer = await fetch(url)
    assert (answer.status, answer.body) == (200, b"")
    assert (await fetch(url, {"Range": "bytes=0-"})).status == 416


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-99", 0, 100), ("bytes=-7", len(CONTENT) - 7, len(CONTENT)), ("bytes=299990-", 299_990, len(CONTENT)),
     ("bytes=1-250000", 1, 250_001), ("bytes=0-99,50-199", 0, 200)],
)  # fmt: skip
async def test_one_range(node: Node, asked: str, start: int, stop: int) -> None:
    answer = await fetch(node.link(), {"Range": asked})
    assert answer.status == 206
    assert answer.body == CONTENT[start:stop]
    assert answer.fields["content-range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"
    assert answer.fields["etag"]


async def test_several_ranges(node: Node) -> None:
    answer = await fetch(node.link("f.mp4"), {"Range": "bytes=1000-200999,0-9,-5"})
    assert answer.status == 206
    assert answer.fields["content-type"].startswith("multipart/byteranges; boundary=")
    assert "content-range" not in answer.fields
    size = len(CONTENT)
    assert parts_of(answer) == [
        (f"bytes 1000-200999/{size}", CONTENT[1000:201_000]),
        (f"bytes 0-9/{size}", CONTENT[:10]),
        (f"bytes {size - 5}-{size - 1}/{size}", CONTENT[-5:]),
    ]


async def test_ranges_that_do_not_exist_or_cannot_be_read(node: Node) -> None:
    url = node.link()
    answer = await fetch(url, {"Range": f"bytes={len(CONTENT)}-"})
    assert answer.status == 416
    assert answer.fields["content-range"] == f"bytes */{len(CONTENT)}"
    for ignored in ("bytes=5-1", "bytes=x", "lines=1-2", "bytes=" + ",".join(["0-1"] * 1000)):
        answer = await fetch(url, {"Range": ignored})
        assert (answer.status, answer.body) == (200, CONTENT)


async def test_if_range_never_mixes_versions(node: Node) -> None:
    url = node.link()
    etag = (await fetch(url)).fields["etag"]
    part = {"Range": "bytes=10-19"}
    assert (await fetch(url, {**part, "If-Range": etag})).status == 206
    for stale in ('"stale"', f"W/{etag}", "Mon, 01 Jan 2024 00:00:00 GMT", "rubbish"):
        answer = await fetch(url, {**part, "If-Range": stale})
        assert (answer.status, answer.body) == (200, CONTENT)
    os.utime(node.directory / "file.bin", (1_700_000_000, 1_700_000_000))
    answer = await fetch(url, {**part, "If-Range": etag})
    assert answer.status == 200  # it was touched: another version
    date = answer.fields["last-modified"]
    assert date == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert (await fetch(url, {**part, "If-Range": date})).status == 206
    assert (await fetch(url, {**part, "If-Range": "Tue, 14 Nov 2023 22:13:21 GMT"})).status == 200


async def test_preconditions_in_their_order(node: Node) -> None:
    url = node.link()
    os.utime(node.directory / "file.bin", (1_700_000_000, 1_700_000_000))
    etag = (await fetch(url)).fields["etag"]
    then, before, after = (f"Tue, 14 Nov 2023 22:13:{second} GMT" for second in (20, 19, 21))
    for fields, status in (
        ({"If-Match": etag}, 200), ({"If-Match": "*"}, 200), ({"If-Match": f'"x", {etag}'}, 200),
        ({"If-Match": '"x"'}, 412), ({"If-Match": f"W/{etag}"}, 412),
        ({"If-Unmodified-Since": then}, 200), ({"If-Unmodified-Since": before}, 412),
        ({"If-Match": etag, "If-Unmodified-Since": before}, 200),
        ({"If-None-Match": etag}, 304), ({"If-None-Match": f"W/{etag}"}, 304), ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200), ({"If-None-Match": '"x"', "If-Modified-Since": after}, 200),
        ({"If-Modified-Since": then}, 304), ({"If-Modified-Since": before}, 200), ({"If-Modified-Since": "x"}, 200),
        ({"If-Match": '"x"', "If-None-Match": etag}, 412), ({"If-None-Match": etag, "Range": "bytes=0-1"}, 304),
        ({"If-Match": etag, "Range": "bytes=0-1"}, 206),
    ):  # fmt: skip
        for method in ("GET", "HEAD"):
            expected = 200 if method == "HEAD" and status == 206 else status
            assert (await fetch(url, fields, method=method)).status == expected, (fields, method)
    unchanged = await fetch(url, {"If-None-Match": etag})
    assert unchanged.fields["etag"] == etag
    assert "content-type" not in unchanged.fields


async def test_nothing_is_ever_compressed_or_taken_from_a_neighbour(node: Node) -> None:
    url = node.link("x.txt", b"plain")
    node.place("x.txt.gz", b"other")
    answer = await fetch(url, {"Accept-Encoding": "gzip, br"})
    assert answer.body == b"plain"


# -- links


async def test_every_altered_character_is_refused(node: Node) -> None:
    url = node.link("small", b"secret")
    parts = urlsplit(url)
    token = parts.path.split("/")[2]
    client = await Client.to(parts.hostname or "", parts.port or 0)
    for place in range(TOKEN_LENGTH):
        other = ALPHABET[(ALPHABET.index(token[place]) + 1) % 64]
        answer = await client.ask(f"/d/{token[:place]}{other}{token[place + 1 :]}/x")
        assert answer.status == 403, place
        assert b"secret" not in answer.body
    for text in ("", "x", token[:-1], token + "A", token + "%41", "%41" + token[1:], "../etc/passwd", token.lower()):
        assert (await client.ask(f"/d/{text}/x")).status == 403
    assert (await client.ask(f"/d/{token}/another%20name")).body == b"secret"
    assert (await client.ask(f"/d/{token}")).body == b"secret"
    await client.close()
    assert node.lookups == 1  # strangers never reach the daemon


async def test_a_link_ends_when_it_expires(node: Node) -> None:
    url = node.link(expires_in=2)
    assert (await fetch(url)).status == 200
    gone = await until(lambda: _status_if(url, 410))
    assert gone
    assert (await fetch(node.link(expires_in=-1))).status == 410


async def _status_if(url: str, status: int) -> bool:
    return (await fetch(url)).status == status


@pytest.mark.parametrize("processes", [1, 3])
async def test_a_revoked_link_is_dead_at_once_in_every_process(tmp_path: Path, processes: int) -> None:
    async with node_in(tmp_path, processes=processes) as node:
        url, other = node.link("a"), node.link("b")
        for _ in range(12):
            assert (await fetch(url)).status == 200
        async with asyncio.timeout(60):  # promised within a second
            await node.server.revoke({node.id_of(url): datetime.now(UTC) + timedelta(hours=1)})
        for _ in range(24):
            assert (await fetch(url)).status == 410
        assert (await fetch(other)).status == 200


async def until_answered(url: str, status: int) -> Answer:
    seen: list[Answer] = []

    async def answered() -> bool:
        seen.append(await fetch(url))
        return seen[-1].status == status

    await until(answered, what=f"{status} for {url}")
    return seen[-1]


@pytest.mark.parametrize("processes", [1, 2])
async def test_the_links_of_a_user_whose_day_is_used_up_say_when_they_go_on(tmp_path: Path, processes: int) -> None:
    async with node_in(tmp_path, processes=processes) as node:
        mine, other, spender = node.link("a"), node.link("b"), node.user
        node.user = UserId(uuid4())
        theirs = node.link("c")
        assert [(await fetch(url)).status for url in (mine, other, theirs)] == [200] * 3
        midnight = datetime.now(UTC) + timedelta(hours=1)
        node.allot(midnight, spender, UserId(uuid4()))
        refused = await until_answered(mine, 429)
        for _ in range(12):
            assert [(await fetch(url)).status for url in (mine, other, theirs)] == [429, 429, 200]
        assert 3000 < int(refused.fields["retry-after"]) <= 3600
        assert refused.body == b"the links of its user have given all that they may today: again from 00:00 UTC\n"
        assert (await fetch(mine, method="HEAD")).body == b""
        # a process that begins anew knows it too
        os.kill(node.server.pids[0], signal.SIGKILL)
        await until(lambda: len(node.server.pids) == processes)
        assert {(await fetch(mine)).status for _ in range(12)} == {429}
        # and it ends by itself, or when they are told that it has
        node.allot(datetime.now(UTC) + timedelta(seconds=0.2), spender)
        await until_answered(mine, 200)
        node.allot(midnight, spender)
        await until_answered(mine, 429)
        node.allot(midnight)
        await until_answered(mine, 200)


@pytest.mark.parametrize("end", ["revoked", "spent", "rekeyed", "expired"])
async def test_a_running_transfer_ends_with_its_link_and_with_the_day_of_its_user(node: Node, end: str) -> None:
    size = 64 << 20
    lives = 3 if end == "expired" else 3600
    ending = time.time() + lives
    url = node.link("large.bin", b"\0" * size, expires_in=lives)
    parts = urlsplit(url)
    client = await Client.to(parts.hostname or "", parts.port or 0)
    await client.send(f"GET {parts.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await client.reader.readexactly(1 << 16)
    later = datetime.now(UTC) + timedelta(hours=1)
    if end == "revoked":
        await node.server.revoke({node.id_of(url): later})
    elif end == "expired":
        await until(lambda: time.time() > ending + 1)
    elif end == "rekeyed":
        await node.server.rekey([new_master_key()])
    else:
        node.allot(later, UserId(uuid4()))
        node.allot(later, node.user)
    received = 1 << 16
    with contextlib.suppress(ConnectionResetError):
        while data := await client.reader.read(1 << 20):
            received += len(data)
    assert received < size
    await client.close()


async def test_a_question_that_was_asked_before_the_key_was_changed_opens_nothing(node: Node) -> None:
    node.held, url = asyncio.Event(), node.link()
    waiting = asyncio.create_task(fetch(url))
    await until(lambda: node.lookups == 1)
    await node.server.rekey([new_master_key()])
    node.held.set()
    assert (await waiting).status == 403
    await node.server.rekey([node.key])
    assert (await fetch(url)).status == 200


async def test_no_more_is_given_than_is_left_however_fast_it_goes(node: Node) -> None:
    """Nothing is counted in between, and what is counted meanwhile is taken off once."""
    later, url = datetime.now(UTC) + timedelta(hours=1), node.link("large.bin", b"\0" * (16 << 20))
    other = node.link("other", b"\0" * (16 << 20))
    node.allot(later, mine=10 << 20)
    assert (await fetch(other, {"Range": f"bytes=0-{(3 << 20) - 1}"})).status == 206
    before = node.server.counted
    await until(lambda: node.usage.get(node.id_of(other), [0, 0])[1] == 3 << 20)
    for as_of in (before, node.server.counted):
        mine = Allotment(left=Bytes((10 << 20) - (0 if as_of is before else 3 << 20)), day=Bytes(1))
        node.server.allot(DayLeft(until=later, users={node.user: mine}), as_of)
    async with asyncio.TaskGroup() as group:
        got = [group.create_task(_bytes_of(url), name=f"transfer {place}") for place in range(3)]
    assert sum(task.result() for task in got) == 7 << 20
    assert (await fetch(url)).status == 429


async def _bytes_of(url: str) -> int:
    """How many of a large file come before the connection ends."""
    parts, received = urlsplit(url), 0
    client = await Client.to(parts.hostname or "", parts.port or 0)
    await client.send(f"GET {parts.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await client.reader.readuntil(b"\r\n\r\n")
    if b" 200 " in head.partition(b"\r\n")[0]:
        with contextlib.suppress(ConnectionResetError):
            while data := await client.reader.read(1 << 20):
                received += len(data)
    await client.close()
    return received


async def test_what_was_revoked_before_the_start_is_refused(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "downloads")
    storage.prepare(known=False)
    replica, key, link = ReplicaId(uuid4()), new_master_key(), new_link_id()
    storage.allocate(replica)
    node = Node(server=None, storage=storage, replica=replica, key=key)  # type: ignore[arg-type]
    node.revoked[link] = datetime.now(UTC) + timedelta(hours=1)
    node.contents[link] = LinkContent(name="f", files=(node.place("f", b"x"),))
    server = FileServer(
        host="127.0.0.1", port=0, storage=stored_in(storage.base), keys=[key], look_up=node.look_up,
        on_usage=node.on_usage, read_revoked=node.read_revoked,
    )  # fmt: skip
    host, port = await server.start()
    node.base = f"http://{host}:{port}"
    try:
        assert (await fetch(node.url(link))).status == 410
    finally:
        await server.stop()


async def test_a_key_of_another_node_opens_nothing(node: Node) -> None:
    url = node.link()
    node.key = new_master_key()
    assert (await fetch(node.url(node.id_of(url)))).status == 403


async def test_referers(tmp_path: Path) -> None:
    async with node_in(tmp_path, referers=("example.org", "*.example.net")) as node:
        url = node.link()
        for referer, status in (
            ("https://example.org/page", 200), ("http://EXAMPLE.org:8080/", 200), ("https://a.b.example.net/", 200),
            ("https://evil.org/?example.org", 403), ("https://example.org.evil.org/", 403),
            ("https://xexample.net/", 403), ("https://example.net/", 403), ("http://[", 403),
            ("nonsense", 403), ("", 200),
        ):  # fmt: skip
            assert (await fetch(url, {"Referer": referer})).status == status, referer
        assert (await fetch(url)).status == 200


async def test_use_is_counted(node: Node) -> None:
    url = node.link()
    await fetch(url)
    await fetch(url, {"Range": "bytes=0-99"})
    await fetch(url, {"Range": "bytes=0-9,20-29"})
    await fetch(url, method="HEAD")
    await fetch(url, {"Range": "bytes=999999999-"})
    link = node.id_of(url)
    await until(lambda: node.usage.get(link, [0])[0] == 3)
    accesses, sent = node.usage[link]
    assert accesses == 3
    assert len(CONTENT) + 100 < sent < len(CONTENT) + 1000  # the parts of a multipart have heads


async def test_use_is_counted_when_the_client_leaves_and_when_the_server_stops(tmp_path: Path) -> None:
    async with node_in(tmp_path) as node:
        url = node.link("large.bin", b"\0" * (64 << 20))
        parts = urlsplit(url)
        client = await Client.to(parts.hostname or "", parts.port or 0)
        await client.send(f"GET {parts.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await client.reader.readexactly(1 << 20)
        await client.close()
    accesses, sent = node.usage[node.id_of(url)]
    assert accesses == 1
    assert 1 << 19 < sent < 64 << 20


# -- names


NAMES = [
    "plain.mkv", 'quo"te.mkv', "back\\slash.mkv", "per%20cent.mkv", "se;mi=colon, comma.mkv", "emoji 🎬.mkv",
    "日本語.mkv", "e\u0301 NFD.mkv", "é" * 150 + ".mkv", "CON", "-rf", "'", "a  b", "%s{0}$(x)`y`", "ünï.tar.gz", "*.*",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
async def test_names_come_back_as_they_were(node: Node, name: str) -> None:
    answer = await fetch(node.link("f", b"x", name=name))
    message = Message()
    message["Content-Disposition"] = answer.fields["content-disposition"]
    parameters = dict(message.get_params(header="Content-Disposition", failobj=[], unquote=True))
    plain = parameters["filename"]
    # RFC 6266: filename* wins where it is there
    value = message.get_filename() if "filename*" not in answer.fields["content-disposition"] else None
    extended = answer.fields["content-disposition"].partition("filename*=UTF-8''")[2]
    assert (unquote(extended) if extended else value or plain) == name
    assert answer.fields["content-disposition"].isascii()


@pytest.mark.parametrize(
    ("path", "inline", "expected"),
    [("a.mp4", True, "inline"), ("a.mp4", False, "attachment"), ("a.png", True, "inline"),
     ("a.html", True, "attachment"), ("a.svg", True, "attachment"), ("a.xml", True, "attachment"),
     ("a.js", True, "attachment"), ("a.xhtml", True, "attachment"), ("a", True, "attachment")],
)  # fmt: skip
async def test_only_harmless_types_are_shown_in_the_browser(node: Node, path: str, inline: bool, expected: str) -> None:
    answer = await fetch(node.link(path, b"<script>", inline=inline))
    assert answer.fields["content-disposition"].startswith(f"{expected};")
    assert answer.fields["x-content-type-options"] == "nosniff"


# -- what is not there


async def test_a_symlink_swapped_in_after_the_link_was_made_is_not_followed(node: Node, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    url = node.link("folder/file.bin")
    assert (await fetch(url)).status == 200
    (node.directory / "folder" / "file.bin").unlink()
    (node.directory / "folder" / "file.bin").symlink_to(secret)
    assert (await fetch(url)).status == 404
    (node.directory / "folder" / "file.bin").unlink()
    (node.directory / "folder").rmdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file.bin").write_bytes(CONTENT)
    (node.directory / "folder").symlink_to(tmp_path / "outside")
    assert (await fetch(url)).status == 404


async def test_a_file_that_is_gone_or_of_another_size_is_not_served(node: Node) -> None:
    url = node.link()
    assert (await fetch(url)).status == 200
    os.truncate(node.directory / "file.bin", 1000)
    assert (await fetch(url)).status == 404
    (node.directory / "file.bin").unlink()
    assert (await fetch(url)).status == 404
    node.place("file.bin", CONTENT)
    assert (await fetch(url)).status == 200


async def test_a_disk_that_is_not_mounted_is_no_missing_file(node: Node) -> None:
    url = node.link()
    sentinel = node.storage.base / SENTINEL
    kept = sentinel.read_bytes()
    sentinel.unlink()
    answer = await fetch(url)
    assert answer.status == 503
    assert answer.fields["retry-after"]
    sentinel.write_bytes(kept)
    assert (await fetch(url)).status == 200


async def test_what_the_daemon_says_of_a_link(node: Node) -> None:
    url = node.link()
    node.errors[node.id_of(url)] = NotReady()
    answer = await fetch(url)
    assert (answer.status, answer.fields["retry-after"]) == (503, "10")
    assert (await fetch(url, method="HEAD")).body == b""
    node.errors[node.id_of(url)] = NotFound()
    assert (await fetch(url)).status == 410
    node.errors.clear()
    assert (await fetch(url)).status == 200
    node.errors[node.id_of(url)] = NotReady()
    assert (await fetch(url)).status == 200  # remembered for a moment
    node.server.forget([node.replica])
    await until(lambda: _status_if(url, 503))


async def test_many_requests_at_once_ask_the_daemon_once(node: Node) -> None:
    url = node.link()
    answers = await asyncio.gather(*(fetch(url, {"Range": "bytes=0-9"}) for _ in range(30)))
    assert {answer.status for answer in answers} == {206}
    assert node.lookups == 1


# -- archives and playlists


async def test_a_folder_as_zip(node: Node) -> None:
    names = {"a.txt": b"a" * 10, "sub/emoji 🎬.bin": CONTENT * 3, "sub/empty": b"", "e\u0301.txt": b"x"}
    link = new_link_id()
    node.contents[link] = LinkContent(
        name="Folder ü.zip", files=tuple(node.place(name, content) for name, content in names.items())
    )
    url = node.url(link, kind=LinkKind.ZIP, index=0)
    answer = await fetch(url)
    assert answer.status == 200
    assert answer.complete
    assert answer.fields["content-type"] == "application/zip"
    assert answer.fields["content-length"] == str(len(answer.body))
    assert "Folder%20%C3%BC.zip" in answer.fields["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == names
    told = await fetch(url, method="HEAD")
    assert told.fields["content-length"] == str(len(answer.body))
    assert (await fetch(url, {"Range": "bytes=0-1"})).status == 200


async def test_a_zip_with_a_file_missing_is_refused_before_it_begins(node: Node) -> None:
    link = new_link_id()
    node.contents[link] = LinkContent(name="a.zip", files=(node.place("a", b"1"), node.place("b", b"2")))
    (node.directory / "b").unlink()
    url = node.url(link, kind=LinkKind.ZIP, index=0)
    assert (await fetch(url)).status == 503


async def test_a_playlist(node: Node) -> None:
    link = new_link_id()
    text = "#EXTM3U\n#EXTINF:-1,é\nhttp://x/d/y/z\n"
    node.contents[link] = LinkContent(name="list.m3u", text=text)
    answer = await fetch(node.url(link, kind=LinkKind.M3U, index=0))
    assert (answer.status, answer.body.decode()) == (200, text)
    assert answer.fields["content-type"].startswith("audio/x-mpegurl")


# -- the protocol


async def test_other_paths_and_methods(node: Node) -> None:
    url = node.link()
    assert (await fetch(f"{node.base}/healthz")).status == 200
    for path in ("/", "/d", "/favicon.ico", "/../../etc/passwd", "/d/../x"):
        assert (await fetch(node.base + path)).status in (403, 404)
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
        answer = await fetch(url, method=method)
        assert answer.status == 405
        assert answer.fields["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nInjected: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\nRange: bytes=2-3\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40_000, 431),
        (b"GET http://host/healthz HTTP/1.1\r\nHost: host\r\n\r\n", 200),
        (b"\r\nGET /healthz HTTP/1.1\r\nHost: host\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
    ],
)
async def test_requests_are_read_strictly(node: Node, request_bytes: bytes, status: int) -> None:
    parts = urlsplit(node.base)
    client = await Client.to(parts.hostname or "", parts.port or 0)
    async with asyncio.timeout(60):
        await client.send(request_bytes)
        answer = await client.answer()
        assert answer.status == status
        if status != 200 or b"HTTP/1.0" in request_bytes:
            assert answer.fields["connection"] == "close"
            assert await client.closed_by_server()
    await client.close()


async def test_requests_on_one_connection_and_in_a_row(node: Node) -> None:
    url = node.link()
    path = urlsplit(url).path
    parts = urlsplit(url)
    client = await Client.to(parts.hostname or "", parts.port or 0)
    one = f"GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes={{}}-{{}}\r\n\r\n"
    pieces = [(0, 9), (0, 250_000), (5, 5), (100, 299_999), (7, 8)] * 5
    await client.send("".join(one.format(*piece) for piece in pieces).encode())
    async with asyncio.timeout(60):
        for start, last in pieces:
            assert (await client.answer()).body == CONTENT[start : last + 1]
        last_one = await client.ask(path, {"Connection": "close"})
        assert last_one.body == CONTENT
        assert await client.closed_by_server()
    await client.close()


async def test_slow_clients_are_let_go(tmp_path: Path) -> None:
    async with node_in(tmp_path, head_seconds=0.5, idle_seconds=0.5, write_idle_seconds=0.5) as node:
        url = node.link("large.bin", b"\0" * (64 << 20))
        parts = urlsplit(url)
        silent, dripping, idle, stuck = [await Client.to(parts.hostname or "", parts.port or 0) for _ in range(4)]
        async with asyncio.timeout(12):
            await dripping.send(b"GET / HTTP/1.1\r\nHost:")
            assert (await idle.ask("/healthz")).status == 200
            await stuck.send(f"GET {parts.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert (await dripping.answer()).status == 408
            for client in (silent, dripping, idle):
                assert await client.closed_by_server()
            # nothing was read for longer than the limit: the rest does not come any more
            await until(lambda: node.usage.get(node.id_of(url)) is not None)
            before = node.usage[node.id_of(url)][1]
            received = 0
            with contextlib.suppress(ConnectionResetError):
                while data := await stuck.reader.read(1 << 20):
                    received += len(data)
            assert received <= before + (1 << 16) < 64 << 20
        for client in (silent, dripping, idle, stuck):
            await client.close()


async def test_the_number_of_connections_is_limited_and_idle_ones_give_way(tmp_path: Path) -> None:
    async with node_in(tmp_path, max_connections=4) as node:
        parts = urlsplit(node.base)
        clients = [await Client.to(parts.hostname or "", parts.port or 0) for _ in range(4)]
        for client in clients:
            assert (await client.ask("/healthz")).status == 200
        assert (await fetch(f"{node.base}/healthz")).status == 200  # in the place of the oldest
        assert await clients[0].closed_by_server()
        assert (await clients[3].ask("/healthz")).status == 200
        for client in clients:
            await client.close()


async def test_a_client_that_shuts_its_sending_side_gets_the_answer(node: Node) -> None:
    url = node.link()
    parts = urlsplit(url)
    client = await Client.to(parts.hostname or "", parts.port or 0)
    await client.send(f"GET {parts.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    client.writer.write_eof()
    answer = await client.answer()
    assert answer.body == CONTENT
    await client.close()


# -- processes


async def test_a_process_that_is_killed_comes_back_with_all_revocations(node: Node) -> None:
    revoked, alive = node.link("a"), node.link("b")
    await node.server.revoke({node.id_of(revoked): datetime.now(UTC) + timedelta(hours=1)})
    [pid] = node.server.pids
    os.kill(pid, signal.SIGKILL)
    # a request meanwhile waits in the socket's queue
    assert (await fetch(alive)).status == 200
    assert (await fetch(revoked)).status == 410
    assert node.server.pids != [pid]


async def test_a_process_that_hangs_is_replaced_and_the_revocation_holds(node: Node) -> None:
    url = node.link()
    [pid] = node.server.pids
    os.kill(pid, signal.SIGSTOP)
    async with asyncio.timeout(60):
        await node.server.revoke({node.id_of(url): datetime.now(UTC) + timedelta(hours=1)})
    assert (await fetch(url)).status == 410
    assert node.server.pids != [pid]


async def test_a_process_ends_when_the_daemon_does(tmp_path: Path) -> None:
    """As after kill -9 of the daemon: the pipe is gone."""
    script = tmp_path / "daemon.py"
    script.write_text(
        "import asyncio, os, sys\nfrom pathlib import Path\n"
        "from oddaemon.fileserver.processes import FileServer, StorageChoice\n"
        f"here = Path({str(tmp_path)!r})\n"
        "stored = StorageChoice(provider='local', settings={}, state_dir=here, download_dir=here)\n"
        "async def nothing(*_): return {}\n"
        "async def main():\n"
        "    server = FileServer(host='127.0.0.1', port=0, storage=stored, keys=[b'x' * 32],\n"
        "        look_up=nothing, on_usage=nothing, read_revoked=nothing, processes=2)\n"
        "    await server.start()\n    print(*server.pids, flush=True)\n    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    daemon = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=asyncio.subprocess.PIPE)
    assert daemon.stdout is not None
    pids = [int(pid) for pid in (await asyncio.wait_for(daemon.stdout.readline(), 60)).split()]
    assert len(pids) == 2
    daemon.kill()
    await daemon.wait()
    await until(lambda: not any(_alive(pid) for pid in pids))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def test_a_taken_port_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    for reuse in (False, True):
        with socket.socket() as taken:
            if reuse:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(InvalidArgument) as raised:
                async with node_in(tmp_path, port=taken.getsockname()[1]):
                    pass
            assert raised.value.field == "node.file_server_port"
            assert "node.file_server_port" in raised.value.hint


async def test_stopping_ends_soon_whatever_clients_do(tmp_path: Path) -> None:
    async with node_in(tmp_path, processes=2) as node:
        url = node.link("large.bin", b"\0" * (64 << 20))
        parts = urlsplit(url)
        client = await Client.to(parts.hostname or "", parts.port or 0)
        await client.send(f"GET {parts.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await client.reader.readexactly(1 << 16)
        pids = node.server.pids
        async with asyncio.timeout(60):  # promised within two seconds
            await node.server.stop()
        assert not any(_alive(pid) for pid in pids)
        await client.close()
        await node.server.stop()


async def test_file_processes_know_neither_database_nor_grpc(tmp_path: Path) -> None:
    probe = (
        "import sys, oddaemon.app.compose_fileserver\nprint(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", probe, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    loaded = set(out.decode().split())
    assert "oddaemon" in loaded
    assert not loaded & {"sqlalchemy", "grpclib", "betterproto2", "aiohttp", "pydantic", "yt_dlp", "odproto"}


async def test_a_large_file_arrives_whole(node: Node) -> None:
    content = hashlib.sha256(b"seed").digest() * (1 << 20)  # 32 MiB
    answer = await fetch(node.link("large.bin", content))
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(content).digest()
