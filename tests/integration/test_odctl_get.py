"""`get` against a file server that breaks off, revokes, lies and names things badly."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as pb

from odctl.client.errors import OdctlError
from odctl.client.fetch import Fetched, Limiter, Stopped, Task, fetch
from odctl.client.models import Link
from odctl.client.pipe import stream_to
from tests.support.fake_control import COMPLETED, FakeDaemon, job
from tests.support.odctl_shell import Shell

BODY = bytes(range(256)) * 4000
ETAG = '"one"'


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag = BODY, ETAG
        self.ranges: list[str | None] = []
        self.break_after = 0
        self.statuses: list[int] = []
        self.no_ranges = False
        self.used_up = ""
        """How long it says that it has to be waited for, when it gives nothing more today."""

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is part of the tests."""

    def url(self, token: str = "good") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/d/{token}/x"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        return

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers["Range"])
        if self.server.used_up:
            self.send_response(429)
            self.send_header("Retry-After", self.server.used_up)
            self.send_header("Content-Length", "14")
            self.end_headers()
            self.wfile.write(b"all used up \x1b\n")
            return
        if "revoked" in self.path or self.server.statuses:
            self.send_response(self.server.statuses.pop(0) if self.server.statuses else 410)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start, body = 0, self.server.body
        if self.headers["Range"] and self.headers["If-Range"] == self.server.etag and not self.server.no_ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("ETag", self.server.etag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        cut = self.server.break_after
        self.wfile.write(body[start : start + cut] if cut else body[start:])
        if cut:
            self.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield found
        found.shutdown()
        thread.join(5)


def test_when_the_day_is_used_up_it_says_so_instead_of_waiting_for_hours(server: Server, tmp_path: Path) -> None:
    server.used_up = str(2 * 3600 + 5 * 60)
    with pytest.raises(OdctlError) as refused:
        stream_to(link(server.url()), lambda: link(server.url()), lambda _: None)
    assert (refused.value.code, refused.value.exit_code) == ("LIMIT_EXCEEDED", 9)
    assert refused.value.message.startswith("all used up")
    assert "in 2 h 5 min" in refused.value.hint
    error = run(server, tmp_path).error
    assert error is not None
    assert error["code"] == "LIMIT_EXCEEDED"
    assert len(server.ranges) == 2


class StopAfterOne(Limiter):
    """Ends the transfer after its first bytes, as Ctrl-C does."""

    def take(self, count: int, stop: threading.Event) -> None:
        stop.set()


def link(url: str, size: int | None = len(BODY)) -> Link:
    return Link(
        job=1,
        index=1,
        path="x",
        url=url,
        expires_at=None,
        size=size,
        content_type=None,
        node="nas",
        id="1",
        kind="file",
    )


def run(server: Server, root: Path, *, token: str = "good", **options: object) -> Fetched:
    task = Task(
        link=link(server.url(token)), root=str(root), relative="a/x", checksum=None, mint=lambda: link(server.url()),
        stop=threading.Event(), limiter=Limiter(),
    )  # fmt: skip
    for name, value in options.items():
        setattr(task, name, value)
    return fetch(task)


def test_a_file_arrives_whole_with_its_checksum(server: Server, tmp_path: Path) -> None:
    found = run(server, tmp_path, verify=True)
    assert (found.ok, found.size, found.resumed_from) == (True, len(BODY), 0)
    assert (found.sha256, found.verified) == (hashlib.sha256(BODY).hexdigest(), "length")
    assert (tmp_path / "a/x").read_bytes() == BODY
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"]


def test_a_connection_that_breaks_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.break_after = 400_000
    assert run(server, tmp_path).ok
    assert (tmp_path / "a/x").read_bytes() == BODY
    assert server.ranges == [None, "bytes=400000-", "bytes=800000-"]


def test_a_later_run_resumes_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    server.break_after, server.statuses = 300_000, []
    with pytest.raises(Stopped):
        run(server, tmp_path, limiter=StopAfterOne())
    partial = (tmp_path / "a/x.part").stat().st_size
    assert partial > 0
    server.break_after = 0
    found = run(server, tmp_path)
    assert (found.ok, found.resumed_from) == (True, partial)
    assert (tmp_path / "a/x").read_bytes() == BODY


def test_another_version_is_never_mixed_in(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.part").write_bytes(b"old" * 100)
    known = {"etag": '"older"', "job": 1, "index": 1, "size": len(BODY)}
    (tmp_path / "a/x.part.meta").write_text(json.dumps(known))
    assert run(server, tmp_path).ok
    assert (tmp_path / "a/x").read_bytes() == BODY


def test_partial_bytes_without_a_validator_are_fetched_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.part").write_bytes(b"junk")
    found = run(server, tmp_path)
    assert (found.ok, found.resumed_from) == (True, 0)
    assert (tmp_path / "a/x").read_bytes() == BODY


def test_revoked_links_are_minted_anew(server: Server, tmp_path: Path) -> None:
    assert run(server, tmp_path, token="revoked").ok


def test_busy_servers_are_asked_again_and_missing_files_are_not(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    assert run(server, tmp_path).ok
    server.statuses = [404]
    found = run(server, tmp_path, overwrite=True)
    assert not found.ok
    assert found.error is not None
    assert "404" in found.error["message"]


def test_a_length_that_lies_is_told(server: Server, tmp_path: Path) -> None:
    server.body = BODY[:-1]
    found = run(server, tmp_path)
    assert not found.ok
    assert not (tmp_path / "a/x").exists()


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    found = run(server, tmp_path, verify=True, checksum="md5=" + "0" * 32)
    assert found.error is not None
    assert found.error["code"] == "CHECKSUM"
    assert not list((tmp_path / "a").glob("x*")) or not (tmp_path / "a/x").exists()


def test_a_checksum_of_any_kind_is_compared_with(server: Server, tmp_path: Path) -> None:
    found = run(server, tmp_path, verify=True, checksum="sha1=" + hashlib.sha1(BODY).hexdigest().upper())
    assert (found.ok, found.verified) == (True, "checksum")


def test_files_that_exist_are_replaced_only_when_asked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").write_bytes(b"mine")
    refused = run(server, tmp_path)
    assert refused.error is not None
    assert refused.error["exit"] == 9
    assert run(server, tmp_path, skip=True).ok
    assert (tmp_path / "a/x").read_bytes() == b"mine"
    assert run(server, tmp_path, overwrite=True).ok
    assert (tmp_path / "a/x").read_bytes() == BODY


def test_a_symlink_in_the_way_is_not_written_through(server: Server, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.part").symlink_to(outside)
    assert not run(server, tmp_path).ok
    assert outside.read_bytes() == b"mine"


async def test_the_command_puts_it_where_it_was_told_and_says_what_it_verified(server: Server, tmp_path: Path) -> None:
    folder = tempfile.mkdtemp(prefix="od")  # a socket's path is short: pytest's folders are too deep
    odctl = Shell(Path(folder), tmp_path)
    async with FakeDaemon(Path(folder) / "c.sock") as control:
        control.jobs[1] = job(1, state=COMPLETED, progress=1.0)
        control.files[1] = [common.File(job=1, index=1, path="x", size=len(BODY), ready=True, selected=True)]
        control.links = [pb.Link(job=1, index=1, path="x", url=server.url(), size=len(BODY))]
        answer = await odctl("get", "1", "--into", "there", "-o", "name", "--verify")
        assert (answer.code, answer.out) == (0, "there/name\n")
        assert "no checksum is known for there/name" in answer.err
        assert (tmp_path / "there/name").read_bytes() == BODY
        for digest, code in ((hashlib.sha1(BODY).hexdigest(), 0), ("0" * 40, 1)):
            control.jobs[1].checksum = f"sha1={digest}"
            answer = await odctl("get", "1", "--verify", "--overwrite", "--json")
            assert (answer.code, answer.json[0]["verified"]) == (code, None if code else "checksum")
    shutil.rmtree(folder)


def test_an_empty_file_is_a_file(server: Server, tmp_path: Path) -> None:
    found = run(server, tmp_path, link=link(server.url(), 0))
    assert (found.ok, found.size) == (True, 0)
    assert (tmp_path / "a/x").read_bytes() == b""
