"""The storage that was chosen is the one that is used, by every process, or none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

import pytest

from oddaemon.app.compose_node import build_node
from oddaemon.app.exit_codes import ExitCode, StartFailed
from oddaemon.app.load_settings import load
from oddaemon.app.paths import resolve_paths
from oddaemon.app.plugins import STORAGE, load_plugins
from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.link import LinkContent, LinkFile
from oddaemon.domain.types import Bytes, LinkId, ReplicaId
from oddaemon.fileserver.processes import FileServer, LinkUsage, StorageChoice
from oddaemon.storage.local import LocalStorage
from tests.support.core import HERE, house
from tests.support.http import fetch
from tests.support.links import linking

ATTIC = """
from dataclasses import dataclass
from oddaemon.ports.plugin import Plugin
from oddaemon.storage.local import LocalStorage

@dataclass(frozen=True)
class Settings:
    floor: str = "ground"

PLUGIN = Plugin(
    name="attic", settings_type=Settings, check=lambda _: (),
    build=lambda settings, parts: LocalStorage(parts.download_dir / settings.floor),
)
"""


async def test_a_provider_that_is_broken_is_not_replaced(tmp_path: Path) -> None:
    loaded = load(environ={"OD_PATHS_DATA_DIR": str(tmp_path / "data"), "HOME": str(tmp_path)})
    plugins = load_plugins([], {(STORAGE, "local"): "it cannot be imported"})
    async with AsyncExitStack() as stack:
        with pytest.raises(StartFailed, match="'local' cannot be used: it cannot be imported") as caught:
            build_node(loaded, resolve_paths(loaded.settings), plugins, SystemClock(), stack)
    assert caught.value.code is ExitCode.CONFIG
    assert "storage.provider" in caught.value.hint


async def test_file_processes_serve_from_the_chosen_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "installed"
    (installed / "attic-1.0.dist-info").mkdir(parents=True)
    (installed / "attic-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: attic\nVersion: 1.0\n")
    (installed / "attic-1.0.dist-info" / "entry_points.txt").write_text(f"[{STORAGE}]\nattic = attic:PLUGIN\n")
    (installed / "attic.py").write_text(ATTIC)
    monkeypatch.setenv("PYTHONPATH", str(installed))
    async with house(tmp_path / "house") as home:
        storage = LocalStorage(tmp_path / "floors" / "third")
        storage.prepare(known=False)
        view = await home.add("http://sim.invalid/f", options={"size": "1"})
        await home.until_job(lambda job: job.completed_at is not None, view)
        (replica,) = await home.replicas()
        (storage.allocate(replica.id) / "f").write_bytes(b"from the attic")

        async def look_up(link: LinkId, asked: ReplicaId, index: int) -> LinkContent:
            file = LinkFile(path="f", disk_path="f", size=Bytes(14), content_type="text/plain")
            return LinkContent(name="f", files=(file,))

        async def count(usage: LinkUsage) -> None:
            return None

        async def revoked() -> Mapping[LinkId, datetime]:
            return {}

        linked = linking(home.store)
        server = FileServer(
            host="127.0.0.1", port=0, keys=[await linked.servers.node_key(HERE)], look_up=look_up, on_usage=count,
            read_revoked=revoked,
            storage=StorageChoice(
                provider="attic", settings={"floor": "third"}, state_dir=tmp_path, download_dir=tmp_path / "floors"
            ),
        )  # fmt: skip
        host, port = await server.start()
        try:
            linked.servers.serve_on(HERE, f"http://{host}:{port}", server)
            (made,) = await linked.service.create(home.admin, str(view.job.number))
            assert (await fetch(made.url)).body == b"from the attic"
        finally:
            await server.stop()
