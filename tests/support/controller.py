"""A whole controller in the test's own process, from its settings on: as the daemon composes it, but for signals."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oddaemon.app.compose_controller import Controller, compose_controller
from oddaemon.app.lifecycle import Start
from oddaemon.app.load_settings import load
from oddaemon.app.log_ring import LogRing
from oddaemon.app.logs import Logs, _Writer
from oddaemon.app.masking import Masker
from oddaemon.app.paths import resolve_paths
from oddaemon.app.plugins import PluginTable
from oddaemon.app.singleton import open_control_socket
from oddaemon.domain.user import Principal, Proof, Role, UserLimits
from oddaemon.engines.simulated.engine import SimulatedEngine
from oddaemon.storage.local import LocalStorage
from oddaemon.store.sql_store import SqlStore
from tests.support.awake import AwakeClock
from tests.support.core import House
from tests.support.places import database_url

QUICK = {
    "OD_NODE_ID": "here",
    "OD_NODE_FILE_SERVER_PORT": "0",
    "OD_SERVER_PORT": "0",
    "OD_NODES_PORT": "0",
    "OD_NODES_HOST": "127.0.0.1",
    "OD_LIMITS_MIN_DISK_FREE": "1",
    "OD_LIMITS_RETRY_WAIT": "50ms",
    "OD_ENGINES_SIMULATED_ENABLED": "true",
    "OD_ENGINES_ARIA2_ENABLED": "false",
    "OD_ENGINES_YTDLP_ENABLED": "false",
    "OD_ENGINES_ARIA2_DHT": "false",
    "OD_ENGINES_ARIA2_LPD": "false",
    "OD_ENGINES_ARIA2_PEX": "false",
}


@dataclass(slots=True)
class Composed(House):
    """`core`, `store`, `agent` and `storage` are the controller's own; `limits` is not read."""

    controller: Controller = field(init=False)

    async def allow(self, who: Principal, limits: UserLimits) -> None:
        await self.controller.accounts.set_limits(self.admin, who.username, limits)

    async def set(self, **values: str) -> None:
        """Stored settings, as `odctl settings set` changes them; `__` stands for the dot."""
        await self.controller.runtime.set(self.admin, {key.replace("__", "."): value for key, value in values.items()})


@contextlib.asynccontextmanager
async def composed(folder: Path, **settings: str) -> AsyncIterator[Composed]:
    """`settings` are variables without `OD_`, in any case; they win over the quick ones."""
    with tempfile.TemporaryDirectory(prefix="od-") as runtime:
        own = {"OD_PATHS_DATA_DIR": str(folder / "data"), "OD_PATHS_RUNTIME_DIR": runtime}
        if url := await asyncio.to_thread(database_url, folder):
            own["DATABASE_URL"] = url
        given = {f"OD_{key.upper()}": text for key, text in settings.items()}
        async with _running(folder, QUICK | own | given) as home:
            yield home


@contextlib.asynccontextmanager
async def _running(folder: Path, environ: Mapping[str, str]) -> AsyncIterator[Composed]:
    loaded = load(environ=environ, table=PluginTable.installed())
    paths = resolve_paths(loaded.settings, environ)
    paths.make()
    # not set up: the root logger belongs to the test run
    logs = Logs(LogRing(), Masker(()), _Writer(io.StringIO(), None), logging.NullHandler())
    level = logging.getLogger().level
    listening = open_control_socket(paths.socket)
    try:
        async with contextlib.AsyncExitStack() as stack:
            start = Start(loaded=loaded, paths=paths, logs=logs, listening=listening, stop=lambda: None)
            controller = await compose_controller(start, stack)
            home = Composed(folder)
            assert isinstance(controller.store, SqlStore)
            home.controller, home.core, home.store = controller, controller.core, controller.store
            assert isinstance(controller.node.storage, LocalStorage)
            home.agent, home.storage = controller.node.agent, controller.node.storage
            for engine in home.agent.engines.values():
                if isinstance(engine, SimulatedEngine):
                    engine._clock = AwakeClock()
            admin = await home.store.read(lambda tx: tx.users.by_name("admin"))
            assert admin is not None
            home.admin = Principal(user_id=admin.id, username="admin", role=Role.ADMIN, proof=Proof.LOCAL)
            tasks = [asyncio.create_task(job, name=name) for name, job in controller.background()]
            try:
                yield home
            finally:
                await controller.drain(2)
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
                broken = [found for found in ended if isinstance(found, Exception)]
                assert not broken, broken
    finally:
        listening.close()
        logs.close()
        logging.getLogger().setLevel(level)
