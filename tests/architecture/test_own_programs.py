"""The programs that ours start: never a file of somebody else's that lies in the current folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from odctl.dashboard.children import ODCTL
from tests.support.forked import ROOT

STARTS = re.compile(r'sys\.executable,\s*(?P<options>(?:"-\w+",\s*)*)"-m"')


@pytest.mark.parametrize("package", ["odctl", "oddaemon"])
def test_no_module_is_started_with_the_current_folder_on_its_path(package: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}": '"-P"' in match["options"]
        for path in sorted((ROOT / package).rglob("*.py"))
        for match in STARTS.finditer(path.read_text("utf-8"))
    }
    assert found
    assert all(found.values()), found


@pytest.mark.parametrize("name", ["asyncio.py", "json.py", "odctl.py", "socket.py"])
def test_a_download_that_is_named_as_a_module_is_not_run(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("open('run', 'w').close()\n")
    done = subprocess.run([*ODCTL, "help", "exit-codes"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, (tmp_path / "run").exists()) == (0, False), done.stderr
    assert ODCTL[0] == sys.executable
