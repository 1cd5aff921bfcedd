"""What `add` is given: files, batches, mistakes."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from odctl.client.errors import OdctlError, UsageError
from odctl.sources import MAX_TORRENT, Order, parse_options, parse_priority, read_batch, resolve

EMPTY = Order(input="")


@pytest.mark.parametrize(
    "text", ["magnet:?xt=urn:btih:" + "a" * 40, "https://h/x.torrent", "a" * 40, "example.org/x", "-x"]
)
def test_what_is_no_path_goes_to_the_daemon_as_it_is(text: str) -> None:
    assert resolve(EMPTY, text).source == text


def test_a_torrent_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.torrent"
    path.write_bytes(b"d4:infod6:lengthi1eee")
    order = resolve(EMPTY, str(path))
    assert (order.source, order.torrent, order.torrent_name) == ("", b"d4:infod6:lengthi1eee", "x.torrent")


def test_files_that_are_no_torrents_are_refused_with_their_name(tmp_path: Path) -> None:
    empty, page, large, folder = (tmp_path / name for name in ("e.torrent", "p.torrent", "l.torrent", "f.torrent"))
    empty.touch()
    page.write_bytes(b"<html>")
    with large.open("wb") as stream:
        stream.truncate(MAX_TORRENT + 1)
    folder.mkdir()
    pipe = tmp_path / "pipe.torrent"
    os.mkfifo(pipe)
    for path, word in ((empty, "empty"), (page, "not a torrent"), (large, "10 MiB"), (folder, "not a file"),
                       (pipe, "not a file"), (tmp_path / "gone.torrent", "No such file")):  # fmt: skip
        with pytest.raises(OdctlError, match=word) as caught:
            resolve(EMPTY, str(path))
        assert path.name in caught.value.message
        assert (caught.value.code, caught.value.exit_code) == ("INVALID_SOURCE", 2)


@pytest.mark.parametrize("text", ["file:///etc/passwd", "FILE:x", "", "  ", "x" * 100_001, "http://h/\udcff"])
def test_what_the_client_can_tell_to_be_wrong_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        resolve(EMPTY, text)


def test_a_batch_keeps_its_order_and_its_mistakes() -> None:
    stream = io.BytesIO(
        b"# comment\n\nhttp://a/\r\nfile:///x\n"
        b'{"url": "http://b/", "tags": ["t"], "priority": "high", "options": {"split": 4, "on": true}, '
        b'"paused": true}\n'
        b'{"url": 1}\n{"nonsense": 1}\n{broken\nhttp://c/'
    )
    found = read_batch(stream, Order(input="", tags=("all",)), nul=False)
    kinds = [one.source if isinstance(one, Order) else "error" for one in found]
    assert kinds == ["http://a/", "error", "http://b/", "error", "error", "error", "http://c/"]
    second = found[2]
    assert isinstance(second, Order)
    assert (second.tags, second.priority, second.paused) == (("t",), 10, True)
    assert second.options == {"split": "4", "on": "true"}
    assert isinstance(found[0], Order)
    assert found[0].tags == ("all",)
    assert isinstance(found[1], OdctlError)
    assert found[1].details["line"] == 4
    # one that the daemon refuses is told with its line, too
    assert (second.origin, found[0].origin) == ({"input": "http://b/", "line": 5}, {"input": "http://a/", "line": 3})


def test_a_batch_may_be_separated_with_nul() -> None:
    found = read_batch(io.BytesIO(b"http://a/\0http://b/\0"), EMPTY, nul=True)
    assert [one.source for one in found if isinstance(one, Order)] == ["http://a/", "http://b/"]


def test_options_and_priorities() -> None:
    assert parse_options(["a=b=c", "x="]) == {"a": "b=c", "x": ""}
    assert [parse_priority(word) for word in ("low", "normal", "HIGH", "-3")] == [-10, 0, 10, -3]
    for wrong in ("urgent", "1.5", ""):
        with pytest.raises(UsageError):
            parse_priority(wrong)
    with pytest.raises(UsageError):
        parse_options(["novalue"])
