"""ZIP streams, read back by a reader that is not ours."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oddaemon.domain.link import LinkFile
from oddaemon.domain.types import Bytes
from oddaemon.fileserver.archive import CHUNK_BYTES, Archive, ArchiveBroken


def member(path: str, size: int, disk_path: str = "f") -> LinkFile:
    return LinkFile(path=path, disk_path=disk_path, size=Bytes(size), content_type="application/octet-stream")


def streamed(archive: Archive, folder: Path) -> bytes:
    return b"".join(archive.stream(lambda path: os.open(folder / path, os.O_RDONLY)))


@given(st.lists(st.tuples(st.text(max_size=30), st.binary(max_size=500)), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_length_is_known_and_the_content_comes_back(tmp_path: Path, files: list[tuple[str, bytes]]) -> None:
    for number, (_, content) in enumerate(files):
        (tmp_path / str(number)).write_bytes(content)
    archive = Archive([member(name, len(content), str(number)) for number, (name, content) in enumerate(files)])
    data = streamed(archive, tmp_path)
    assert len(data) == archive.length
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert found.testzip() is None
        names = found.namelist()
        assert len(names) == len(set(names)) == len(files)
        assert [found.read(name) for name in names] == [content for _, content in files]
        for name in names:
            assert not name.startswith("/")
            assert ".." not in name.split("/")


def test_names_that_are_the_same_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    archive = Archive([member(name, 1) for name in ("a/b.txt", "a/b.txt", "a/b (2).txt", "a/b.txt", "a.b/c", "a.b/c")])
    with zipfile.ZipFile(io.BytesIO(streamed(archive, tmp_path))) as found:
        assert found.namelist() == ["a/b.txt", "a/b (2).txt", "a/b (2) (2).txt", "a/b (3).txt", "a.b/c", "a.b/c (2)"]


def test_pieces_are_bounded(tmp_path: Path) -> None:
    size = CHUNK_BYTES * 2 + 5
    (tmp_path / "f").write_bytes(b"\1" * size)
    pieces = list(Archive([member("f", size)]).stream(lambda path: os.open(tmp_path / path, os.O_RDONLY)))
    assert max(map(len, pieces)) == CHUNK_BYTES


def test_more_files_than_16_bits_can_count(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    archive = Archive([member(f"{number}", 0) for number in range(65_540)])
    data = streamed(archive, tmp_path)
    assert len(data) == archive.length
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert len(found.namelist()) == 65_540


def test_sizes_and_offsets_beyond_32_bits_make_zip64() -> None:
    """The plan alone: one file of 5 GiB adds the figures of APPNOTE 4.5.3 and the two records of 4.3.14 and
    4.3.15."""
    large = 5 << 30
    alone = Archive([member("a", large)])
    assert alone.length == (30 + 1 + 20 + large + 24) + (46 + 1 + 20) + (56 + 20 + 22)
    followed = Archive([member("a", large), member("b", 3)])
    assert followed.length == alone.length + (30 + 1 + 3 + 16) + (46 + 1 + 12)


@pytest.mark.parametrize("content", [b"", b"1", b"123"])
def test_a_member_of_another_size_breaks_it_and_leaks_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ArchiveBroken):
        streamed(Archive([member("f", 2)]), tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_stream_that_is_given_up_closes_its_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1" * (CHUNK_BYTES * 3))
    before = len(os.listdir("/proc/self/fd"))
    stream = Archive([member("f", CHUNK_BYTES * 3)]).stream(lambda path: os.open(tmp_path / path, os.O_RDONLY))
    next(stream)
    next(stream)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    stream.close()
    assert len(os.listdir("/proc/self/fd")) == before
