"""The daemon's own command line, as a process: output, exit codes, and no traces of secrets."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from oddaemon import __version__
from oddaemon.app.cli import main
from oddaemon.app.singleton import open_control_socket
from oddaemon.app.system_clock import SystemClock
from oddaemon.store.migrate import open_store


@pytest.fixture
def home() -> Iterator[Path]:
    """Short, for the socket."""
    with TemporaryDirectory(prefix="od-") as folder:
        yield Path(folder)


def run(
    *arguments: str, home: Path, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    own = {
        "PATH": os.environ["PATH"], "HOME": str(home), "OD_PATHS_DATA_DIR": str(home / "data"),
        "OD_PATHS_RUNTIME_DIR": str(home / "run"), "OD_SERVER_PORT": "0", "OD_NODE_FILE_SERVER_PORT": "0",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "oddaemon", *arguments], env={**own, **(environ or {})}, capture_output=True, text=True,
        timeout=50, check=False,
    )  # fmt: skip


def test_versions(home: Path) -> None:
    assert run("version", home=home).stdout == f"{__version__}\n"
    assert run("--version", home=home).stdout == f"{__version__}\n"


def test_what_is_wrong_on_the_command_line_is_not_called_a_setting(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = home / "store.db"
    asyncio.run(_made(source))
    for target, code, words in (
        ("mysql://ann@host/x", 64, "cannot be kept in mysql"), ("postgresql://ann@127.0.0.1:1/x", 74, "refused"),
    ):  # fmt: skip
        assert main(["store", "copy", "--from", f"sqlite:///{source}", "--to", target]) == code
        told = capsys.readouterr().err
        assert (words in told, "see --from and --to" in told, "database.url" in told) == (True, True, False)
    assert main(["restore", str(home / "nothere"), "--set", f"paths.data_dir={home / 'data'}"]) == 74
    assert f"there is no file {home / 'nothere'}" in capsys.readouterr().err


async def _made(location: Path) -> None:
    await (await open_store(location)).close()


def test_config_show_gives_every_value_with_its_source(home: Path) -> None:
    config = home / "od.toml"
    config.write_text('[limits]\nretries = 3\n[node]\nname = "${NAS:-box}"\n')
    done = run(
        "config", "show", "--json", "--config", str(config), "--set", "limits.link_expiry=2h",
        home=home, environ={"DATABASE_URL": "postgresql://u:hunter2@h/d"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    assert table["limits.retries"] == {"value": 3, "source": "file", "place": f"{config}:2"}
    assert table["node.name"]["value"] == "box"
    assert table["limits.link_expiry"] == {"value": 7200, "source": "flag", "place": "--set limits.link_expiry"}
    assert table["database.url"] == {"value": "***", "source": "env", "place": "DATABASE_URL"}
    assert table["server.host"] == {"value": "127.0.0.1", "source": "default", "place": ""}
    assert table["engines.aria2.max_concurrent"]["value"] == 5
    assert table["engines.ytdlp.default_format"]["value"] == "bestvideo+bestaudio/best"
    assert "hunter2" not in done.stdout + done.stderr
    text = run("config", "show", home=home, environ={"OD_CONFIG_PATH": str(config)})
    assert f"file ({config}:2)" in text.stdout
    assert "1GiB" in text.stdout


def test_config_show_reads_what_is_stored(home: Path) -> None:
    """The daemon's precedence: default < stored < file < environment < flags; while it runs and while it does not."""

    async def store() -> None:
        opened = await open_store(home / "data" / "opendebrid.db")
        now = SystemClock().now()
        for key, value in (("limits.retries", 4), ("limits.retry_wait", 9.0), ("limits.per_user_concurrent", 2)):
            await opened.write(lambda tx, key=key, value=value: tx.settings.put(key, value, now))  # type: ignore[misc]
        running = await asyncio.to_thread(shown)
        await opened.close()
        assert running == await asyncio.to_thread(shown)

    def shown() -> dict[str, tuple[object, str]]:
        done = run(
            "config", "show", "--json", "--set", "limits.retry_wait=3s",
            home=home, environ={"OD_LIMITS_PER_USER_CONCURRENT": "7"},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        table = json.loads(done.stdout)
        return {key: (table[f"limits.{key}"]["value"], table[f"limits.{key}"]["source"]) for key in expected}

    expected = {"retries": (4, "stored"), "retry_wait": (3, "flag"), "per_user_concurrent": (7, "env")}
    (home / "data").mkdir()
    asyncio.run(store())
    assert shown() == expected


def test_config_show_without_a_store_makes_none_and_with_a_damaged_one_says_so(home: Path) -> None:
    assert run("config", "show", home=home).returncode == 0
    assert not (home / "data").exists()
    (home / "data").mkdir()
    (home / "data" / "opendebrid.db").write_text("no store")
    done = run("config", "show", home=home)
    assert done.returncode == 0
    assert "stored settings are left out" in done.stderr


def test_options_stand_on_either_side_of_the_command(home: Path) -> None:
    before = run("--set", "limits.retries=3", "config", "show", "--json", home=home)
    after = run("config", "show", "--json", "--set", "limits.retries=3", home=home)
    assert before.stdout == after.stdout
    assert '"source": "flag"' in after.stdout


def test_mistakes_are_told_together_and_end_with_78(home: Path) -> None:
    config = home / "od.toml"
    config.write_text("[server]\nport = -1\n[engines.aria2]\nrpc_url = 'http://x'\n[limts]\nretries = 1\n")
    done = run(
        "config", "check", "--config", str(config), "--log-level", "loud",
        home=home, environ={"OD_ENGINES_YTDLP_BINARY": "x"},
    )  # fmt: skip
    assert done.returncode == 78
    assert done.stdout == ""
    assert "5 mistakes" in done.stderr
    for part in (
        f"{config}:2: server.port",
        f"{config}:4: there is no setting engines.aria2.rpc_url",
        f"{config}:6: unknown setting limts.retries; did you mean limits.retries?",
        "OD_ENGINES_YTDLP_BINARY: there is no setting engines.ytdlp.binary",
        "--set logging.level: logging.level",
    ):
        assert part in done.stderr
    assert run("config", "check", home=home).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [["bogus"], ["config"], ["config", "bogus"], ["migrate"], ["--bogus"], ["--set", "novalue"], ["backup"]],
)
def test_usage_errors_end_with_64(arguments: list[str], home: Path) -> None:
    done = run(*arguments, home=home)
    assert done.returncode == 64
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("environ", "code", "said"),
    [
        ({}, 78, "joined no controller yet, and CONTROLLER_URL and CONTROLLER_TOKEN are not set"),
        ({"CONTROLLER_URL": "nas:9090"}, 78, "CONTROLLER_TOKEN is not set"),
        ({"CONTROLLER_URL": "nas:9090", "CONTROLLER_TOKEN": "join-me-123"}, 78, "this is no join token"),
        ({"CONTROLLER_URL": "nas:9090", "CONTROLLER_TOKEN": "od1.aa.join-me-123"}, 78, "3 of 4 parts"),
    ],
)
def test_a_worker_says_what_it_lacks(environ: dict[str, str], code: int, said: str, home: Path) -> None:
    done = run("worker", home=home, environ=environ)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "odctl nodes token create" in done.stderr
    assert "join-me-123" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_daemon_is_refused_with_69(home: Path) -> None:
    held = open_control_socket(home / "run" / "control.sock")
    try:
        done = run(home=home)
    finally:
        held.close()
    assert done.returncode == 69
    assert f"already running on {home}/run/control.sock (pid {os.getpid()})" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_folder_that_cannot_be_made_ends_with_74_or_77(home: Path) -> None:
    (home / "file").touch()
    done = run(home=home, environ={"OD_PATHS_DATA_DIR": str(home / "file" / "data")})
    assert done.returncode in (74, 77)
    assert "Traceback" not in done.stderr


def test_migrate_backup_and_restore(home: Path) -> None:
    assert run("migrate", "up", home=home).returncode == 0
    store = home / "data" / "opendebrid.db"
    assert store.stat().st_mode & 0o077 == 0
    mark(store, "before")
    copy = home / "copy.db"
    assert run("backup", str(copy), home=home).returncode == 0
    assert copy.stat().st_mode & 0o077 == 0
    mark(store, "after")
    again = run("backup", str(copy), home=home)
    assert again.returncode == 64
    assert "exists already" in again.stderr
    done = run("restore", str(copy), home=home)
    assert done.returncode == 0, done.stderr
    assert "kept as" in done.stdout
    assert marks(store) == ["before"]
    (home / "junk").write_text("not a database")
    assert run("restore", str(home / "junk"), home=home).returncode == 74
    assert marks(store) == ["before"]


async def test_a_store_in_use_is_not_restored_over(home: Path) -> None:
    (home / "data").mkdir(mode=0o700)
    store = await open_store(home / "data" / "opendebrid.db")
    try:
        assert run("backup", str(home / "copy.db"), home=home).returncode == 0
        done = run("restore", str(home / "copy.db"), home=home)
    finally:
        await store.close()
    assert done.returncode == 69
    assert str(os.getpid()) in done.stderr


def mark(store: Path, name: str) -> None:
    now = SystemClock().now().isoformat()
    with closing(sqlite3.connect(store)) as database, database:
        database.execute("INSERT INTO settings (key, value, updated_at) VALUES (?, 'true', ?)", (name, now))


def marks(store: Path) -> list[str]:
    with closing(sqlite3.connect(store)) as database:
        return [row[0] for row in database.execute("SELECT key FROM settings ORDER BY key")]
