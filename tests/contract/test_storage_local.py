"""LocalStorage meets the contract; and what is its own: the sentinel."""

from pathlib import Path
from uuid import uuid4

import pytest

from oddaemon.domain.errors import StorageFailed, StorageMissing
from oddaemon.domain.types import ReplicaId
from oddaemon.ports.storage import StorageProvider
from oddaemon.storage.local import PLUGIN, SENTINEL, LocalSettings, LocalStorage
from oddaemon.testing.storage_contract import StorageContract


class TestLocalStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> StorageProvider:
        storage = LocalStorage(tmp_path / "base")
        storage.prepare(known=False)
        return storage

    def lose_disk(self, storage: StorageProvider) -> None:
        assert isinstance(storage, LocalStorage)
        (storage.base / SENTINEL).unlink()


def test_a_first_start_makes_base_and_sentinel(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "a" / "b")
    storage.prepare(known=False)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    sentinel = tmp_path / "a" / "b" / SENTINEL
    assert sentinel.read_text().startswith("opendebrid 1\n")
    before = sentinel.read_text()
    storage.prepare(known=False)
    assert sentinel.read_text() == before


def test_a_known_base_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(StorageMissing):
        LocalStorage(tmp_path / "mount").prepare(known=True)
    assert not (tmp_path / "mount").exists()
    (tmp_path / "mount").mkdir()  # the empty mount point
    with pytest.raises(StorageMissing):
        LocalStorage(tmp_path / "mount").prepare(known=True)
    assert list((tmp_path / "mount").iterdir()) == []


def test_a_sentinel_that_is_a_link_is_none(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "base")
    storage.prepare(known=False)
    (tmp_path / "elsewhere").write_text("x")
    (tmp_path / "base" / SENTINEL).unlink()
    (tmp_path / "base" / SENTINEL).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageMissing):
        storage.replicas()


def test_the_base_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "base").symlink_to(tmp_path / "disk")
    storage = LocalStorage(tmp_path / "base")
    storage.prepare(known=False)
    replica_id = ReplicaId(uuid4())
    storage.allocate(replica_id)
    assert (tmp_path / "disk" / str(replica_id)).is_dir()


def test_what_stands_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "base")
    storage.prepare(known=False)
    replica_id = ReplicaId(uuid4())
    (tmp_path / "base" / str(replica_id)).symlink_to(tmp_path)
    with pytest.raises(StorageFailed) as told:
        storage.allocate(replica_id)
    assert str(replica_id) in told.value.hint


def test_a_relative_base_path_is_a_problem() -> None:
    assert PLUGIN.check(LocalSettings(base_path="downloads"))
    assert not PLUGIN.check(LocalSettings(base_path="/srv/downloads"))
    assert not PLUGIN.check(LocalSettings())
