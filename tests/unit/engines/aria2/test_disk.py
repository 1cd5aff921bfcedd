from __future__ import annotations

import os
import struct
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.domain.torrent import parse_torrent
from oddaemon.domain.types import Bytes, ReplicaId
from oddaemon.engines.aria2 import disk
from oddaemon.engines.aria2.control import is_whole
from oddaemon.engines.aria2.fill import gid_of
from oddaemon.engines.aria2.memory import Memory, Remembered
from oddaemon.engines.aria2.origin import Origin
from tests.support.torrents import Content, multi


@given(st.text())
def test_a_name_on_disk_is_short_plain_and_ours(name: str) -> None:
    found = disk.disk_name_of_url(name)
    assert found.startswith("file")
    assert len(found) <= 13
    assert found.isascii()
    assert found.lower() == found
    assert "/" not in found
    assert not found.endswith(".aria2"), "that would be a control file"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.MKV", "file.mkv"), ("a.tar.gz", "file.gz"), ("a.aria2", "file"), ("a.toolongext", "file"), ("", "file"),
     ("a.m\nv", "file"), ("..", "file"), ("a.", "file")],
)  # fmt: skip
def test_extensions(name: str, expected: str) -> None:
    assert disk.disk_name_of_url(name) == expected


def test_torrent_names_differ_whatever_the_torrent_says() -> None:
    torrent = multi("t", [Content(("A.txt",), b"1"), Content(("a.txt",), b"2"), Content(("..", "a.txt"), b"3")])
    names = disk.disk_names_of_torrent(parse_torrent(torrent.data))
    assert names == {1: "00001.txt", 2: "00002.txt", 3: "00003.txt"}


def test_clearing_follows_no_link(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "kept").touch()
    (inside / "sub").mkdir(parents=True)
    (inside / "sub" / "link").symlink_to(outside, target_is_directory=True)
    (inside / "link").symlink_to(outside, target_is_directory=True)
    (inside / "file").touch()
    disk.clear(inside)
    assert list(inside.iterdir()) == []
    assert (outside / "deep" / "kept").exists()


def test_a_link_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"123")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert disk.size_of(tmp_path / "real") == 3
    assert disk.size_of(tmp_path / "link") is None
    assert disk.size_of(tmp_path / "nothing") is None
    with pytest.raises(OSError, match="Too many levels"):
        disk.make_empty_files(tmp_path, ["link"])


def control(bits: int = 4, in_flight: int = 1) -> bytes:
    head = struct.pack(">HII", 1, 0, 20) + bytes(20) + struct.pack(">IQQI", 1 << 20, 5 << 20, 0, bits) + bytes(bits)
    return head + struct.pack(">I", in_flight) + (struct.pack(">III", 3, 1 << 20, 8) + bytes(8)) * in_flight


def test_a_control_file_is_whole_or_not() -> None:
    for whole in (control(), control(in_flight=0), control(in_flight=5)):
        assert is_whole(whole)
        assert not any(is_whole(whole[:cut]) for cut in range(len(whole)))
        assert not is_whole(whole + b"x")
    assert not is_whole(os.urandom(500))


def test_memory_keeps_what_it_was_told(tmp_path: Path) -> None:
    memory, replica = Memory(tmp_path / "m"), ReplicaId(uuid4())
    memory.open()
    what = Remembered(
        origin=Origin(length=Bytes(5), etag='"é\udcff"', last_modified="x", name="n", content_type="a/b"),
        finished={1: 5, 7: 0},
        seeded=True,
    )
    assert memory.load(replica) == Remembered()
    memory.save(replica, what)
    memory.save_torrent(replica, b"d1:a1:be")
    again = Memory(tmp_path / "m")
    again.open()
    assert again.load(replica) == what
    assert again.load_torrent(replica) == b"d1:a1:be"
    assert all(p.stat().st_mode & 0o077 == 0 for p in (tmp_path / "m").iterdir())
    again.forget(replica)
    assert again.load(replica) == Remembered()
    assert again.load_torrent(replica) == b"d1:a1:be"
    again.forget_torrent(replica)
    assert list((tmp_path / "m").iterdir()) == []


@pytest.mark.parametrize(
    "junk", [b"", b"{", b"[]", b"null", b'{"version": 2}', b'{"version": 1, "origin": 5}', b"\xff"]
)
def test_memory_that_is_damaged_counts_as_none(tmp_path: Path, junk: bytes) -> None:
    memory, replica = Memory(tmp_path), ReplicaId(uuid4())
    (tmp_path / f"{replica}.json").write_bytes(junk)
    assert memory.load(replica) == Remembered()


def test_gids_are_what_aria2_takes() -> None:
    replica = ReplicaId(uuid4())
    assert gid_of(replica, "data") == gid_of(replica, "data") != gid_of(replica, "meta")
    gids = {gid_of(ReplicaId(uuid4()), "data") for _ in range(1000)}
    assert len(gids) == 1000
    assert all(len(gid) == 16 and int(gid, 16) for gid in gids)
