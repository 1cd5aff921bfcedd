"""What is generated and committed is what the sources give."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import betterproto2
import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_protocols_code_is_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "proto" / "generate.py", "--check"],
        capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_reference_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "reference.py", "--check"],
        capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["common", "control", "node", "registry"])
def test_no_field_takes_the_name_of_a_method(package: str) -> None:
    """A field named `load` would stand in the place of what reads the message."""
    module = importlib.import_module(f"odproto.gen.opendebrid.{package}.v1")
    for name in module.__all__:
        kind = getattr(module, name)
        if isinstance(kind, type) and issubclass(kind, betterproto2.Message):
            taken = set(kind._betterproto.meta_by_field_name) & set(dir(betterproto2.Message))  # type: ignore[arg-type]
            assert not taken, name
