"""Standard streams that are closed, full or have no reader: an exit code and at most a line, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ODCTL = [sys.executable, "-m", "odctl"]


def environment(home: Path, unbuffered: bool = False) -> dict[str, str]:
    known = {"HOME": str(home), "PATH": os.environ["PATH"], "ODCTL_HOST": f"unix://{home}/none.sock"}
    return {**known, "PYTHONUNBUFFERED": "1"} if unbuffered else known


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("line", [["--version"], ["--help"], ["completion", "bash"], ["--json", "help"]])
def test_a_reader_that_left_is_no_error_to_talk_about(line: list[str], unbuffered: bool, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*ODCTL, *line], stdout=writing, stderr=subprocess.PIPE, env=environment(tmp_path, unbuffered),
            check=False, timeout=30,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("line", [["--version"], ["--help"]])
def test_a_full_disk_below_stdout_is_one_line(line: list[str], unbuffered: bool, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*ODCTL, *line], stdout=full, stderr=subprocess.PIPE, env=environment(tmp_path, unbuffered),
            check=False, timeout=30,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, b"odctl: No space left on device\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("line", "code"), [("--version", 0), ("ls --help", 0), ("ls", 5), ("--json", 2)])
def test_a_closed_stream_changes_no_exit_code(closed: str, line: str, code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m odctl {line} {closed}', sys.executable],
        capture_output=True, env=environment(tmp_path), check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == code
    assert b"Traceback" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == [], "a crash file was written"
