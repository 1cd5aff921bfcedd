"""A worker has no store, and notices all the same when its disk is not mounted."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from oddaemon.app.compose_node import Node, prepare_storage
from oddaemon.app.compose_worker import SENTINELS, SentinelsInFile
from oddaemon.app.load_settings import load
from oddaemon.app.paths import Paths, resolve_paths
from oddaemon.storage.local import LocalStorage
from tests.unit.app.support import table


def places(tmp_path: Path, downloads: str) -> Paths:
    (tmp_path / "data").mkdir(exist_ok=True)
    environ = {"OD_PATHS_DATA_DIR": str(tmp_path / "data"), "OD_NODE_DOWNLOAD_DIR": str(tmp_path / downloads)}
    return resolve_paths(load(environ=environ, table=table()).settings)


async def present(paths: Paths) -> bool:
    """After a start, whether the disk is taken for there."""
    storage = LocalStorage(paths.download_dir)
    node: Any = SimpleNamespace(storage=storage)
    await prepare_storage(cast(Node, node), SentinelsInFile(paths.data_dir / SENTINELS), paths)
    return storage.usage().present


async def test_a_disk_that_is_not_mounted_gets_no_new_sentinel(tmp_path: Path) -> None:
    disk, other = places(tmp_path, "disk"), places(tmp_path, "other")
    assert await present(disk)
    assert await present(disk)
    # the folder without what was on it
    shutil.move(disk.download_dir, tmp_path / "unmounted")
    disk.download_dir.mkdir()
    assert not await present(disk)
    assert not [*disk.download_dir.iterdir()]
    # another folder is a wish, and the first is not forgotten for it
    assert await present(other)
    assert not await present(disk)
    disk.download_dir.rmdir()
    shutil.move(tmp_path / "unmounted", disk.download_dir)
    assert await present(disk)


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b"\xff"])
async def test_a_damaged_record_knows_every_folder(damage: bytes, tmp_path: Path) -> None:
    disk = places(tmp_path, "disk")
    assert await present(disk)
    (disk.data_dir / SENTINELS).write_bytes(damage)
    assert await present(disk)
    shutil.rmtree(disk.download_dir)
    disk.download_dir.mkdir()
    assert not await present(disk)
