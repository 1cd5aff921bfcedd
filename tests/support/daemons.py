"""Real daemons in temporary folders, and the real command line against them. Ports are chosen by the system."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from odctl.cli.show import full_record
from odctl.client.daemon import DaemonClient
from odctl.client.endpoints import Choice
from odctl.client.errors import OdctlError
from odctl.client.models import Selection, jsonable
from tests.support.forked import ROOT, Forked, finished, forked
from tests.support.places import database_url
from tests.support.wait import until

START_SECONDS = 90.0
CALL_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one run of odctl left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def ok(self) -> Answer:
        assert self.code == 0, f"exit {self.code}\n{self.out}\n{self.err}"
        return self


@dataclass(slots=True)
class Daemon:
    """One installation in a folder of its own. `settings` are OD_… variables without the prefix, `others` whole names;
    `mode` is the command that is run, if not a controller."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    mode: str = ""
    process: Forked | None = None
    runtime: Path = field(init=False)

    def __post_init__(self) -> None:
        # the path of a Unix socket has at most 108 bytes: pytest's own folders are too deep
        self.runtime = Path(tempfile.mkdtemp(prefix="od"))

    @property
    def socket(self) -> Path:
        return self.runtime / "control.sock"

    @property
    def downloads(self) -> Path:
        return self.folder / "downloads"

    @property
    def log(self) -> str:
        path = self.folder / "daemon.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ODCTL_HOST": f"unix://{self.socket}",
            "OD_PATHS_DATA_DIR": str(self.folder / "data"),
            "OD_PATHS_RUNTIME_DIR": str(self.runtime),
            "OD_NODE_DOWNLOAD_DIR": str(self.downloads),
            "OD_NODE_FILE_SERVER_PORT": "0",
            "OD_SERVER_PORT": "0",
            "OD_NODES_HOST": "127.0.0.1",
            "OD_NODES_PORT": "0",
            "OD_NODE_FILE_SERVER_PROCESSES": "1",
            "OD_NODE_ID": "here",
            "OD_LIMITS_MIN_DISK_FREE": "1MB",
            "OD_LIMITS_RETRY_WAIT": "200ms",
            "OD_ENGINES_ARIA2_DHT": "false",
            "OD_ENGINES_ARIA2_LPD": "false",
            "OD_ENGINES_ARIA2_PEX": "false",
        }
        if not self.mode and (url := database_url(self.folder)):
            own["DATABASE_URL"] = url
        return own | {f"OD_{key}": value for key, value in self.settings.items()} | dict(self.others)

    async def start(self) -> None:
        """Returns when the daemon answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.mode:
            await asyncio.to_thread(database_url, self.folder)  # may have to make one
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = await asyncio.to_thread(
                forked, "oddaemon", *([self.mode] if self.mode else []), environment=self.environment,
                stdout=log, stderr=log, cwd=ROOT,
            )  # fmt: skip
        await until(self._answers, timeout=START_SECONDS, what="the daemon to answer")

    async def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, f"the daemon ended with {self.process.returncode}\n{self.log}"
        if not self.socket.exists():
            return False
        with contextlib.suppress(OdctlError):
            async with self.client():
                return True
        return False

    def client(self) -> DaemonClient:
        """As odctl has one: to look often, where a program for each look would be most of the work."""
        return DaemonClient(Choice(paths=(self.socket,), source="flag"))

    async def kill(self) -> None:
        """As kill -9 does: no farewell."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 60)

    async def odctl(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Answer:
        """`env` are variables beside its own."""
        environment = {**self.environment, **(env or {})}
        return Answer(*await finished(
            "odctl", *arguments, environment=environment, cwd=cwd or self.folder, stdin=stdin or b"",
            timeout=CALL_SECONDS,
        ))  # fmt: skip

    async def job(self, number: int) -> dict[str, Any]:
        """What `odctl show --json` prints of it."""
        async with self.client() as client:
            (detail,) = await client.get_jobs(Selection(ids=(str(number),)))
        job: dict[str, Any] = jsonable(full_record(detail, files=False, peers=False, raw=False))
        return job

    async def add(self, source: str, *options: str) -> int:
        """The number of the new job."""
        answer = (await self.odctl("add", "--json", *options, "--", source)).ok().json
        return int(answer[0]["job"]["id"])

    async def until_state(self, number: int, *states: str, timeout: float = 60) -> dict[str, Any]:
        """The job, when it is in one of the states."""
        last: dict[str, Any] = {}

        async def look() -> bool:
            last.clear()
            last.update(await self.job(number))
            return last["state"] in states

        try:
            await until(look, timeout=timeout, every=0.1, what=f"job {number} to be {' or '.join(states)}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{json.dumps(last, indent=1)}\n{self.log[-6000:]}") from None
        return dict(last)

    async def __aenter__(self) -> Daemon:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.process is not None and self.process.returncode is None:
                await self.stop()
        finally:
            if self.process is not None and self.process.returncode is None:
                self.process.kill()
                await self.process.wait()
            shutil.rmtree(self.runtime, ignore_errors=True)
