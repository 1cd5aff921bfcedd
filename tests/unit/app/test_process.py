"""Exit codes, notifications to systemd, self-diagnosis."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from oddaemon.app import cli, diagnose
from oddaemon.app.diagnose import Check, Diagnosis
from oddaemon.app.exit_codes import ExitCode, StartFailed, cannot_listen, classify
from oddaemon.app.load_settings import load
from oddaemon.app.loaded import Loaded
from oddaemon.app.paths import Paths, resolve_paths
from oddaemon.app.sd_notify import Notifier
from oddaemon.app.spent import take_out
from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.errors import NotFound, StoreDamaged, StoreLocked, StoreNewer
from oddaemon.domain.node import DiskUsage, EngineHealth
from oddaemon.domain.types import Bytes, EngineName
from tests.unit.app.support import table


def test_a_secret_that_was_read_is_out_of_the_environment() -> None:
    script = (
        "import os; from oddaemon.app.spent import take_out; take_out('CONTROLLER_TOKEN'); take_out('NOT_SET'); "
        "print(sorted(name for name in os.environ if 'TOKEN' in name)); print(open('/proc/self/environ', 'rb').read())"
    )
    environment = {**os.environ, "CONTROLLER_TOKEN": "hunter2-hunter2", "OTHER_TOKEN": "kept"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("['OTHER_TOKEN']")
    assert "OTHER_TOKEN=kept" in done.stdout
    assert "hunter2" not in done.stdout


def test_what_was_taken_out_of_the_environment_is_no_change_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTROLLER_TOKEN", "hunter2")
    loaded = load(table=table())
    take_out("CONTROLLER_TOKEN")
    assert loaded.again().settings.controller.auth_token.get_secret_value() == "hunter2"


def test_a_workers_token_is_read_and_taken_out_of_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def run(loaded: Loaded, compose: object) -> int:
        seen.append(loaded.settings.controller.auth_token.get_secret_value())
        return 0

    monkeypatch.setattr(cli, "_run", run)
    monkeypatch.setenv("CONTROLLER_TOKEN", "hunter2")
    assert cli.main(["worker"]) == 0
    assert seen == ["hunter2"]
    assert "CONTROLLER_TOKEN" not in os.environ


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StartFailed("x", code=ExitCode.CONFIG), 78), (StoreLocked(), 69), (StoreNewer(), 78), (StoreDamaged(), 74),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 77), (OSError(errno.EIO, "I/O error"), 74),
        (NotFound(), 1), (ZeroDivisionError(), 1),
    ],
)  # fmt: skip
def test_errors_end_with_their_sysexits_code(error: Exception, code: int) -> None:
    assert classify(error)[0] == code
    assert bool(classify(error)[1]) is not isinstance(error, ZeroDivisionError)


def test_a_group_of_errors_ends_with_the_one_that_is_a_decision() -> None:
    group = ExceptionGroup("x", [ZeroDivisionError(), ExceptionGroup("y", [StoreLocked("in use")])])
    assert classify(group)[:2] == (ExitCode.UNAVAILABLE, "in use")
    assert classify(ExceptionGroup("x", [ZeroDivisionError()])) == (ExitCode.FAILURE, "", "")


def test_a_taken_port_names_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="Address already in use") as caught:
            socket.create_server(("127.0.0.1", port))
    failed = cannot_listen(
        caught.value, host="127.0.0.1", port=port, setting="server.port", variable="OD_SERVER_PORT"
    )
    assert failed.code is ExitCode.UNAVAILABLE
    assert str(port) in failed.message
    assert "server.port (OD_SERVER_PORT)" in failed.hint
    denied = cannot_listen(PermissionError(errno.EACCES, "no"), host="h", port=80, setting="s", variable="v")
    assert denied.code is ExitCode.PERMISSION


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(abstract: bool, tmp_path: Path) -> None:
    address = f"@od-test-{os.getpid()}" if abstract else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if abstract else address)
        manager.settimeout(5)
        environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
        notifier = Notifier(environ)
        assert environ == {}  # no child speaks in our name
        assert notifier.watchdog_interval == 15.0
        notifier.ready()
        notifier.reloading()
        notifier.status("two\nlines")
        assert manager.recv(4096) == b"READY=1"
        assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(4096) == b"STATUS=two lines"


def test_without_systemd_nothing_happens() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"})
    assert notifier.watchdog_interval is None
    notifier.ready()
    Notifier({"NOTIFY_SOCKET": "/nonexistent/socket"}).stopping()


def make(tmp_path: Path, *, free: int = 10 * 2**30, present: bool = True, damaged: int = 0) -> Diagnosis:
    variables = {"OD_PATHS_DATA_DIR": str(tmp_path), "OD_NODE_DOWNLOAD_DIR": str(tmp_path / "downloads")}
    (tmp_path / "downloads").mkdir(exist_ok=True)

    async def health() -> Sequence[EngineHealth]:
        return [
            EngineHealth(name=EngineName("aria2"), ok=True, version="1.37.0"),
            EngineHealth(name=EngineName("ytdlp"), ok=False, message="its child died"),
        ]

    async def damaged_rows() -> int:
        return damaged

    paths: Paths = resolve_paths(load(environ=variables, table=table()).settings)
    return Diagnosis(
        paths=paths, clock=SystemClock(), reserve=lambda: Bytes(2**30),
        usage=lambda: DiskUsage(total=Bytes(2**40), free=Bytes(free), present=present), health=health,
        damaged=damaged_rows,
        broken={("opendebrid.engines", "odd"): "cannot be imported"}, listeners={"http": "127.0.0.1:8080"},
    )  # fmt: skip


async def by_name(diagnosis: Diagnosis) -> dict[str, Check]:
    return {check.check: check for check in await diagnosis()}


async def test_a_diagnosis_tells_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    checks = await by_name(make(tmp_path))
    assert checks["engine aria2"].status == "ok"
    assert checks["engine ytdlp"].status == "fail"
    assert checks["plug-in odd"].status == "fail"
    assert checks["download disk"].status == "ok"
    assert checks["download folder"].status == "ok"
    assert (checks["listener http"].status, checks["listener http"].detail) == ("ok", "127.0.0.1:8080")
    assert all(check.hint for check in checks.values() if check.status == "fail")
    assert list((tmp_path / "downloads").iterdir()) == []


async def test_a_listener_that_others_reach_in_the_clear_is_warned_of(tmp_path: Path) -> None:
    check = (await by_name(replace(make(tmp_path), in_the_clear=lambda: ["http"])))["listener http"]
    assert (check.status, "server.tls_cert" in check.hint) == ("warn", True)


async def test_what_everybody_may_look_into_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = replace(make(tmp_path), secrets_in_view=lambda: {"auth.jwt_secret": tmp_path / "od.toml"})
    checks = await by_name(seen)
    assert (checks["config file"].status, "auth.jwt_secret" in checks["config file"].detail) == ("warn", True)
    assert (checks["data folder"].status, checks["data folder"].fix) == ("ok", "")
    monkeypatch.setattr(diagnose, "open_to_all", lambda folder: folder == tmp_path)
    assert (await by_name(seen))["data folder"].fix == f"chmod 700 {tmp_path}"


async def test_disks(tmp_path: Path) -> None:
    full = (await by_name(make(tmp_path, free=2**29)))["download disk"]
    assert (full.status, full.detail) == ("fail", "0.5 GiB of 1024.0 GiB free, the reserve is 1.0 GiB")
    assert (await by_name(make(tmp_path, free=3 * 2**29)))["download disk"].status == "warn"
    missing = (await by_name(make(tmp_path, present=False)))["download disk"]
    assert missing.status == "fail"
    assert ".opendebrid" in missing.fix
    (tmp_path / "downloads").rmdir()
    assert diagnose.writable("x", tmp_path / "downloads").status == "fail"


async def test_what_does_not_answer_is_a_failed_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang() -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(diagnose, "_DEADLINE", 0.05)
    hanging = Diagnosis(
        paths=make(tmp_path).paths, clock=SystemClock(), reserve=lambda: Bytes(0), health=hang, damaged=hang,
        usage=lambda: DiskUsage(total=Bytes(1), free=Bytes(1)),
    )  # fmt: skip
    checks = await by_name(hanging)
    assert (checks["engines"].status, checks["store"].status) == ("fail", "fail")


async def test_damaged_rows_and_a_full_data_disk_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = await by_name(make(tmp_path))
    assert (checks["store"].status, checks["data folder"].status) == ("ok", "ok")
    full = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    checks = await by_name(make(tmp_path, damaged=3))
    assert checks["store"].status == "warn"
    assert checks["store"].detail.endswith(": 3")
    assert checks["data folder"].status == "fail"
    assert "0 MiB free" in checks["data folder"].detail


def test_a_clock_that_went_back_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "store.db").touch()
    now = datetime.now(UTC)
    assert diagnose.clock_sanity(now, tmp_path).status == "ok"
    assert diagnose.clock_sanity(now - timedelta(days=1), tmp_path).status == "fail"


def test_programs_are_looked_for_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert diagnose.js_runtime().status == "warn"
    (tmp_path / "deno").touch(mode=0o755)
    assert diagnose.js_runtime().status == "ok"
    (tmp_path / "ffmpeg").touch(mode=0o755)
    assert diagnose.ffmpeg().detail == str(tmp_path / "ffmpeg")
