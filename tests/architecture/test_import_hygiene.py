"""What a process must not import, seen at run time: start-up speed, and the walls that static contracts can't see."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("textual", "oddaemon", "sqlalchemy", "alembic", "aiohttp", "yt_dlp", "psycopg", "structlog", "aria2p")


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def run_and_list(main: str, *arguments: str) -> str:
    return f"""
from contextlib import suppress
sys.argv = [{main.split(".")[0]!r}, *{list(arguments)!r}]
from {main} import main
with suppress(SystemExit):
    main()
"""


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], ["ls", "--help"], ["top", "--help"], ["web", "--help"], ["completion", "bash"]],
)
def test_odctl_starts_without_the_daemon_and_the_dashboard(arguments: list[str]) -> None:
    found = modules_after(run_and_list("odctl.__main__", *arguments))
    assert not {name for name in found if name.partition(".")[0] in HEAVY}


def test_the_server_of_odctl_web_draws_nothing_itself() -> None:
    found = {name.partition(".")[0] for name in modules_after("import odctl.web.server")}
    assert not found & {"textual", "grpclib", "betterproto2", "oddaemon", "textual_serve"}


def test_odctl_version_needs_no_framework() -> None:
    found = {name.partition(".")[0] for name in modules_after(run_and_list("odctl.__main__", "--version"))}
    assert not found & {"grpclib", "betterproto2", "pydantic", "rich", "typer"}


def test_oddaemon_version_needs_no_framework() -> None:
    found = {name.partition(".")[0] for name in modules_after(run_and_list("oddaemon.app.cli", "version"))}
    assert not found & {"sqlalchemy", "grpclib", "aiohttp", "pydantic", "structlog", "yt_dlp"}


@pytest.mark.parametrize("package", ["oddaemon", "odctl", "odproto", "odproto.endpoint"])
def test_packages_are_cheap_to_import(package: str) -> None:
    found = {name.partition(".")[0] for name in modules_after(f"import {package}")}
    assert not found & {*HEAVY, "grpclib", "betterproto2", "pydantic"} - {package.partition(".")[0]}


def test_the_daemon_never_imports_yt_dlp() -> None:
    found = modules_after("import oddaemon.app.compose_controller, oddaemon.engines.ytdlp")
    assert "yt_dlp" not in {name.partition(".")[0] for name in found}


def test_a_worker_has_no_store_no_rest_and_no_accounts() -> None:
    """aiohttp is there: aria2's engine is a client of its. Its server is not."""
    found = modules_after(
        "from oddaemon.app.cli import WORKER_GROUPS\n"
        "from oddaemon.app.load_settings import load\n"
        "loaded = load(environ={}, groups=WORKER_GROUPS)\n"
        "assert not loaded.broken, loaded.broken\n"
        "import oddaemon.app.lifecycle, oddaemon.app.logs, oddaemon.app.compose_worker\n"
        "import oddaemon.transports.grpc.worker"
    )
    packages = {name.partition(".")[0] for name in found}
    assert not packages & {"sqlalchemy", "alembic", "psycopg", "sqlite3", "yt_dlp", "textual", "jwt", "bcrypt"}
    assert not {
        name for name in found
        if name.startswith((
            "aiohttp.web_app", "aiohttp.web_server", "oddaemon.store", "oddaemon.api.rest", "oddaemon.subscribers.",
            "oddaemon.balancers.", "oddaemon.services.reconciler", "oddaemon.services.accounts",
        ))
    }  # fmt: skip


def test_file_processes_are_quick_to_start() -> None:
    found = {name.partition(".")[0] for name in modules_after("import oddaemon.app.compose_fileserver")}
    assert not found & {"sqlalchemy", "grpclib", "betterproto2", "pydantic", "aria2p", "yt_dlp"}


def test_the_rest_api_is_imported_while_engines_start() -> None:
    """Its models cost a start a fifth of a second that it has then (`app.compose_rest`)."""
    found = modules_after("import oddaemon.app.compose_controller")
    assert not {name for name in found if name.startswith(("aiohttp.web", "oddaemon.api.rest."))} - {
        "oddaemon.api.rest.counts", "oddaemon.api.rest.origin", "oddaemon.api.rest.parts", "oddaemon.api.rest.sse",
        # aiohttp imports these itself
        "aiohttp.web_exceptions",
    }  # fmt: skip
