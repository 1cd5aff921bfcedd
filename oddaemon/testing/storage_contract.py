"""The contract of `ports.storage` as tests. Bind an implementation by subclassing and giving the fixtures.

class TestMyStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path): ...   # prepared
    def place(self, storage, replica_id, path, content): ...   # what an engine would do
    def lose_disk(self, storage): ...   # unmount
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from oddaemon.domain.errors import NotFound, StorageMissing
from oddaemon.domain.types import ReplicaId
from oddaemon.ports.storage import StorageProvider

ESCAPES = [
    "", ".", "..", "/", "/etc/passwd", "../secret", "a/../../secret", "a/./b", "a//b", "a/", "\0", "a\0b", "a\nb",
    "..\\secret", "a\\..\\..\\secret", "C:\\secret", "x" * 256, "/".join(["y" * 200] * 30),
]  # fmt: skip
ODD_NAMES = [
    "emoji 🎬.mkv", "日本語.txt", "e\u0301 NFD", "CON", "a'b\"c", "-rf", "~", "$(true)", "100%25", "a b", ".hidden",
    "z" * 255, "Icon", "back\\slash", "semi;colon",
]  # fmt: skip


class StorageContract:
    """Subclass it and give `storage`, `place` and `lose_disk`."""

    @pytest.fixture
    def storage(self) -> StorageProvider:
        raise TypeError("the subclass gives the implementation")

    @pytest.fixture
    def replica(self, storage: StorageProvider) -> ReplicaId:
        replica_id = ReplicaId(uuid4())
        storage.allocate(replica_id)
        return replica_id

    def place(self, storage: StorageProvider, replica_id: ReplicaId, path: str, content: bytes) -> None:
        """Writes a file into a replica's directory, as an engine does."""
        target = storage.allocate(replica_id) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def lose_disk(self, storage: StorageProvider) -> None:
        """As if the disk was not mounted any more."""
        raise TypeError("the subclass says how")

    # -- allocate, open, stat

    def test_allocate_makes_a_private_directory_once(self, storage: StorageProvider) -> None:
        replica_id = ReplicaId(uuid4())
        directory = storage.allocate(replica_id)
        assert directory.is_absolute()
        assert directory.is_dir()
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "kept").write_bytes(b"1")
        assert storage.allocate(replica_id) == directory
        assert (directory / "kept").read_bytes() == b"1"

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_odd_names_can_be_had(self, storage: StorageProvider, replica: ReplicaId, name: str) -> None:
        self.place(storage, replica, f"{name}/{name}", b"content")
        with _opened(storage, replica, f"{name}/{name}") as fd:
            assert os.pread(fd, 100, 0) == b"content"
        [found] = storage.stat(replica, [f"{name}/{name}"])
        assert found is not None
        assert found.size == 7
        assert [file.path for file in storage.walk(replica)] == [f"{name}/{name}"]

    def test_the_descriptor_is_for_reading_only_and_not_inherited(
        self, storage: StorageProvider, replica: ReplicaId
    ) -> None:
        self.place(storage, replica, "a", b"x")
        with _opened(storage, replica, "a") as fd:
            assert not os.get_inheritable(fd)
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.pwrite(fd, b"y", 0)

    @pytest.mark.parametrize("path", ESCAPES, ids=repr)
    def test_no_path_leaves_the_directory(self, storage: StorageProvider, replica: ReplicaId, path: str) -> None:
        secret = storage.allocate(replica).parent / "secret"
        secret.write_bytes(b"secret")
        self.place(storage, replica, "a/b", b"x")
        with pytest.raises(NotFound):
            storage.open(replica, path)
        assert storage.stat(replica, [path]) == [None]

    def test_links_are_not_followed(
        self, storage: StorageProvider, replica: ReplicaId, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        outside = tmp_path_factory.mktemp("outside")
        (outside / "f").write_bytes(b"secret")
        self.place(storage, replica, "real/f", b"fine")
        directory = storage.allocate(replica)
        (directory / "file-link").symlink_to(outside / "f")
        (directory / "folder-link").symlink_to(outside)
        (directory / "inner-link").symlink_to("real")
        for path in ("file-link", "folder-link/f", "inner-link/f", "folder-link"):
            with pytest.raises(NotFound):
                storage.open(replica, path)
            assert storage.stat(replica, [path]) == [None]
        assert [file.path for file in storage.walk(replica)] == ["real/f"]

    def test_only_regular_files_are_opened(self, storage: StorageProvider, replica: ReplicaId) -> None:
        directory = storage.allocate(replica)
        (directory / "folder").mkdir()
        os.mkfifo(directory / "fifo")
        for path in ("folder", "fifo", "absent", "absent/below", "folder/absent"):
            with pytest.raises(NotFound):
                storage.open(replica, path)
        assert storage.stat(replica, ["folder", "fifo", "absent"]) == [None, None, None]
        assert storage.walk(replica) == []

    def test_stat_answers_in_the_order_asked(self, storage: StorageProvider, replica: ReplicaId) -> None:
        self.place(storage, replica, "a", b"1")
        self.place(storage, replica, "b/c", b"333")
        found = storage.stat(replica, ["b/c", "absent", "a"])
        assert [file and (file.path, file.size) for file in found] == [("b/c", 3), None, ("a", 1)]
        assert storage.stat(ReplicaId(uuid4()), ["a"]) == [None]

    # -- delete

    def test_delete_leaves_nothing_and_tells_the_bytes(
        self, storage: StorageProvider, replica: ReplicaId, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        outside = tmp_path_factory.mktemp("outside")
        (outside / "f").write_bytes(b"not ours")
        for number, name in enumerate(ODD_NAMES):
            self.place(storage, replica, f"{number}/{name}", b"x" * number)
        directory = storage.allocate(replica)
        (directory / "link").symlink_to(outside)
        (directory / "dangling").symlink_to("nowhere")
        os.mkfifo(directory / "fifo")
        (directory / "empty" / "folders").mkdir(parents=True)
        expected = sum(range(len(ODD_NAMES)))
        assert storage.size_of(replica) == expected
        assert storage.delete(replica) == expected
        assert not directory.exists()
        assert (outside / "f").read_bytes() == b"not ours"
        assert storage.delete(replica) == 0

    def test_delete_takes_trees_that_are_too_deep_for_a_path(
        self, storage: StorageProvider, replica: ReplicaId
    ) -> None:
        _nest(storage.allocate(replica), levels=450, name="d" * 10)
        assert storage.size_of(replica) == 4
        assert storage.delete(replica) == 4
        assert replica not in storage.replicas()

    def test_delete_takes_what_is_write_protected(self, storage: StorageProvider, replica: ReplicaId) -> None:
        self.place(storage, replica, "a/b/c", b"12")
        directory = storage.allocate(replica)
        (directory / "a" / "b" / "c").chmod(0)
        (directory / "a" / "b").chmod(0o500)
        (directory / "a").chmod(0)
        assert storage.delete(replica) == 2
        assert not directory.exists()

    def test_delete_touches_no_sibling(self, storage: StorageProvider, replica: ReplicaId) -> None:
        other = ReplicaId(uuid4())
        self.place(storage, other, "a", b"1")
        sibling = storage.allocate(replica).parent / f"{replica}-sibling"
        sibling.mkdir()
        (sibling / "f").write_bytes(b"1")
        storage.delete(replica)
        assert storage.size_of(other) == 1
        assert (sibling / "f").exists()

    def test_delete_of_a_link_in_the_place_of_a_replica_removes_the_link_only(
        self, storage: StorageProvider, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        outside = tmp_path_factory.mktemp("outside")
        (outside / "f").write_bytes(b"1")
        replica_id = ReplicaId(uuid4())
        directory = storage.allocate(replica_id)
        directory.rmdir()
        directory.symlink_to(outside)
        assert storage.walk(replica_id) == []
        assert storage.delete(replica_id) == 0
        assert not directory.is_symlink()
        assert (outside / "f").exists()

    def test_empty_keeps_the_directory(self, storage: StorageProvider, replica: ReplicaId) -> None:
        self.place(storage, replica, "a/b", b"1")
        storage.empty(replica)
        assert storage.walk(replica) == []
        assert storage.allocate(replica).is_dir()
        storage.empty(ReplicaId(uuid4()))

    def test_empty_spares_what_it_is_told_to(self, storage: StorageProvider, replica: ReplicaId) -> None:
        for path in ("a", "b", "c/d", "c/e", "f/g"):
            self.place(storage, replica, path, b"1")
        storage.empty(replica, frozenset({"a", "c/d", "gone"}))
        assert [file.path for file in storage.walk(replica)] == ["a", "c/d"]

    def test_replicas_lists_directories_of_replicas_only(self, storage: StorageProvider, replica: ReplicaId) -> None:
        base = storage.allocate(replica).parent
        (base / "lost+found").mkdir()
        (base / str(uuid4())).write_bytes(b"a file")
        (base / str(uuid4()).upper()).mkdir()
        assert storage.replicas() == [replica]

    # -- the disk is gone

    def test_without_the_sentinel_nothing_is_read_written_or_deleted(
        self, storage: StorageProvider, replica: ReplicaId
    ) -> None:
        self.place(storage, replica, "a", b"1")
        directory = storage.allocate(replica)
        assert storage.usage().present
        self.lose_disk(storage)
        other = ReplicaId(uuid4())
        for call in (
            lambda: storage.allocate(other),
            lambda: storage.open(replica, "a"),
            lambda: storage.stat(replica, ["a"]),
            lambda: storage.walk(replica),
            lambda: storage.delete(replica),
            lambda: storage.empty(replica),
            lambda: storage.replicas(),
            lambda: storage.size_of(replica),
            lambda: storage.prepare(known=True),
        ):
            with pytest.raises(StorageMissing):
                call()
        assert not storage.usage().present
        assert (directory / "a").exists()
        assert not (directory.parent / str(other)).exists()

    def test_prepare_again_changes_nothing(self, storage: StorageProvider, replica: ReplicaId) -> None:
        self.place(storage, replica, "a", b"1")
        storage.prepare(known=True)
        storage.prepare(known=False)
        assert storage.size_of(replica) == 1

    def test_usage_gives_figures(self, storage: StorageProvider) -> None:
        usage = storage.usage()
        assert 0 <= usage.free <= usage.total
        assert usage.total > 0

    def test_uri_is_a_file_url(self, storage: StorageProvider, replica: ReplicaId) -> None:
        uri = storage.uri(replica, "a b/ü#?.mkv")
        assert uri.startswith("file://")
        assert uri.endswith("/a%20b/%C3%BC%23%3F.mkv")


@contextmanager
def _opened(storage: StorageProvider, replica_id: ReplicaId, path: str) -> Iterator[int]:
    fd = storage.open(replica_id, path)
    try:
        yield fd
    finally:
        os.close(fd)


def _nest(directory: Path, *, levels: int, name: str) -> None:
    """A chain of directories whose whole path is longer than PATH_MAX, with a file of 4 bytes at the end."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(levels):
            os.mkdir(name, dir_fd=fd)
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        file = os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=fd)
        os.write(file, b"deep")
        os.close(file)
    finally:
        os.close(fd)
