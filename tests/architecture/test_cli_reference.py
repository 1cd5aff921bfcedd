"""docs/reference/cli.md and docs/man/odctl.1 are what the command tree says."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("tool", ["reference_cli", "manpage"])
def test_the_page_is_what_the_command_tree_says(tool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    module = importlib.import_module(tool)
    assert module.TARGET.read_text() == module.render(), "run: make docs"


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_the_man_page_has_no_mistake_that_groff_sees() -> None:
    page = ROOT / "docs" / "man" / "odctl.1"
    done = subprocess.run(["groff", "-man", "-Tutf8", "-Kutf8", "-ww", "-z", page], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
