"""docs/reference/cli.md is what the command tree says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_the_command_tree_says() -> None:
    spec = importlib.util.spec_from_file_location("reference_cli", ROOT / "tools" / "reference_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text() == module.render(), "run: python tools/reference_cli.py"
