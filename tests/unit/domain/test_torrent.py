"""Torrent files: what is taken, what is refused and with which words."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from oddaemon.domain.bencode import Limits, Value, bdecode, bencode
from oddaemon.domain.errors import InvalidSource
from oddaemon.domain.source import SourceKind, source_of_torrent
from oddaemon.domain.torrent import MAX_TORRENT_SIZE, infohash_of_info, parse_torrent

PIECE = 16384


def info(**changes: Any) -> dict[bytes, Value]:
    base: dict[bytes, Value] = {
        b"name": b"a.bin",
        b"length": 20000,
        b"piece length": PIECE,
        b"pieces": bytes(40),
    }
    return {
        k: v for k, v in (base | {k.replace("_", " ").encode(): v for k, v in changes.items()}).items() if v is not None
    }


def torrent(of: dict[bytes, Value] | None = None, **outer: Value) -> bytes:
    return bencode({**{k.encode().replace(b"_", b"-"): v for k, v in outer.items()}, b"info": of or info()})


def multi(paths: list[list[bytes]], **changes: Any) -> dict[bytes, Value]:
    files: list[Value] = [{b"length": 1000, b"path": list(path)} for path in paths]
    return info(length=None, files=files, pieces=bytes(20 * -(-1000 * len(paths) // PIECE)), **changes)


def refusal(data: bytes) -> InvalidSource:
    with pytest.raises(InvalidSource) as caught:
        parse_torrent(data)
    return caught.value


def test_single_file() -> None:
    found = parse_torrent(torrent(announce=b"http://t/announce"))
    assert (found.name, found.version, found.is_multi, found.total) == ("a.bin", "v1", False, 20000)
    assert [(f.index, f.path, f.size) for f in found.files] == [(1, "a.bin", 20000)]
    assert found.info_hash == hashlib.sha1(bencode(info())).hexdigest() == infohash_of_info(bencode(info()))
    assert found.info_hash_v2 is None
    assert not found.private


def test_the_hash_is_of_the_bytes_as_they_stand_even_with_keys_out_of_order() -> None:
    raw = b"d12:piece lengthi16384e4:name1:x6:lengthi5e6:pieces20:" + bytes(20) + b"e"
    assert parse_torrent(b"d4:info" + raw + b"e").info_hash == hashlib.sha1(raw).hexdigest()


def test_padding_is_left_out_and_keeps_its_number() -> None:
    files: list[Value] = [
        {b"length": 1000, b"path": [b"a"]},
        {b"length": 15384, b"path": [b".pad", b"15384"], b"attr": b"p"},
        {b"length": 10, b"path": [b"b"], b"attr": b"x"},
    ]
    found = parse_torrent(torrent(info(length=None, files=files, pieces=bytes(40))))
    assert [(f.index, f.path) for f in found.files] == [(1, "a"), (3, "b")]
    assert found.total == 1010


HOSTILE = [
    [b"..", b"..", b"etc", b"passwd"],
    [b"/etc/passwd"],
    [b"a\0b"],
    [b"a\nb"],
    ["📦".encode()],
    [b"x" * 300],
    [b""],
    [b"\xff\xfe"],
    [b"CON"],
    [b"a\\b"],
    [b"A"],
    [b"a"],
    ["é".encode()],
    ["e\u0301".encode()],
]


def test_hostile_names_are_taken_as_text() -> None:
    found = parse_torrent(torrent(multi(HOSTILE, name=b"../../up")))
    assert found.name == "../../up"
    assert [f.path for f in found.files] == [b"/".join(p).decode("utf-8", "replace") for p in HOSTILE]


def test_the_utf8_names_win() -> None:
    files: list[Value] = [{b"length": 5, b"path": [b"?"], b"path.utf-8": ["ж".encode()]}]
    of = info(length=None, files=files, pieces=bytes(20)) | {b"name.utf-8": "имя".encode()}
    found = parse_torrent(torrent(of))
    assert (found.name, found.files[0].path) == ("имя", "ж")


def test_trackers_and_web_seeds_each_once_in_the_order_of_the_tiers() -> None:
    tiers: list[Value] = [[b"udp://a/"], [b"http://b/", b"udp://a/"], [7]]
    data = bencode({b"announce": b"http://b/", b"announce-list": tiers, b"url-list": b"http://seed/", b"info": info()})
    found = parse_torrent(data)
    assert found.trackers == ("http://b/", "udp://a/")
    assert found.web_seeds == ("http://seed/",)


def test_private() -> None:
    assert parse_torrent(torrent(info(private=1))).private


TREE: dict[bytes, Value] = {
    b"b": {b"": {b"length": 0}},
    b"a": {b"c": {b"": {b"length": 20000, b"pieces root": bytes(32)}}},
}


def test_v2_only_is_read_but_is_no_source() -> None:
    found = parse_torrent(torrent({b"name": b"n", b"piece length": PIECE, b"meta version": 2, b"file tree": TREE}))
    assert (found.version, found.info_hash, len(found.info_hash_v2 or "")) == ("v2", None, 64)
    assert [(f.index, f.path, f.size) for f in found.files] == [(1, "a/c", 20000), (2, "b", 0)]
    assert found.is_multi
    with pytest.raises(InvalidSource, match="v2-only"):
        source_of_torrent(found)


def test_hybrid_has_both_hashes() -> None:
    of = info(meta_version=2) | {b"file tree": {b"a.bin": {b"": {b"length": 20000, b"pieces root": bytes(32)}}}}
    found = parse_torrent(torrent(of))
    assert found.version == "hybrid"
    assert found.info_hash
    assert found.info_hash_v2


def test_source_of_a_torrent() -> None:
    source = source_of_torrent(
        parse_torrent(torrent(announce=b"http://t/announce?passkey=SECRET", announce_list=[[b"wss://x/"]]))
    )
    assert source.kind is SourceKind.TORRENT
    assert source.trackers == ("http://t/announce?passkey=SECRET",)
    assert "SECRET" not in source.shown
    assert source.info_hash in source.uri if source.info_hash else False
    assert source.name == "a.bin"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"<html>", "web page"),
        (b"hello", "not bencoded"),
        (torrent()[:-1], "ends in the middle"),
        (torrent()[:60], "ends in the middle"),
        (torrent() + b"x", "behind its end"),
        (b"d" + bytes(MAX_TORRENT_SIZE), "the most that is taken is 10 MiB"),
        (bytes(50 * 2**20), "50.0 MiB"),
        (b"de", "no info"),
        (b"d4:info3:abce", "no info"),
        (b"d4:infod4:name1:xe4:infod4:name1:xee", "same key twice"),
        (b"d1:a" + b"l" * 200 + b"e" * 200 + b"e", "deeper"),
        (torrent(info(pieces=bytes(41))), "whole number"),
        (torrent(info(pieces=bytes(20))), "need 2"),
        (torrent(info(pieces=bytes(60))), "need 2"),
        (torrent(info(pieces=[])), "whole number"),
        (torrent(info(piece_length=0)), "piece length"),
        (torrent(info(piece_length=-1)), "piece length"),
        (torrent(info(piece_length=2**40)), "piece length"),
        (torrent(info(length=-1)), "impossible size"),
        (torrent(info(length=2**63)), "impossible size"),
        (torrent(info(length=b"5")), "no size"),
        (torrent(info(name=5)), "not a string"),
        (torrent(info(name=None)), "no name"),
        (torrent(info(pieces=None)), "neither pieces"),
        (torrent(info(meta_version=3)), "unknown version"),
        (torrent(info(files=[])), "several"),
        (torrent(info(length=None, files=[])), "not a list"),
        (torrent(info(length=None, files=[{b"length": 1, b"path": []}], pieces=bytes(20))), "no name"),
        (torrent(info(length=None, files=[{b"length": 1, b"path": [5]}], pieces=bytes(20))), "not a string"),
        (
            torrent(info(length=None, files=[{b"length": 1, b"path": [b"a"], b"attr": b"p"}], pieces=bytes(20))),
            "no file",
        ),
        (
            torrent(
                {b"name": b"n", b"piece length": PIECE, b"meta version": 2, b"file tree": {b"a": {b"": {b"length": 5}}}}
            ),
            "no hash",
        ),
        (torrent({b"name": b"n", b"piece length": PIECE + 1, b"meta version": 2, b"file tree": TREE}), "power of two"),
        (torrent({b"name": b"n", b"piece length": PIECE, b"meta version": 2, b"file tree": {b"a": 5}}), "no file"),
    ],
)
def test_refused(data: bytes, words: str) -> None:
    error = refusal(data)
    assert words in error.message
    assert error.hint


def test_too_many_files() -> None:
    files: list[Value] = [{}] * 100_001
    assert "100001 files" in refusal(torrent(info(length=None, files=files))).message


@pytest.mark.parametrize(
    "data",
    [
        b"i-0e",
        b"i01e",
        b"ie",
        b"i-e",
        b"i1",
        b"i 1e",
        b"i+1e",
        b"01:a",
        b"1:",
        b"-1:a",
        b"di1ei1ee",
        b"i" + b"9" * 5000 + b"e",
        b"9999999999999:a",
        b"e",
        b"d1:ae",
        b"d1:a",
        b"l",
        b"1",
    ],
)
def test_malformed_bencoding(data: bytes) -> None:
    with pytest.raises(InvalidSource):
        bdecode(data)


def test_limits() -> None:
    for limits in (Limits(size=3), Limits(depth=1), Limits(values=2)):
        with pytest.raises(InvalidSource):
            bdecode(b"ll1:aee", limits=limits)
    assert bdecode(b"ll1:aee", limits=Limits(size=7, depth=2, values=3)) == [[b"a"]]
