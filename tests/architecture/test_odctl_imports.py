"""What odctl imports, seen in a process of its own: help and completion have to be instant."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("grpclib", "betterproto2", "rich", "textual", "pydantic", "asyncio", "odproto.gen")
PROBE = """
import json, sys
from odctl.cli.app import run
code = run(sys.argv[1:])
sys.stdout.flush()
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


def modules_after(tmp_path: Path, *arguments: str) -> tuple[int, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    code, modules = json.loads(done.stderr.strip().splitlines()[-1])
    return code, set(modules)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"], ["add", "--help"], ["cache", "--help"], ["cache", "ls", "--help"], ["completion", "bash"],
        ["__complete", "ad"], ["__complete", "ls", "--"], ["help", "json"], ["help", "exit-codes"],
        ["users", "add", "--help"], ["apikey", "--help"], ["login", "--help"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_help_and_completion_import_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    code, modules = modules_after(tmp_path, *arguments)
    assert code == 0
    assert not [name for name in HEAVY if name in modules]


def test_completing_job_numbers_asks_another_process(tmp_path: Path) -> None:
    code, modules = modules_after(tmp_path, "__complete", "show", "")
    assert code == 0
    assert not [name for name in HEAVY if name in modules]


def test_a_command_without_a_daemon_fails_before_the_protocol_is_imported(tmp_path: Path) -> None:
    code, modules = modules_after(tmp_path, "-H", f"unix://{tmp_path}/none.sock", "ls")
    assert code == 5
    assert not [name for name in HEAVY if name in modules]


def test_odctl_never_imports_the_daemon(tmp_path: Path) -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "odctl").rglob("*.py"))
    assert "import oddaemon" not in source
    assert "from oddaemon" not in source


def test_importing_the_messages_leaves_pydantic_out_and_importable() -> None:
    probe = "import sys, odctl.client.daemon; assert 'pydantic' not in sys.modules; import pydantic; pydantic.BaseModel"
    subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=True, timeout=30)
