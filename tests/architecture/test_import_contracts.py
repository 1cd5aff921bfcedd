"""Who may import whom: the contracts hold, and each is able to fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = Path(sys.executable).with_name("lint-imports")

pytestmark = pytest.mark.xdist_group("tree")  # they change one copy of the sources


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=55, check=False,
        env={"PYTHONPATH": f"{folder}:{folder / 'proto'}", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources alone, to break."""
    folder = tmp_path_factory.mktemp("tree")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("oddaemon", "odctl", "proto"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_the_contracts_hold(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("odctl/client/zz.py", "import oddaemon.domain.job", "1 client and daemon"),
        ("oddaemon/services/zz.py", "import oddaemon.store.tables", "2 the daemon's layers"),
        ("oddaemon/domain/zz.py", "import oddaemon.ports.store", "2 the daemon's layers"),
        ("oddaemon/api/zz.py", "import oddaemon.engines.aria2", "2 the daemon's layers"),
        ("oddaemon/zz/__init__.py", "", "2 the daemon's layers"),
        ("oddaemon/engines/zz.py", "import oddaemon.services.views", "3 driven adapters"),
        ("oddaemon/services/zz.py", "import grpclib", "4 the core is free"),
        ("oddaemon/subscribers/zz.py", "import odproto.gen", "5 generated code"),
        ("oddaemon/engines/simulated/zz.py", "import oddaemon.engines.aria2", "6 plug-ins"),
        ("odctl/config.py", "import odctl.cli", "7 odctl's layers"),
        ("odctl/cli/zz.py", "import textual", "8 the command line"),
        ("oddaemon/app/zz.py", "import oddaemon.transports.grpc.listener", "10 what carries the calls"),
    ],
)
def test_each_contract_catches_its_violation(module: str, line: str, contract: str, copy: Path) -> None:
    file = copy / module
    made = [folder for folder in file.parents if not folder.exists()]
    before = file.read_text() if file.exists() else None
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{before or ''}\n{line}\n")
    try:
        done = lint(copy)
    finally:
        file.unlink() if before is None else file.write_text(before)
        for folder in made:
            shutil.rmtree(folder)
    assert done.returncode != 0
    broken = [name for name in done.stdout.splitlines() if " BROKEN" in name]
    assert any(name.startswith(contract) for name in broken) or "exhaustive" in done.stdout.lower(), done.stdout
