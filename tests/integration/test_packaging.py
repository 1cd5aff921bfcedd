"""The wheel holds what an installation needs, and the program finds it there."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.xdist_group("wheel")  # it is built once


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist"],
        cwd=ROOT, capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(site: Path, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/", env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_everything_is_in_the_wheel(installed: Path) -> None:
    names = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    for name in (
        "oddaemon/py.typed",
        "odctl/py.typed",
        "odproto/gen/opendebrid/control/v1/__init__.py",
        "odproto/endpoint.py",
        "oddaemon/migrations/env.py",
        "oddaemon/migrations/versions/0001_initial.py",
    ):
        assert name in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith(("tests", "proto/", "migrations"))]
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "[opendebrid.engines]" in entry_points.read_text()


def test_migrations_are_found_in_a_wheel_and_in_a_checkout(installed: Path) -> None:
    code = "from oddaemon.store.schema import migrations_dir; print(migrations_dir())"
    assert run(installed, code) == str(installed / "oddaemon" / "migrations")
    assert run(ROOT, code) == str(ROOT / "migrations")
